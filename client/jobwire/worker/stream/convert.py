"""Between the frames of the Work stream and the plain values of the seam. Decides nothing, waits for nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from google.protobuf.duration_pb2 import Duration

from jobwire.payload import Payload
from jobwire.v1 import job_pb2
from jobwire.v1 import worker_service_pb2 as pb
from jobwire.worker.transport import (
    Ack,
    AckCode,
    Assignment,
    CancelOrder,
    Failure,
    Hello,
    LeaseState,
    LeaseUpdate,
    Outcome,
    Release,
    Stopped,
    Success,
    Token,
)

_NANOS = 1e-9
_NOTHING: Mapping[str, str] = {}
_CODES = {int(code): code for code in AckCode}
MAX_DURATION_SECONDS = 3.15e11
"""What a protobuf Duration can say, 10,000 years."""


# --- from the server --------------------------------------------------------------------------------------------------


def assignment_of(message: pb.Assignment) -> Assignment:
    """Read an assignment. Times become durations by the server's own clock, whatever ours says."""
    remaining = message.lease_remaining
    lease_seconds = remaining.seconds + remaining.nanos * _NANOS
    timeout_seconds = None
    if message.HasField("attempt_deadline"):
        deadline, expiry = message.attempt_deadline, message.lease_expire_time
        beyond_lease = deadline.seconds - expiry.seconds + (deadline.nanos - expiry.nanos) * _NANOS
        timeout_seconds = max(0.0, lease_seconds + beyond_lease)
    created = message.create_time
    return Assignment(
        message.lease_token,
        message.job_id,
        message.queue,
        message.type,
        message.attempt,
        message.max_attempts,
        message.fence,
        payload_of(message.payload) if message.HasField("payload") else None,
        dict(headers) if (headers := message.headers) else _NOTHING,
        lease_seconds,
        timeout_seconds,
        dict(labels) if (labels := message.labels) else _NOTHING,
        payload_of(message.checkpoint) if message.HasField("checkpoint") else None,
        message.lost_leases,
        created.seconds + created.nanos * _NANOS,
    )


def payload_of(message: job_pb2.Payload) -> Payload:
    """Read a payload. Text is kept as its UTF-8 bytes."""
    if message.HasField("text"):
        return Payload(message.text.encode(), message.content_type, message.content_encoding, is_text=True)
    return Payload(message.data, message.content_type, message.content_encoding)


def ack_of(message: pb.OutcomeAck) -> Ack:
    """Read an ack. A code that we do not know yet is taken for a passing fault: the next answer may say more."""
    return Ack(message.lease_token, _CODES.get(message.code, AckCode.RETRY), message.message)


def lease_state_of(message: pb.LeaseState) -> LeaseState:
    """Read what the server thinks of a lease."""
    return LeaseState(message.lease_token, message.valid, message.cancel_requested, seconds_of(message.remaining))


def cancel_order_of(message: pb.CancelOrder) -> CancelOrder:
    """Read an order to stop."""
    return CancelOrder(message.lease_token, message.reason, seconds_of(message.grace))


def seconds_of(message: Duration) -> float:
    """Read a duration."""
    return message.seconds + message.nanos * _NANOS


# --- to the server ----------------------------------------------------------------------------------------------------


def hello_message(hello: Hello, *, window: int, held: Sequence[Token], user_agent: str) -> pb.WorkerHello:
    """Introduce the worker with the window that counts now."""
    return pb.WorkerHello(
        worker_id=hello.worker_id,
        instance_id=hello.instance_id,
        queues=[
            pb.QueueSubscription(queue=one.queue, weight=one.weight, max_in_flight=one.max_in_flight)
            for one in hello.queues
        ],
        types=hello.types,
        max_in_flight=window,
        max_in_flight_bytes=hello.max_in_flight_bytes,
        lease_duration=None if hello.lease_seconds is None else duration(hello.lease_seconds),
        held_lease_tokens=[token for token in held if isinstance(token, bytes)],
        user_agent=user_agent,
    )


def fill_outcome(message: pb.Outcome, outcome: Outcome | None) -> None:
    """Write how an attempt ended; None = its process died."""
    match outcome:
        case Success(result, follow_ups):
            message.success.SetInParent()
            if result is not None:
                message.success.result.CopyFrom(payload_message(result))
            message.success.follow_ups.extend(follow_ups)
        case Failure():
            message.failure.CopyFrom(_failure(outcome))
        case Release(delay, reason):
            message.release.CopyFrom(pb.Release(reason=reason, delay=duration(delay) if delay else None))
        case Stopped(reason, result):
            message.stopped.CopyFrom(
                pb.Stopped(reason=reason, result=None if result is None else payload_message(result))
            )
        case None:
            message.abandoned.reason = "the process of the handler died"


def _failure(failure: Failure) -> pb.Failure:
    delay = failure.retry_delay_seconds
    return pb.Failure(
        error=job_pb2.JobError(
            type=failure.error_type, message=failure.message, detail=failure.detail, retryable=failure.retryable
        ),
        retry_delay=None if delay is None else duration(delay),
    )


def update_message(update: LeaseUpdate) -> pb.LeaseUpdate:
    """Write a heartbeat with its news."""
    token, percent, text, checkpoint = update
    assert isinstance(token, bytes)
    message = pb.LeaseUpdate(lease_token=token)
    if percent is not None:
        message.progress_percent = percent
    if text is not None:
        message.progress_message = text
    if checkpoint is not None:
        message.checkpoint.CopyFrom(payload_message(checkpoint))
    return message


def payload_message(payload: Payload) -> job_pb2.Payload:
    """Write a payload, in the arm it came in. Text that is not UTF-8 after all is sent as bytes."""
    data, content_type, content_encoding, is_text = payload
    if is_text:
        with contextlib.suppress(UnicodeDecodeError):
            return job_pb2.Payload(text=data.decode(), content_type=content_type, content_encoding=content_encoding)
    return job_pb2.Payload(data=data, content_type=content_type, content_encoding=content_encoding)


def duration(seconds: float) -> Duration:
    """Write a duration; what is not in its range is moved to the nearest that is."""
    bounded = min(max(0.0, seconds), MAX_DURATION_SECONDS) if seconds == seconds else 0.0  # noqa: PLR0124 (not a number)
    whole = int(bounded)
    return Duration(seconds=whole, nanos=min(999_999_999, round((bounded - whole) * 1e9)))
