"""What an error means on the wire: one table from reason to code, and the details that go with each.

Metadata over 8 KiB is dropped at random on its way, so a refusal is cut to fit: trailers stay under 4 KiB. Nothing
of an exception that is not in the table ever leaves the server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from jobwire_server.domain.errors import FieldInvalid, JobwireError
from jobwire_server.domain.rules import MAX_VIOLATIONS

DOMAIN: Final = "jobwire.dev"
INTERNAL: Final = "INTERNAL"
DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"

_MESSAGE_BYTES: Final = 480
"""Longest message as it stands in the trailers, percent-encoded."""
_STATUS_BYTES: Final = 2400
"""Longest encoded Status; base64 makes 3200 bytes of it."""
_FIELD_CHARS: Final = 160
_DESCRIPTION_CHARS: Final = 240
_FACT_CHARS: Final = 128

Code = grpc.StatusCode

CODES: Final[Mapping[str, grpc.StatusCode]] = MappingProxyType(
    {
        "FIELD_INVALID": Code.INVALID_ARGUMENT,
        "PAYLOAD_TOO_LARGE": Code.INVALID_ARGUMENT,
        "BATCH_TOO_LARGE": Code.INVALID_ARGUMENT,
        "PAGE_TOKEN_INVALID": Code.INVALID_ARGUMENT,
        "PAGE_TOKEN_MISMATCH": Code.INVALID_ARGUMENT,
        "REQUEST_ID_REUSED": Code.INVALID_ARGUMENT,
        "LEASE_TOKEN_MALFORMED": Code.INVALID_ARGUMENT,
        "PROTOCOL_VIOLATION": Code.INVALID_ARGUMENT,
        "JOB_NOT_FOUND": Code.NOT_FOUND,
        "JOB_ID_TAKEN": Code.ALREADY_EXISTS,
        "JOB_TERMINAL": Code.FAILED_PRECONDITION,
        "JOB_NOT_TERMINAL": Code.FAILED_PRECONDITION,
        "JOB_SUCCEEDED": Code.FAILED_PRECONDITION,
        "LEASE_LOST": Code.FAILED_PRECONDITION,
        "REVISION_COMPACTED": Code.OUT_OF_RANGE,
        "REVISION_IN_FUTURE": Code.OUT_OF_RANGE,
        "STORE_EPOCH_CHANGED": Code.OUT_OF_RANGE,
        "QUEUE_FULL": Code.RESOURCE_EXHAUSTED,
        "STORE_FULL": Code.RESOURCE_EXHAUSTED,
        "TOO_MANY_STREAMS": Code.RESOURCE_EXHAUSTED,
        "TOO_MANY_REQUESTS": Code.RESOURCE_EXHAUSTED,
        "SLOW_CONSUMER": Code.RESOURCE_EXHAUSTED,
        "DEADLINE_TOO_SHORT": Code.DEADLINE_EXCEEDED,
        "NOT_READY": Code.UNAVAILABLE,
        "DRAINING": Code.UNAVAILABLE,
        "STREAM_AGE": Code.UNAVAILABLE,
        "WORKER_SILENT": Code.UNAVAILABLE,
        "STORE_UNAVAILABLE": Code.UNAVAILABLE,
        INTERNAL: Code.INTERNAL,
    }
)

_RETRY_AFTER_US: Final[Mapping[str, int]] = MappingProxyType(
    {
        "QUEUE_FULL": 1_000_000,
        "STORE_FULL": 5_000_000,
        "TOO_MANY_STREAMS": 1_000_000,
        "TOO_MANY_REQUESTS": 200_000,
        "SLOW_CONSUMER": 0,
        "NOT_READY": 500_000,
        "DRAINING": 500_000,
        "STREAM_AGE": 0,
        "WORKER_SILENT": 0,
        "STORE_UNAVAILABLE": 1_000_000,
    }
)
"""When to try again, where the error does not say it itself. Other reasons are not cured by waiting."""


class Refusal(NamedTuple):
    """How a call that is not OK ends."""

    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]


def refusal_of(error: JobwireError) -> Refusal:
    """Say on the wire what `error` says in the domain. A reason without a row is a bug, and told as one."""
    code = CODES.get(error.reason)
    if code is None:
        return _refusal(Code.INTERNAL, "The server met an error that it has no name for.", [_error_info(INTERNAL, {})])
    parts: list[Message] = [_error_info(error.reason, error.facts)]
    wait_us = _RETRY_AFTER_US.get(error.reason) if error.retry_after_us is None else error.retry_after_us
    if wait_us is not None:
        delay = Duration(seconds=wait_us // 1_000_000, nanos=wait_us % 1_000_000 * 1000)
        parts.append(details.RetryInfo(retry_delay=delay))
    if code is Code.RESOURCE_EXHAUSTED:
        subject = details.QuotaFailure.Violation(subject=f"service:{DOMAIN}", description=_cut(error.message, 160))
        parts.append(details.QuotaFailure(violations=[subject]))
    if code is Code.NOT_FOUND:
        parts.append(_resource_info(error))
    if isinstance(error, FieldInvalid):
        parts.append(_bad_request(error))
    refusal = _refusal(code, error.message, parts)
    if error.reason == "TOO_MANY_REQUESTS" and wait_us is not None:
        return refusal._replace(trailers=(*refusal.trailers, (PUSHBACK_KEY, str(wait_us // 1000))))
    return refusal


def internal_refusal(error_id: str, rpc_id: str) -> Refusal:
    """Say that there is a bug, under which id the log tells more, and how the call is named there."""
    message = f"The server made a mistake. Report it with error_id {error_id}: its log has the details under that id."
    named = details.RequestInfo(request_id=rpc_id)
    return _refusal(Code.INTERNAL, message, [_error_info(INTERNAL, {"error_id": error_id}), named])


def _error_info(reason: str, facts: Mapping[str, str]) -> Message:
    metadata = {_cut(name, 64): _cut(value, _FACT_CHARS) for name, value in list(facts.items())[:8]}
    info: Message = details.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
    return info


def _resource_info(error: JobwireError) -> Message:
    name = _cut(error.facts.get("job_id", ""), _FACT_CHARS)
    info: Message = details.ResourceInfo(resource_type="jobwire.v1.Job", resource_name=name)
    return info


def _bad_request(error: FieldInvalid) -> Message:
    violations = [
        details.BadRequest.FieldViolation(
            field=_cut(violation.field, _FIELD_CHARS), description=_cut(violation.description, _DESCRIPTION_CHARS)
        )
        for violation in error.violations[:MAX_VIOLATIONS]
    ]
    message: Message = details.BadRequest(field_violations=violations)
    return message


def _refusal(code: grpc.StatusCode, text: str, parts: list[Message]) -> Refusal:
    """Put it all together, and cut until it fits: violations first, then facts."""
    message = _cut_encoded(text)
    number, _ = code.value
    status = Status(code=number, message=message, details=[_packed(part) for part in parts])
    for part in parts:
        while status.ByteSize() > _STATUS_BYTES and isinstance(part, details.BadRequest) and part.field_violations:
            del part.field_violations[-1]
            del status.details[:]
            status.details.extend(map(_packed, parts))
    if status.ByteSize() > _STATUS_BYTES:
        for part in parts:
            if isinstance(part, details.ErrorInfo):
                part.metadata.clear()
        del status.details[:]
        status.details.extend(map(_packed, parts))
    return Refusal(code, message, ((DETAILS_KEY, status.SerializeToString()),))


def _packed(part: Message) -> Any:
    box = Any()
    box.Pack(part)
    return box


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"


def _cut_encoded(text: str) -> str:
    """Cut a message to what its percent-encoded form may take: a character outside of ASCII takes up to 12 bytes."""
    if len(text) * 12 <= _MESSAGE_BYTES or _encoded_size(text) <= _MESSAGE_BYTES:
        return text
    return _longest(text, lambda cut: _encoded_size(cut + "…") <= _MESSAGE_BYTES) + "…"


def _longest(text: str, fits: Callable[[str], bool]) -> str:
    low, high = 0, min(len(text), _MESSAGE_BYTES)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle - 1)
    return text[:low]


def _encoded_size(text: str) -> int:
    return len(quote(text, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}~", errors="replace"))
