"""What readers ask, and pages of jobs that end before they are too big."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jobwire.v1 import job_pb2 as pb
from jobwire.v1.job_service_pb2 import GetJobRequest, WatchCursor, WatchJobRequest, WatchJobsRequest
from jobwire_server.domain.errors import FieldInvalid, Violation
from jobwire_server.domain.job import SECOND_US, Job, State
from jobwire_server.domain.limits import DEFAULT_LIMITS, Limits
from jobwire_server.domain.validation import (
    ReadFields,
    check_filter,
    check_job_id,
    check_job_ids,
    check_revision,
    unknown_states,
)
from jobwire_server.rpc.convert.jobs import job_bytes
from jobwire_server.rpc.convert.records import record
from jobwire_server.rpc.convert.times import duration_us, time_us
from jobwire_server.store.base import JobFilter, Position
from jobwire_server.watch.job_feed import JobWatch
from jobwire_server.watch.requests import (
    DEFAULT_BOOKMARK_SECONDS,
    MAX_BOOKMARK_SECONDS,
    MIN_BOOKMARK_SECONDS,
    Cursor,
    Detail,
    JobsWatch,
)

_DETAILS = {
    pb.JOB_VIEW_UNSPECIFIED: Detail.NONE,
    pb.JOB_VIEW_BASIC: Detail.BASIC,
    pb.JOB_VIEW_FULL: Detail.FULL,
}


def is_full(view: int, *, default: bool, field: str = "view") -> bool:
    """Read a view; refuse one that is not known. `default` is what an unset one means."""
    if view not in _DETAILS:
        raise FieldInvalid([Violation(field, f"{view} is not a known view: use JOB_VIEW_BASIC or JOB_VIEW_FULL")])
    return default if view == pb.JOB_VIEW_UNSPECIFIED else view == pb.JOB_VIEW_FULL


def filter_of(message: pb.JobFilter, path: str, limits: Limits = DEFAULT_LIMITS) -> JobFilter:
    """Read and check the conditions of a list or a watch."""
    violations: list[Violation] = []
    unknown = unknown_states(message.states)
    if unknown:
        violations.append(Violation(f"{path}.states", f"{unknown[0]} is not a known state"))
    has = message.HasField
    wanted = JobFilter(
        queues=tuple(message.queues),
        types=tuple(message.types),
        states=() if unknown else tuple(map(State, message.states)),
        labels=dict(message.labels),
        batch_id=message.batch_id,
        create_time_min_us=time_us(message.create_time_min, f"{path}.create_time_min", violations)
        if has("create_time_min")
        else None,
        create_time_max_us=time_us(message.create_time_max, f"{path}.create_time_max", violations)
        if has("create_time_max")
        else None,
    )
    refuse(violations or check_filter(wanted, path, limits))
    return wanted


def read_of(request: GetJobRequest) -> ReadFields:
    """Read a GetJobRequest."""
    violations: list[Violation] = []
    timeout_us = None
    if request.HasField("wait_timeout"):
        timeout_us = duration_us(request.wait_timeout, "wait_timeout", violations)
    refuse(violations)
    revision = request.wait_revision if request.HasField("wait_revision") else None
    return ReadFields(request.job_id, revision, timeout_us)


def job_watch_of(request: WatchJobRequest, tenant: str) -> JobWatch:
    """Read and check a WatchJobRequest."""
    after = request.after_revision if request.HasField("after_revision") else None
    refuse(check_job_id(request.job_id) + check_revision(after, "after_revision"))
    return JobWatch(tenant, request.job_id, after, full=is_full(request.view, default=False))


def jobs_watch_of(request: WatchJobsRequest, tenant: str, limits: Limits = DEFAULT_LIMITS) -> JobsWatch:
    """Read and check a WatchJobsRequest."""
    violations = _watch_violations(request, limits)
    bookmark_seconds = DEFAULT_BOOKMARK_SECONDS
    if request.HasField("bookmark_interval"):
        wanted_us = duration_us(request.bookmark_interval, "bookmark_interval", violations)
        bookmark_seconds = min(max(wanted_us / SECOND_US, MIN_BOOKMARK_SECONDS), MAX_BOOKMARK_SECONDS)
    is_full(request.view, default=False)
    refuse(violations)
    return JobsWatch(
        tenant=tenant,
        filter=filter_of(request.filter, "filter", limits),
        job_ids=tuple(dict.fromkeys(request.job_ids)),
        after=Cursor(request.after.epoch, request.after.revision) if request.HasField("after") else None,
        send_initial_state=request.send_initial_state,
        until_all_terminal=request.until_all_terminal,
        detail=_DETAILS[request.view],
        include_progress=request.include_progress,
        conflate=request.conflate,
        bookmark_seconds=bookmark_seconds,
    )


def _watch_violations(request: WatchJobsRequest, limits: Limits) -> list[Violation]:
    has = request.HasField
    violations = list(check_job_ids(request.job_ids[: limits.watch_ids], required=False))
    if len(request.job_ids) > limits.watch_ids:
        violations.append(Violation("job_ids", f"must hold at most {limits.watch_ids} ids"))
    if request.job_ids and has("filter"):
        violations.append(Violation("job_ids", "must be empty when filter is set: a watch goes by ids or by filter"))
    if has("after"):
        violations += check_revision(request.after.revision, "after.revision")
        if request.send_initial_state:
            violations.append(Violation("after", "must be unset with send_initial_state: resume, or begin anew"))
    if request.until_all_terminal and not request.job_ids:
        violations.append(Violation("until_all_terminal", "needs job_ids: say which jobs to wait for"))
    return violations


def refuse(violations: Sequence[Violation]) -> None:
    """Raise `FieldInvalid` when there are any."""
    if violations:
        raise FieldInvalid(violations)


# --- pages --------------------------------------------------------------------------------------------------------


class Page(NamedTuple):
    """As many jobs as fit into one response, encoded as records of field 1."""

    records: bytes
    taken: int
    """How many of the elements are in it."""


def cursor_record(field_number: int, position: Position | Cursor) -> bytes:
    """Write a place in the event log as a field of a response."""
    cursor = WatchCursor(epoch=position.epoch, revision=position.revision)
    return record(field_number, cursor.SerializeToString())


def page_of(jobs: Sequence[Job], room: int, room_if_last: int) -> Page:
    """Encode jobs until `room` bytes are used up; the first one always fits.

    `room_if_last` is what the last of `jobs` may fill: no page token follows the end of a list.
    """
    parts: list[bytes] = []
    size = 0
    for index, job in enumerate(jobs):
        part = record(1, job_bytes(job))
        size += len(part)
        if parts and size > (room_if_last if index == len(jobs) - 1 else room):
            break
        parts.append(part)
    return Page(b"".join(parts), len(parts))


def answers_of(answers: Iterable[tuple[str, Job | None]], room: int, *, is_first: bool) -> Page:
    """Encode found jobs (field 1) and missing ids (field 2) of a BatchGetJobsResponse until `room` is used up.

    `is_first`: nothing is in the response yet, so that the first answer goes in whatever its size.
    """
    found: list[bytes] = []
    missing: list[bytes] = []
    size = 0
    for job_id, job in answers:
        part = record(2, job_id.encode()) if job is None else record(1, job_bytes(job))
        if size + len(part) > room and not (is_first and not size):
            break
        size += len(part)
        (missing if job is None else found).append(part)
    return Page(b"".join(found + missing), len(found) + len(missing))
