"""What workers send and are sent. Every job passes here twice, so its messages are laid down record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.v1 import worker_service_pb2 as pb
from jobwire.v1.job_pb2 import JobError as JobErrorMessage
from jobwire.v1.job_service_pb2 import SubmitJobRequest
from jobwire.worker.text import bounded
from jobwire_server.domain.errors import FieldInvalid, PayloadTooLarge, Refused, Violation
from jobwire_server.domain.job import Content, JobError, NewJob, State
from jobwire_server.domain.limits import Limits
from jobwire_server.domain.outcome import Failed, LeaseLost, Outcome, Released, Snoozed, Stopped, Succeeded
from jobwire_server.domain.validation import check_content, payload_too_large
from jobwire_server.rpc.convert.records import record, varint
from jobwire_server.rpc.convert.submit import content_of
from jobwire_server.rpc.convert.times import duration_us
from jobwire_server.store.base import Lease, LeaseState

ERROR_MESSAGE_BYTES: Final = 4 << 10
ERROR_DETAIL_BYTES: Final = 16 << 10
PROGRESS_MESSAGE_BYTES: Final = 1 << 10
"""Longer texts are cut: they are kept with the job, and read by people."""

_ACK_FIELD: Final = 3
FollowUps = Callable[[Sequence[SubmitJobRequest]], Sequence[NewJob]]
"""Reads and checks jobs that a success brings along; raises `Refused`."""


# --- assignments ------------------------------------------------------------------------------------------------------


def assignment_bytes(lease: Lease, token: bytes, now_us: int) -> bytes:
    """Encode an Assignment that is handed over at `now_us` by the store's clock.

    Parts that many jobs have alike are encoded once.
    """
    job_id = lease.job_id.encode()
    parts = [
        b"\x0a%c%b\x12%c%b" % (len(token), token, len(job_id), job_id),
        _lane_bytes(lease.type, lease.queue),
        _attempt_bytes(lease.attempt, lease.max_attempts),
    ]
    if lease.payload is not None:
        data, content_type, encoding, is_text = lease.payload
        head, tail = _around_payload(len(data), content_type, encoding, is_text)
        parts += (head, data, tail)
    if lease.headers:
        parts.append(_map_bytes(8, lease.headers.items()))
    if lease.labels:
        parts.append(_map_bytes(9, lease.labels.items()))
    parts.append(_lease_end_bytes(now_us + lease.lease_us, lease.lease_us))
    bounds = [bound for bound in (lease.attempt_timeout_us, lease.expire_in_us) if bound is not None]
    if bounds:
        parts.append(record(12, _time_bytes(now_us + max(0, min(bounds)))))
    if lease.checkpoint is not None:
        parts.append(record(13, _content_bytes(lease.checkpoint)))
    parts.append(_create_time_bytes(lease.create_time_us))
    parts.append(b"\x78" + varint(lease.fence))
    if lease.losses:
        parts.append(b"\x80\x01" + varint(lease.losses))
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _lane_bytes(type_: str, queue: str) -> bytes:
    return record(3, type_.encode()) + record(4, queue.encode())


@lru_cache(maxsize=1024)
def _attempt_bytes(attempt: int, max_attempts: int) -> bytes:
    return b"\x28%b\x30%b" % (varint(attempt), varint(max_attempts))


@lru_cache(maxsize=1024)
def _around_payload(size: int, content_type: str, encoding: str, is_text: bool) -> tuple[bytes, bytes]:
    """What stands before and after the data in field 7."""
    head = (
        (record(1, content_type.encode()) if content_type else b"") + (b"\x1a" if is_text else b"\x12") + varint(size)
    )
    tail = record(4, encoding.encode()) if encoding else b""
    return b"\x3a" + varint(len(head) + size + len(tail)) + head, tail


@lru_cache(maxsize=1024)
def _create_time_bytes(create_time_us: int) -> bytes:
    """Field 14: the same for all jobs that one commit has created."""
    return record(14, _time_bytes(create_time_us))


@lru_cache(maxsize=8)
def _lease_end_bytes(end_us: int, remaining_us: int) -> bytes:
    """Fields 10 and 11: the same for all jobs that one commit has leased."""
    seconds, rest_us = divmod(remaining_us, 1_000_000)
    remaining = Duration(seconds=seconds, nanos=rest_us * 1000)
    return record(10, _time_bytes(end_us)) + record(11, remaining.SerializeToString())


def _time_bytes(value_us: int) -> bytes:
    seconds, rest_us = divmod(value_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest_us * 1000).SerializeToString()


def _content_bytes(content: Content) -> bytes:
    data, content_type, encoding, is_text = content
    encoded = record(3 if is_text else 2, data)
    if content_type:
        encoded = record(1, content_type.encode()) + encoded
    return encoded + record(4, encoding.encode()) if encoding else encoded


def _map_bytes(field: int, pairs: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(record(field, record(1, key.encode()) + record(2, value.encode())) for key, value in pairs)


# --- answers ----------------------------------------------------------------------------------------------------------


def ack_record(token: bytes, code: int, state: State | None, message: str = "") -> bytes:
    """Write an OutcomeAck as a record of field 3 of a WorkResponse (`ack_bytes` is its body)."""
    size = len(token)
    if state is not None and not message and size < 0x40:
        return b"\x1a%c\x0a%c%b\x10%c\x18%c" % (size + 6, size, token, code, state)
    return record(_ACK_FIELD, ack_message(token, code, state, message).SerializeToString())


def acks_response(records: Sequence[bytes]) -> bytes:
    """Write a ReportOutcomesResponse of ack records, which stand in field 3 of a WorkResponse, and in field 1 here."""
    return b"".join(b"\x0a" + each[1:] for each in records)


def ack_message(token: bytes, code: int, state: State | None, message: str = "") -> pb.OutcomeAck:
    """Make an OutcomeAck."""
    return pb.OutcomeAck(lease_token=token, code=code, state=state or 0, message=message)  # type: ignore[arg-type]


def lease_state_message(token: bytes, state: LeaseState, now_us: int) -> pb.LeaseState:
    """Make a LeaseState as of `now_us` by the store's clock."""
    message = pb.LeaseState(lease_token=token, valid=state.valid)
    if state.valid:
        message.cancel_requested = state.cancel_requested
        remaining_us = max(0, state.remaining_us)
        message.remaining.FromMicroseconds(remaining_us)
        message.expire_time.FromMicroseconds(now_us + remaining_us)
    return message


# --- outcomes ---------------------------------------------------------------------------------------------------------


def outcome_of(message: pb.Outcome, limits: Limits, follow_ups: FollowUps) -> Outcome:
    """Read how an attempt ended. Texts that are too long are cut; anything else that is wrong raises `Refused`."""
    kind = message.WhichOneof("outcome")
    match kind:
        case "success":
            return success_of(message.success, limits, follow_ups)
        case "failure":
            failure = message.failure
            return failure_of(failure, failure.error, limits)
        case "release":
            return _release_of(message.release, limits)
        case "stopped":
            stopped = message.stopped
            result = _result_of(stopped, "stopped.result", limits)
            return Stopped(bounded(stopped.reason, limits.reason_chars), result)
        case "abandoned":
            return LeaseLost()
        case _:
            raise FieldInvalid([Violation("outcome", "is required: success, failure, release, stopped or abandoned")])


def success_of(message: pb.Success | pb.CompleteJobRequest, limits: Limits, follow_ups: FollowUps) -> Succeeded:
    """Read a success."""
    result = _result_of(message, "result", limits)
    if message.follow_ups:
        return Succeeded(result, follow_ups(message.follow_ups))
    return Succeeded(result)


def failure_of(message: pb.Failure | pb.FailJobRequest, error: JobErrorMessage, limits: Limits) -> Failed:
    """Read a failure; `error` is required, and so is its type."""
    if not message.HasField("error") or not error.type:
        raise FieldInvalid([Violation("error.type", "is required: a short stable class, such as 'ValueError'")])
    delay_us = None
    if message.HasField("retry_delay"):
        delay_us = _delay_us(message.retry_delay, "retry_delay", limits)
    return Failed(
        JobError(
            type=bounded(error.type, limits.error_type_chars),
            message=bounded(error.message, ERROR_MESSAGE_BYTES),
            detail=bounded(error.detail, ERROR_DETAIL_BYTES, keep_end=True),
            retryable=error.retryable,
        ),
        delay_us,
    )


def _release_of(message: pb.Release, limits: Limits) -> Released | Snoozed:
    delay_us = _delay_us(message.delay, "release.delay", limits) if message.HasField("delay") else 0
    return Snoozed(delay_us) if delay_us else Released(bounded(message.reason, limits.reason_chars))


def _delay_us(message: Duration, field: str, limits: Limits) -> int:
    violations: list[Violation] = []
    delay_us = duration_us(message, field, violations)
    if delay_us < 0 or delay_us > limits.duration_us:
        violations.append(Violation(field, "must lie within 0 and 3650 days"))
    if violations:
        raise FieldInvalid(violations)
    return delay_us


def _result_of(message: pb.Success | pb.Stopped | pb.CompleteJobRequest, field: str, limits: Limits) -> Content | None:
    return checked_content(content_of(message.result), field, limits) if message.HasField("result") else None


def checked_content(content: Content, field: str, limits: Limits) -> Content:
    """Return the content if it can be stored; raise `PayloadTooLarge` or `FieldInvalid` otherwise."""
    if len(content.data) > limits.payload_bytes:
        raise payload_too_large(field, len(content.data), limits)
    violations = check_content(content, field, limits)
    if violations:
        raise FieldInvalid(violations)
    return content


def refusal_text(refusal: Refused) -> str:
    """Say in an ack why an outcome was not taken."""
    kind = "" if isinstance(refusal, (FieldInvalid, PayloadTooLarge)) else f"{refusal.reason}: "
    return bounded(f"{kind}{refusal.message}", ERROR_MESSAGE_BYTES)
