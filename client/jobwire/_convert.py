"""The border between protobuf and our values, both ways. No protobuf message passes it outwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.durations import aware
from jobwire.errors import ArgumentInvalid
from jobwire.models import (
    Attempt,
    Job,
    JobError,
    JobEvent,
    JobEventType,
    JobFilter,
    JobSpec,
    JobState,
    JobStatus,
    RecoveryReport,
    RetryPolicy,
    ServerInfo,
    WatchCursor,
    WorkerInfo,
)
from jobwire.payload import Payload
from jobwire.v1 import admin_service_pb2, job_pb2, job_service_pb2

_STATES = {
    number: JobState(name.removeprefix("JOB_STATE_"))
    for name, number in job_pb2.JobState.items()
    if number != job_pb2.JOB_STATE_UNSPECIFIED
}
# Any: the numbers have two generated types that type checkers do not unite.
_STATE_NUMBERS: dict[JobState, Any] = {state: number for number, state in _STATES.items()}
_EVENT_TYPES = {
    number: JobEventType(name.removeprefix("JOB_EVENT_TYPE_"))
    for name, number in job_service_pb2.JobEventType.items()
    if number != job_service_pb2.JOB_EVENT_TYPE_UNSPECIFIED
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# --- inwards --------------------------------------------------------------------------------------------------------


def state_of(number: int) -> JobState:
    """Read a state; UNKNOWN for what a newer server sends."""
    return _STATES.get(number, JobState.UNKNOWN)


def time_of(message: Timestamp) -> datetime:
    """Read a time, to the microsecond."""
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def duration_of(message: Duration) -> timedelta:
    """Read a duration, to the microsecond."""
    return timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def payload_of(message: job_pb2.Payload) -> Payload:
    """Read a payload. Text is kept as its UTF-8 bytes."""
    is_text = message.WhichOneof("content") == "text"
    data = message.text.encode() if is_text else message.data
    return Payload(data, message.content_type, message.content_encoding, is_text)


def _error_of(message: job_pb2.JobError) -> JobError:
    return JobError(type=message.type, message=message.message, detail=message.detail, retryable=message.retryable)


def status_of(message: job_pb2.JobStatus) -> JobStatus:
    """Read a status."""
    has = message.HasField
    return JobStatus(
        state=state_of(message.state),
        revision=message.revision,
        attempt=message.attempt,
        max_attempts=message.max_attempts,
        progress_percent=message.progress_percent if has("progress_percent") else None,
        progress_message=message.progress_message,
        last_error=_error_of(message.last_error) if has("last_error") else None,
        result=payload_of(message.result) if has("result") else None,
        worker_id=message.worker_id,
        cancel_request_time=time_of(message.cancel_request_time) if has("cancel_request_time") else None,
        start_time=time_of(message.start_time) if has("start_time") else None,
        finish_time=time_of(message.finish_time) if has("finish_time") else None,
        next_attempt_time=time_of(message.next_attempt_time) if has("next_attempt_time") else None,
        lease_expire_time=time_of(message.lease_expire_time) if has("lease_expire_time") else None,
    )


def _policy_of(message: job_pb2.RetryPolicy) -> RetryPolicy:
    has = message.HasField
    return RetryPolicy(
        max_attempts=message.max_attempts or None,
        initial_backoff=duration_of(message.initial_backoff) if has("initial_backoff") else None,
        backoff_multiplier=message.backoff_multiplier or None,
        max_backoff=duration_of(message.max_backoff) if has("max_backoff") else None,
        jitter=message.jitter if has("jitter") else None,
        non_retryable_error_types=tuple(message.non_retryable_error_types),
    )


def _spec_of(message: job_pb2.JobSpec) -> JobSpec:
    has = message.HasField
    return JobSpec(
        type=message.type,
        queue=message.queue,
        payload=payload_of(message.payload) if has("payload") else None,
        priority=message.priority if has("priority") else None,
        schedule_time=time_of(message.schedule_time) if has("schedule_time") else None,
        expire_time=time_of(message.expire_time) if has("expire_time") else None,
        attempt_timeout=duration_of(message.attempt_timeout) if has("attempt_timeout") else None,
        retry_policy=_policy_of(message.retry_policy) if has("retry_policy") else None,
        labels=dict(message.labels),
        headers=dict(message.headers),
        retention=duration_of(message.retention) if has("retention") else None,
    )


def _attempt_of(message: job_pb2.Attempt) -> Attempt:
    has = message.HasField
    return Attempt(
        number=message.number,
        worker_id=message.worker_id,
        start_time=time_of(message.start_time) if has("start_time") else None,
        finish_time=time_of(message.finish_time) if has("finish_time") else None,
        error=_error_of(message.error) if has("error") else None,
    )


def job_of(message: job_pb2.Job) -> Job:
    """Read a job."""
    return Job(
        job_id=message.job_id,
        spec=_spec_of(message.spec),
        status=status_of(message.status),
        create_time=time_of(message.create_time) if message.HasField("create_time") else None,
        batch_id=message.batch_id,
        attempts=tuple(_attempt_of(attempt) for attempt in message.attempts),
    )


def cursor_of(message: job_service_pb2.WatchCursor) -> WatchCursor:
    """Read a place in the log."""
    return WatchCursor(message.epoch, message.revision)


def event_of(message: job_service_pb2.JobEvent, epoch: str) -> JobEvent:
    """Read an event; `epoch` completes its cursor."""
    event_type = _EVENT_TYPES.get(message.event_type, JobEventType.UNKNOWN)
    is_logged = event_type not in (JobEventType.SNAPSHOT, JobEventType.PROGRESS) and message.revision > 0
    return JobEvent(
        revision=message.revision,
        event_type=event_type,
        job_id=message.job_id,
        status=status_of(message.status),
        queue=message.queue,
        job_type=message.job_type,
        event_time=time_of(message.event_time) if message.HasField("event_time") else None,
        job=job_of(message.job) if message.HasField("job") else None,
        cursor=WatchCursor(epoch, message.revision) if is_logged and epoch else None,
    )


def _recovery_of(message: admin_service_pb2.RecoveryReport) -> RecoveryReport:
    return RecoveryReport(
        returned_count=message.returned_count,
        still_leased_count=message.still_leased_count,
        failed_count=message.failed_count,
        waiting_count=message.waiting_count,
        duration=duration_of(message.duration),
        retries=message.retries,
    )


def server_info_of(message: admin_service_pb2.ServerInfo) -> ServerInfo:
    """Read what a server says of itself."""
    has = message.HasField
    return ServerInfo(
        version=message.version,
        capabilities=tuple(message.capabilities),
        store=message.store,
        current=cursor_of(message.current) if has("current") else None,
        compacted=cursor_of(message.compacted) if has("compacted") else None,
        max_message_bytes=message.max_message_bytes,
        max_payload_bytes=message.max_payload_bytes,
        max_batch_size=message.max_batch_size,
        max_depth=message.max_depth,
        start_time=time_of(message.start_time) if has("start_time") else None,
        current_time=time_of(message.current_time) if has("current_time") else None,
        recovery=_recovery_of(message.recovery) if has("recovery") else None,
        pool_trouble=message.pool_trouble,
    )


def worker_of(message: admin_service_pb2.Worker) -> WorkerInfo:
    """Read a worker."""
    return WorkerInfo(
        worker_id=message.worker_id,
        instance_id=message.instance_id,
        user_agent=message.user_agent,
        queues=tuple(message.queues),
        types=tuple(message.types),
        max_in_flight=message.max_in_flight,
        in_flight=message.in_flight,
        last_seen_time=time_of(message.last_seen_time) if message.HasField("last_seen_time") else None,
        connected=message.connected,
    )


# --- outwards -------------------------------------------------------------------------------------------------------


def timestamp(value: datetime) -> Timestamp:
    """Write a time. It must be aware."""
    seconds, rest = divmod(aware(value) - _EPOCH, timedelta(seconds=1))
    return Timestamp(seconds=seconds, nanos=rest.microseconds * 1000)


def duration(value: timedelta) -> Duration:
    """Write a duration of 0 or more."""
    seconds, rest = divmod(value, timedelta(seconds=1))
    return Duration(seconds=seconds, nanos=rest.microseconds * 1000)


def payload_message(payload: Payload) -> job_pb2.Payload:
    """Write a payload. See `put_payload`."""
    message = job_pb2.Payload()
    put_payload(message, payload)
    return message


def put_payload(message: job_pb2.Payload, payload: Payload) -> None:
    """Write a payload: text in the arm that people can read. Text that is not UTF-8 raises UnicodeDecodeError."""
    message.content_type = payload.content_type
    if payload.content_encoding:
        message.content_encoding = payload.content_encoding
    if payload.is_text:
        message.text = payload.data.decode()
    else:
        message.data = payload.data


def policy_message(policy: RetryPolicy) -> job_pb2.RetryPolicy:
    """Write a retry policy; None leaves the server's default."""
    return job_pb2.RetryPolicy(
        max_attempts=policy.max_attempts or 0,
        initial_backoff=duration(policy.initial_backoff) if policy.initial_backoff is not None else None,
        backoff_multiplier=policy.backoff_multiplier or 0.0,
        max_backoff=duration(policy.max_backoff) if policy.max_backoff is not None else None,
        jitter=policy.jitter,
        non_retryable_error_types=policy.non_retryable_error_types,
    )


def _state_number(state: JobState) -> Any:
    if state not in _STATE_NUMBERS:
        raise ArgumentInvalid(f"{state!r} is no state to look for.")
    return _STATE_NUMBERS[state]


def filter_message(conditions: JobFilter) -> job_pb2.JobFilter:
    """Write conditions."""
    minimum, maximum = conditions.create_time_min, conditions.create_time_max
    return job_pb2.JobFilter(
        queues=conditions.queues,
        types=conditions.types,
        states=[_state_number(state) for state in conditions.states],
        labels=conditions.labels,
        batch_id=conditions.batch_id,
        create_time_min=timestamp(minimum) if minimum is not None else None,
        create_time_max=timestamp(maximum) if maximum is not None else None,
    )


def cursor_message(cursor: WatchCursor) -> job_service_pb2.WatchCursor:
    """Write a place in the log."""
    return job_service_pb2.WatchCursor(epoch=cursor.epoch, revision=cursor.revision)
