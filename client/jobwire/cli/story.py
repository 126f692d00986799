"""One job with all that is known of it, for people."""

from __future__ import annotations

from collections.abc import Iterator

from jobwire.cli.outcome import payload_bytes
from jobwire.cli.words import (
    badge,
    duration_seconds,
    error_text,
    moment_text,
    painted,
    remark,
    seconds_of,
)
from jobwire.durations import span_text
from jobwire.v1 import job_pb2

_MOST_CHARACTERS = 2000


def job_story(job: job_pb2.Job, *, coloured: bool) -> Iterator[str]:
    """Facts, attempts, payload and result, line by line."""
    status = job.status
    state = badge(status.state)
    yield f"{job.job_id}  {job.spec.type}"
    yield f"  {painted(state, status.state) if coloured else state}  attempt {status.attempt}/{status.max_attempts}"
    yield from (f"  {line}" for line in _facts(job))
    if job.attempts:
        yield "  attempts"
        yield from (f"    {_attempt(attempt)}" for attempt in job.attempts)
    if job.spec.HasField("payload"):
        yield f"  payload  {shown_payload(job.spec.payload)}"
    if status.HasField("result"):
        yield f"  result   {shown_payload(status.result)}"


def _facts(job: job_pb2.Job) -> Iterator[str]:
    spec, status = job.spec, job.status
    yield f"queue {spec.queue} · priority {spec.priority}" + (f" · batch {job.batch_id}" if job.batch_id else "")
    if spec.labels:
        yield "labels " + ", ".join(f"{key}={value}" for key, value in sorted(spec.labels.items()))
    took = duration_seconds(job)
    ended = f" · ended {moment_text(status.finish_time)} after {span_text(took)}" if took is not None else ""
    yield f"submitted {moment_text(job.create_time)}{ended}"
    if status.HasField("cancel_request_time"):
        yield f"asked to stop {moment_text(status.cancel_request_time)}"
    if spec.HasField("expire_time"):
        yield f"expires {moment_text(spec.expire_time)}"
    if said := remark(status):
        yield said


def _attempt(attempt: job_pb2.Attempt) -> str:
    begun = f"{attempt.number}  {moment_text(attempt.start_time)}  {attempt.worker_id}"
    if not attempt.HasField("finish_time"):
        return f"{begun}  running"
    span = span_text(seconds_of(attempt.finish_time) - seconds_of(attempt.start_time))
    return f"{begun}  {span}  {f'✕ {error_text(attempt.error)}' if attempt.HasField('error') else '✓'}"


def shown_payload(payload: job_pb2.Payload) -> str:
    """A readable payload cut to what a terminal bears, or the size of another."""
    data = payload_bytes(payload)
    kind = payload.content_type or "no content type"
    if payload.content_encoding or not kind.startswith(("application/json", "text/")):
        return f"{len(data)} bytes of {kind}"
    text = data.decode("utf-8", "replace")
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]}… ({len(data)} bytes; -o json shows all)"
