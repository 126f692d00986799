"""The check of a whole store: each row against its log, each event against the one before.

The rules for one job are pure functions of its rows; a driver brings the rows, of one snapshot, in the order of the
jobs, so that little memory is needed however large the store is.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from jobwire_server.domain.job import State
from jobwire_server.domain.lifecycle import INITIAL_STATES, TRANSITIONS, Event, Step, is_terminal
from jobwire_server.store.base import EventKind

_STEPS: Final = {state: frozenset(row.values()) for state, row in TRANSITIONS.items()}
_LEASE: Final = TRANSITIONS[State.PENDING][Event.LEASE]


class Problem(NamedTuple):
    """Something that no verb of the store can have written."""

    table: str
    row: str
    """Which row, as a person would look for it."""
    problem: str
    """A clause: what is wrong with it."""


class JobRow(NamedTuple):
    """What the check needs of a job's row."""

    key: int
    id: str
    revision: int
    sequence: int
    state: int
    attempt: int
    max_attempts: int
    fence: int
    leased: int
    """How many of the three columns of a lease are filled."""
    ended: int
    """How many of the two columns of an end are filled."""


class EventRow(NamedTuple):
    """What the check needs of a row of the log."""

    key: int
    revision: int
    sequence: int
    previous: int | None
    """Revision of the event before it."""
    kind: int
    previous_state: int | None
    state: int
    attempt: int
    max_attempts: int
    fence: int
    job_id: str


class AttemptRow(NamedTuple):
    """What the check needs of an attempt that ended otherwise than well."""

    key: int
    fence: int
    number: int


class Log(NamedTuple):
    """What is true of the whole log."""

    compacted: int
    fence_floor: int


Row = Sequence[Any]


def check_jobs(jobs: Iterable[Row], events: Iterable[Row], attempts: Iterable[Row], log: Log) -> Iterator[Problem]:
    """Check the rows of all jobs: those of `JobRow` by key, `EventRow` by key and revision, `AttemptRow` by key and
    fence."""
    rows: Iterable[Any] = heapq.merge(
        ((row[0], 0, JobRow(*row)) for row in jobs),
        ((row[0], 1, EventRow(*row)) for row in events),
        ((row[0], 2, AttemptRow(*row)) for row in attempts),
        key=itemgetter(0, 1),
    )
    for _, group in itertools.groupby(rows, key=itemgetter(0)):
        parts: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        for _, kind, row in group:
            parts[kind].append(row)
        found, its_events, its_attempts = parts
        yield from check_job(found[0] if found else None, its_events, its_attempts, log)


def check_job(
    job: JobRow | None, events: Sequence[EventRow], attempts: Sequence[AttemptRow], log: Log
) -> Iterator[Problem]:
    """Hold the rows of one job to each other: its own, its events in the order of revisions, and its attempts."""
    name = job.id if job is not None else events[0].job_id if events else ""
    if job is not None:
        yield from (Problem("job", name, what) for what in _of_row(job, log))
    if events:
        yield from _of_life(events, log)
        yield from (Problem("job", name, what) for what in _beside_the_log(job, events[-1]))
    elif job is not None and job.revision > log.compacted:
        yield Problem("job", name, f"it has no event, and the log reaches back to revision {log.compacted}")
    if job is not None:
        yield from _of_attempts(job, events, attempts)


def _of_row(job: JobRow, log: Log) -> Iterator[str]:
    if job.state not in _STEPS:
        yield f"its state is {job.state}, which is none"
        return
    state = State(job.state)
    if job.leased != (3 if state is State.PROCESSING else 0):
        yield f"it is {state.name} with {job.leased} of 3 columns of a lease"
    if job.ended != (2 if is_terminal(state) else 0):
        yield f"it is {state.name} with {job.ended} of 2 columns of an end"
    if not 0 <= job.attempt <= job.max_attempts:
        yield f"its attempt is {job.attempt} of {job.max_attempts}"
    if job.key > log.compacted and job.sequence == 1 and job.revision != job.key:
        yield f"it was created at revision {job.revision}, and its key is {job.key}"


def _of_life(events: Sequence[EventRow], log: Log) -> Iterator[Problem]:
    first = events[0]
    for event in events:
        if event.revision <= log.compacted:
            yield _event(event, f"it stands below the floor of the log, {log.compacted}")
        if event.state not in _STEPS:
            yield _event(event, f"its state is {event.state}, which is none")
    if first.key > log.compacted:
        yield from (_event(first, what) for what in _of_birth(first))
    elif first.previous is not None and first.previous > log.compacted:
        yield _event(first, f"the event before it, revision {first.previous}, is missing")
    for before, after in itertools.pairwise(events):
        yield from (_event(after, what) for what in _of_step(before, after, log))


def _of_birth(event: EventRow) -> Iterator[str]:
    if event.kind != EventKind.CREATED or event.sequence != 1:
        yield f"it is the job's first, with sequence {event.sequence}: what came before it is missing"
    elif (event.revision, event.previous, event.previous_state, event.attempt, event.fence) != (
        event.key, None, None, 0, 0,
    ):  # fmt: skip
        yield "a job was not created plain"
    elif event.state not in INITIAL_STATES:
        yield f"a job was created {_name(event.state)}"


def _of_step(before: EventRow, after: EventRow, log: Log) -> Iterator[str]:
    if after.sequence != before.sequence + 1:
        yield f"a gap: sequence {after.sequence} follows {before.sequence}"
    if after.previous != before.revision:
        yield f"it names revision {after.previous} as the one before it, which is {before.revision}"
    if after.previous_state != before.state:
        yield f"it begins at {_name(after.previous_state)}, where the one before it ended at {_name(before.state)}"
    yield from _of_kinds(before, after, log)


def _of_kinds(before: EventRow, after: EventRow, log: Log) -> Iterator[str]:
    if before.kind == EventKind.DELETED:
        yield "it follows the deletion of its job"
    elif after.kind == EventKind.DELETED:
        if after.state != before.state or not is_terminal(State(after.state)):
            yield f"a job was deleted while it was {_name(before.state)}"
    elif after.kind != EventKind.UPDATED:
        yield f"a second event of kind {after.kind}"
    elif not _is_legal(before, after, log):
        yield (
            f"{_name(before.state)} became {_name(after.state)}, attempt {before.attempt} became {after.attempt}, "
            f"fence {before.fence} became {after.fence}: not a step of the lifecycle"
        )


def _is_legal(before: EventRow, after: EventRow, log: Log) -> bool:
    if before.state not in _STEPS or after.state not in _STEPS:
        return True  # said already
    step = Step(State(after.state), after.attempt - before.attempt, after.fence - before.fence)
    if after.state == before.state:
        return step[1:] == (0, 0)
    if step in _STEPS[State(before.state)]:
        return True
    # The first lease in a later life of the store lifts the fence above its floor.
    lifted = step[:2] == _LEASE[:2] and before.state == State.PENDING
    return lifted and before.fence < after.fence <= log.fence_floor + 1


def _beside_the_log(job: JobRow | None, last: EventRow) -> Iterator[str]:
    if last.kind == EventKind.DELETED:
        if job is not None:
            yield f"it is there, though the log says that it was deleted at revision {last.revision}"
        return
    if job is None:
        yield f"it is gone, and the log knows of no deletion: its last event is revision {last.revision}"
        return
    said = (last.revision, last.sequence, _name(last.state), last.attempt, last.max_attempts, last.fence)
    holds = (job.revision, job.sequence, _name(job.state), job.attempt, job.max_attempts, job.fence)
    names = ("revision", "sequence", "state", "attempt", "max_attempts", "fence")
    differing = [
        f"{name} {mine}, the log {its}" for name, mine, its in zip(names, holds, said, strict=True) if mine != its
    ]
    if differing:
        yield f"its row and its last event differ: {'; '.join(differing)}"


def _of_attempts(job: JobRow, events: Sequence[EventRow], attempts: Sequence[AttemptRow]) -> Iterator[Problem]:
    whole = bool(events) and events[0].sequence == 1
    leased = {(event.fence, event.attempt) for event in events if event.state == State.PROCESSING}
    for attempt in attempts:
        row = f"{job.id} fence {attempt.fence}"
        if attempt.fence > job.fence:
            yield Problem("attempt", row, f"its fence is ahead of its job's, {job.fence}")
        if whole and (attempt.fence, attempt.number) not in leased:
            yield Problem("attempt", row, f"the log knows no lease with this fence and attempt {attempt.number}")


def _event(event: EventRow, problem: str) -> Problem:
    return Problem("event", f"revision {event.revision} of job {event.job_id}", problem)


def _name(state: int | None) -> str:
    return State(state).name if state in _STEPS else f"state {state}"
