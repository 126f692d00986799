"""What watchers are sent. An event is encoded once, however many watchers get it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from jobwire.v1.job_service_pb2 import (
    JOB_EVENT_TYPE_PROGRESS,
    JOB_EVENT_TYPE_SNAPSHOT,
    JobEvent,
    WatchJobResponse,
    WatchJobsResponse,
)
from jobwire_server.domain.job import Job
from jobwire_server.rpc.convert.jobs import job_bytes, put_error, put_status, put_times
from jobwire_server.rpc.convert.reads import cursor_record
from jobwire_server.rpc.convert.records import RESPONSE_LIMIT, record
from jobwire_server.rpc.convert.times import put_time
from jobwire_server.store import base
from jobwire_server.watch.requests import Batch, Cursor, Detail, StatusUpdate
from jobwire_server.watch.ring import Entry

_SOFT_LIMIT: Final = 256 * 2**10
"""A response goes out when it has grown to this: a slow reader then holds up little memory."""
_ENVELOPE_BYTES: Final = 1024
_JOB_FIELD: Final = 8


def status_response(update: StatusUpdate) -> bytes:
    """Write a WatchJobResponse."""
    message = WatchJobResponse(skipped=update.skipped)
    put_status(message.status, update.status)
    return message.SerializeToString()


def batch_responses(batch: Batch, detail: Detail) -> Iterator[bytes]:
    """Write one step of a watch as WatchJobsResponses, each of bounded size; the last one has the batch's cursor.

    Where a step needs several, the earlier ones have the cursor of their own last event.
    """
    parts: list[bytes] = []
    size = 0
    revision = 0
    for part, part_revision in _events(batch, detail):
        if parts and (size >= _SOFT_LIMIT or size + len(part) > RESPONSE_LIMIT - _ENVELOPE_BYTES):
            yield b"".join(parts) + cursor_record(2, Cursor(batch.cursor.epoch, revision))
            parts, size = [], 0
        parts.append(part)
        size += len(part)
        revision = part_revision
    flags = WatchJobsResponse(
        initial_state_complete=batch.initial_state_complete, draining=batch.draining
    ).SerializeToString()
    yield b"".join(parts) + cursor_record(2, batch.cursor) + flags


def _events(batch: Batch, detail: Detail) -> Iterator[tuple[bytes, int]]:
    """Yield each event as a record, with the revision up to which all has been sent once it has."""
    for job in batch.snapshots:
        yield _synthetic(JOB_EVENT_TYPE_SNAPSHOT, job, detail), batch.cursor.revision
    yield from _log_events(batch.entries, batch.jobs, detail)
    for job in batch.progress:
        yield _synthetic(JOB_EVENT_TYPE_PROGRESS, job, detail), batch.cursor.revision


def _log_events(entries: Iterable[Entry], jobs: Mapping[str, Job], detail: Detail) -> Iterator[tuple[bytes, int]]:
    for entry in entries:
        wire = entry.wire
        if wire is None:
            wire = entry.wire = _log_event(entry.event).SerializeToString()
        job = None if detail is Detail.NONE else jobs.get(entry.event.job_id)
        if job is not None:
            wire += record(_JOB_FIELD, job_bytes(job))
        yield record(1, wire), entry.revision


def _log_event(event: base.JobEvent) -> JobEvent:
    message = JobEvent(
        revision=event.revision,
        event_type=event.kind,  # type: ignore[arg-type]
        job_id=event.job_id,
        queue=event.queue,
        job_type=event.type,
    )
    put_time(message.event_time, event.time_us)
    status = message.status
    status.state = event.state  # type: ignore[assignment]
    status.revision = event.revision
    status.attempt = event.attempt
    status.max_attempts = event.max_attempts
    status.worker_id = event.worker_id
    if event.last_error is not None:
        put_error(status.last_error, event.last_error)
    put_times(status, event)
    return message


def _synthetic(event_type: int, job: Job, detail: Detail) -> bytes:
    """Write an event that stands in no log: the job as it is now."""
    is_snapshot = event_type == JOB_EVENT_TYPE_SNAPSHOT
    message = JobEvent(
        revision=job.status.revision if is_snapshot else 0,
        event_type=event_type,  # type: ignore[arg-type]
        job_id=job.job_id,
        queue=job.spec.queue,
        job_type=job.spec.type,
    )
    put_status(message.status, job.status)
    message.status.ClearField("result")
    wire = message.SerializeToString()
    if detail is not Detail.NONE:
        wire += record(_JOB_FIELD, job_bytes(job))
    return record(1, wire)
