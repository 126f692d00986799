"""What submitters send, and what they are answered. Every job of every batch passes here: few calls per field."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from jobwire.v1.job_pb2 import JobSpec, Payload
from jobwire.v1.job_pb2 import RetryPolicy as RetryPolicyMessage
from jobwire.v1.job_service_pb2 import (
    BatchSubmitJobsRequest,
    SubmitError,
    SubmitJobRequest,
    SubmitResult,
    WatchCursor,
)
from jobwire_server.domain.errors import FieldInvalid, JobwireError, Violation
from jobwire_server.domain.job import (
    DEFAULT_PRIORITY,
    DEFAULT_QUEUE,
    DEFAULT_RETRY_POLICY,
    Content,
    NewJob,
    RetryPolicy,
)
from jobwire_server.domain.rules import prefix_of
from jobwire_server.jobs import BatchOptions, Draft
from jobwire_server.rpc.convert.records import record
from jobwire_server.rpc.convert.times import duration_us, time_us
from jobwire_server.store.base import SubmitReceipt, Submitted

_FINGERPRINT_BYTES: Final = 16
_ERROR_TEXT_CHARS: Final = 300


def fingerprint_of(request: SubmitJobRequest | BatchSubmitJobsRequest) -> bytes:
    """Return a hash of everything a request says, the same however its bytes were laid out."""
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=_FINGERPRINT_BYTES).digest()


def draft_of(request: SubmitJobRequest, path: str, new_id: Callable[[], str]) -> Draft:
    """Read one job. `path` is where the request stands: "", or `requests[17]` in a batch."""
    spec = request.spec
    chosen = request.job_id
    request_id = request.request_id
    violations: list[Violation] = []
    labels, headers = spec.labels, spec.headers
    rare = _NO_RARE_FIELDS
    if _has_rare_fields(spec):
        rare = _rare_fields(spec, f"{prefix_of(path)}spec.", violations)
    schedule_us, expire_us, timeout_us, policy, retention_us = rare
    if violations:
        return FieldInvalid(violations)
    return NewJob(
        chosen or new_id(),
        bool(chosen),
        spec.type,
        spec.queue or DEFAULT_QUEUE,
        spec.priority if spec.HasField("priority") else DEFAULT_PRIORITY,
        content_of(spec.payload) if spec.HasField("payload") else None,
        schedule_us,
        expire_us,
        timeout_us,
        policy,
        dict(labels) if labels else None,
        dict(headers) if headers else None,
        retention_us,
        request_id,
        fingerprint_of(request) if request_id else b"",
    )


_RareFields = tuple[int | None, int | None, int | None, RetryPolicy | None, int | None]
_NO_RARE_FIELDS: Final[_RareFields] = (None, None, None, None, None)


def _has_rare_fields(spec: JobSpec) -> bool:
    has = spec.HasField
    return (
        has("schedule_time") or has("expire_time") or has("attempt_timeout") or has("retry_policy") or has("retention")
    )


def _rare_fields(spec: JobSpec, prefix: str, violations: list[Violation]) -> _RareFields:
    has = spec.HasField
    return (
        time_us(spec.schedule_time, f"{prefix}schedule_time", violations) if has("schedule_time") else None,
        time_us(spec.expire_time, f"{prefix}expire_time", violations) if has("expire_time") else None,
        duration_us(spec.attempt_timeout, f"{prefix}attempt_timeout", violations) if has("attempt_timeout") else None,
        _retry_policy(spec.retry_policy, f"{prefix}retry_policy.", violations) if has("retry_policy") else None,
        duration_us(spec.retention, f"{prefix}retention", violations) if has("retention") else None,
    )


def _retry_policy(message: RetryPolicyMessage, prefix: str, violations: list[Violation]) -> RetryPolicy:
    """Read a policy; what it leaves open is filled in here."""
    has, default = message.HasField, DEFAULT_RETRY_POLICY
    return RetryPolicy(
        max_attempts=message.max_attempts or default.max_attempts,
        initial_backoff_us=duration_us(message.initial_backoff, f"{prefix}initial_backoff", violations)
        if has("initial_backoff")
        else default.initial_backoff_us,
        backoff_multiplier=message.backoff_multiplier or default.backoff_multiplier,
        max_backoff_us=duration_us(message.max_backoff, f"{prefix}max_backoff", violations)
        if has("max_backoff")
        else default.max_backoff_us,
        jitter=message.jitter if has("jitter") else default.jitter,
        non_retryable_error_types=tuple(message.non_retryable_error_types),
    )


def content_of(payload: Payload) -> Content:
    """Read a payload, whichever arm holds it."""
    data = payload.data
    if data:
        return Content(data, payload.content_type, payload.content_encoding)
    is_text = payload.HasField("text")
    return Content(payload.text.encode() if is_text else b"", payload.content_type, payload.content_encoding, is_text)


# --- batches ------------------------------------------------------------------------------------------------------


def batch_of(request: BatchSubmitJobsRequest, new_id: Callable[[], str]) -> tuple[Sequence[Draft], BatchOptions]:
    """Read a batch. `validate_only` inside it is a violation of the element that has it."""
    independent = request.independent
    drafts: list[Draft] = []
    append = drafts.append
    for index, element in enumerate(request.requests):
        path = "" if independent else f"requests[{index}]"
        append(_not_in_a_batch(path) if element.validate_only else draft_of(element, path, new_id))
    options = BatchOptions(
        request.request_id,
        fingerprint_of(request) if request.request_id else b"",
        request.batch_id,
        independent,
    )
    return drafts, options


def _not_in_a_batch(path: str) -> FieldInvalid:
    return FieldInvalid([Violation(f"{prefix_of(path)}validate_only", "must be false inside a batch")])


def batch_response(receipt: SubmitReceipt) -> bytes:
    """Write the answer to a batch: BatchSubmitJobsResponse, laid down record by record."""
    parts = [_result(answer) for answer in receipt.answers]
    if receipt.batch_id:
        parts.append(record(2, receipt.batch_id.encode()))
    cursor = WatchCursor(epoch=receipt.position.epoch, revision=receipt.position.revision)
    parts.append(record(3, cursor.SerializeToString()))
    return b"".join(parts)


def _result(answer: Submitted | JobwireError) -> bytes:
    """One SubmitResult as a record of field 1. Ids and states are short: every length fits into one byte."""
    if isinstance(answer, JobwireError):
        return record(1, SubmitResult(error=_submit_error(answer)).SerializeToString())
    job_id = answer.job_id.encode()
    tail = b"\x10\x01\x18%c" if answer.created else b"\x18%c"
    body = b"\x0a%c%b" % (len(job_id), job_id) + tail % answer.state
    return b"\x0a%c%b" % (len(body), body)


def _submit_error(error: JobwireError) -> SubmitError:
    field = error.violations[0].field if isinstance(error, FieldInvalid) else error.facts.get("field", "")
    return SubmitError(reason=error.reason, message=error.message[:_ERROR_TEXT_CHARS], field=field[:_ERROR_TEXT_CHARS])
