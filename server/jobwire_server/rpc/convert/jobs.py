"""Jobs and everything inside them, as messages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.v1 import job_pb2 as pb
from jobwire_server.domain.job import (
    DEFAULT_RETRY_POLICY,
    Attempt,
    Content,
    Job,
    JobError,
    JobStatus,
    NewJob,
    RetryPolicy,
    State,
)
from jobwire_server.rpc.convert.records import RESPONSE_LIMIT, record
from jobwire_server.rpc.convert.times import put_duration, put_time
from jobwire_server.store.base import Submitted

_ENVELOPE_BYTES: Final = 1024
"""Room for what surrounds a single job in a response."""


class SpecFields(Protocol):
    """What a JobSpec message is made of: `JobSpec` and `NewJob` both have it."""

    @property
    def type(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def payload(self) -> Content | None: ...
    @property
    def schedule_time_us(self) -> int | None: ...
    @property
    def expire_time_us(self) -> int | None: ...
    @property
    def attempt_timeout_us(self) -> int | None: ...
    @property
    def retry_policy(self) -> RetryPolicy | None: ...
    @property
    def labels(self) -> Mapping[str, str] | None: ...
    @property
    def headers(self) -> Mapping[str, str] | None: ...
    @property
    def retention_us(self) -> int | None: ...


def job_message(job: Job) -> pb.Job:
    """Write a job with all that it was read with."""
    message = pb.Job(job_id=job.job_id, batch_id=job.batch_id)
    put_spec(message.spec, job.spec, payload=True)
    put_status(message.status, job.status)
    put_time(message.create_time, job.create_time_us)
    for attempt in job.attempts:
        _put_attempt(message.attempts.add(), attempt)
    return message


def job_bytes(job: Job) -> bytes:
    """Encode a job for a response of its own size: where even one is too much, its oldest attempts are left out."""
    message = job_message(job)
    encoded = message.SerializeToString()
    while len(encoded) > RESPONSE_LIMIT - _ENVELOPE_BYTES and message.attempts:
        del message.attempts[0]
        encoded = message.SerializeToString()
    return encoded


def submitted_bytes(job: NewJob, answer: Submitted, create_time_us: int) -> bytes:
    """Encode a job that was created just now, VIEW_BASIC, from what was submitted and the receipt alone.

    Every unary submit passes here: the spec of jobs without rare fields is encoded once for all that are alike.
    """
    status = pb.JobStatus(revision=answer.revision)
    _put_new_status(status, job, answer.state)
    seconds, rest_us = divmod(create_time_us, 1_000_000)
    created = Timestamp(seconds=seconds, nanos=rest_us * 1000)
    parts = (
        record(1, answer.job_id.encode()),
        record(2, _plain_spec_bytes(job.queue, job.type, job.priority) if _is_plain(job) else _spec_bytes(job)),
        record(3, status.SerializeToString()),
        record(4, created.SerializeToString()),
    )
    return b"".join(parts)


def _is_plain(job: NewJob) -> bool:
    return (
        job.retry_policy is None
        and not job.labels
        and not job.headers
        and job.schedule_time_us is None
        and job.expire_time_us is None
        and job.attempt_timeout_us is None
        and job.retention_us is None
    )


@lru_cache(maxsize=256)
def _plain_spec_bytes(queue: str, job_type: str, priority: int) -> bytes:
    return _spec_bytes(NewJob("", False, job_type, queue, priority))


def _spec_bytes(job: NewJob) -> bytes:
    spec = pb.JobSpec()
    put_spec(spec, job, payload=False)
    return spec.SerializeToString()


def imagined_job(job: NewJob, state: State) -> pb.Job:
    """Write a job as it would be if it were submitted (validate_only)."""
    message = pb.Job(job_id=job.job_id if job.id_chosen else "")
    put_spec(message.spec, job, payload=False)
    _put_new_status(message.status, job, state)
    return message


def _put_new_status(status: pb.JobStatus, job: NewJob, state: State) -> None:
    status.state = state  # type: ignore[assignment]
    policy = job.retry_policy
    status.max_attempts = (DEFAULT_RETRY_POLICY if policy is None else policy).max_attempts
    if state is State.SCHEDULED and job.schedule_time_us is not None:
        put_time(status.next_attempt_time, job.schedule_time_us)


def put_spec(message: pb.JobSpec, spec: SpecFields, *, payload: bool) -> None:
    """Write a spec with its defaults filled in."""
    message.queue = spec.queue
    message.type = spec.type
    message.priority = spec.priority
    if payload and spec.payload is not None:
        put_content(message.payload, spec.payload)
    if spec.schedule_time_us is not None:
        put_time(message.schedule_time, spec.schedule_time_us)
    if spec.expire_time_us is not None:
        put_time(message.expire_time, spec.expire_time_us)
    if spec.attempt_timeout_us is not None:
        put_duration(message.attempt_timeout, spec.attempt_timeout_us)
    _put_retry_policy(message.retry_policy, spec.retry_policy or DEFAULT_RETRY_POLICY)
    if spec.labels:
        message.labels.update(spec.labels)
    if spec.headers:
        message.headers.update(spec.headers)
    if spec.retention_us is not None:
        put_duration(message.retention, spec.retention_us)


def _put_retry_policy(message: pb.RetryPolicy, policy: RetryPolicy) -> None:
    message.max_attempts = policy.max_attempts
    message.backoff_multiplier = policy.backoff_multiplier
    message.jitter = policy.jitter
    put_duration(message.initial_backoff, policy.initial_backoff_us)
    put_duration(message.max_backoff, policy.max_backoff_us)
    if policy.non_retryable_error_types:
        message.non_retryable_error_types.extend(policy.non_retryable_error_types)


def put_status(message: pb.JobStatus, status: JobStatus) -> None:
    """Write a status."""
    message.state = status.state  # type: ignore[assignment]
    message.revision = status.revision
    message.attempt = status.attempt
    message.max_attempts = status.max_attempts
    message.worker_id = status.worker_id
    message.progress_message = status.progress_message
    if status.progress_percent is not None:
        message.progress_percent = status.progress_percent
    if status.last_error is not None:
        put_error(message.last_error, status.last_error)
    if status.result is not None:
        put_content(message.result, status.result)
    put_times(message, status)


class StatusTimes(Protocol):
    """The instants of a status; a log event has them, too."""

    @property
    def cancel_request_time_us(self) -> int | None: ...
    @property
    def start_time_us(self) -> int | None: ...
    @property
    def finish_time_us(self) -> int | None: ...
    @property
    def next_attempt_time_us(self) -> int | None: ...
    @property
    def lease_expire_time_us(self) -> int | None: ...


def put_times(message: pb.JobStatus, status: StatusTimes) -> None:
    """Write the instants of a status, those that are set."""
    if status.cancel_request_time_us is not None:
        put_time(message.cancel_request_time, status.cancel_request_time_us)
    if status.start_time_us is not None:
        put_time(message.start_time, status.start_time_us)
    if status.finish_time_us is not None:
        put_time(message.finish_time, status.finish_time_us)
    if status.next_attempt_time_us is not None:
        put_time(message.next_attempt_time, status.next_attempt_time_us)
    if status.lease_expire_time_us is not None:
        put_time(message.lease_expire_time, status.lease_expire_time_us)


def put_error(message: pb.JobError, error: JobError) -> None:
    """Write why a job failed."""
    message.type = error.type
    message.message = error.message
    message.detail = error.detail
    message.retryable = error.retryable


def put_content(message: pb.Payload, content: Content) -> None:
    """Write a payload or a result into the arm that it came in."""
    message.content_type = content.content_type
    message.content_encoding = content.content_encoding
    if content.is_text:
        message.text = content.data.decode()
    else:
        message.data = content.data


def _put_attempt(message: pb.Attempt, attempt: Attempt) -> None:
    message.number = attempt.number
    message.worker_id = attempt.worker_id
    put_time(message.start_time, attempt.start_time_us)
    if attempt.finish_time_us is not None:
        put_time(message.finish_time, attempt.finish_time_us)
    if attempt.error is not None:
        put_error(message.error, attempt.error)
