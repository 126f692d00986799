"""Promises that the store file alone can break: the log, the rows, and what became of them over restarts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from jobwire_server.domain.job import TERMINAL_STATES, State
from jobwire_server.domain.lifecycle import INITIAL_STATES, TRANSITIONS, Step
from jobwire_server.store.base import EventKind
from tests.helpers.evidence import Evidence
from tests.helpers.image import Event, Image


def illegal_lives(evidence: Evidence) -> Iterator[str]:
    """Each job begins as jobs begin, and each later event is a step of the table: sequence, attempt, fence included.

    The table lets nothing follow a COMPLETED job and only RetryJob follow another end, and a fence rises with each
    lease; so this also says: one end per generation, never two live leases, fences strictly increasing.
    """
    if evidence.final.compacted:
        yield f"the log was cut at {evidence.final.compacted}: a campaign needs all of it"
    for key, life in evidence.lives.items():
        if complaint := _illegal_birth(life[0]):
            yield f"job {life[0].job_id} ({key}): {complaint}"
        for before, after in pairwise(life):
            if complaint := _illegal_step(before, after):
                yield f"job {after.job_id}: {complaint}: {after} after {before}"


def _illegal_birth(event: Event) -> str | None:
    if event.sequence != 1 or event.kind != EventKind.CREATED:
        return f"its first event is missing: {event}"
    if (event.revision, event.previous_state, event.attempt, event.fence) != (event.key, None, 0, 0):
        return f"it was not born plain: {event}"
    if event.state not in INITIAL_STATES:
        return f"it was born {State(event.state).name}"
    return None


def _illegal_step(before: Event, after: Event) -> str | None:
    if after.sequence != before.sequence + 1:
        return "a gap in its sequence"
    if before.kind == EventKind.DELETED:
        return "life after deletion"
    if (after.job_id, after.type, after.previous_state) != (before.job_id, before.type, before.state):
        return "an event that does not follow the one before"
    if after.kind == EventKind.DELETED:
        return None if after.state == before.state and after.state in TERMINAL_STATES else "deleted before its end"
    if after.kind != EventKind.UPDATED or after.attempt > after.max_attempts:
        return "an impossible event"
    step = Step(State(after.state), after.attempt - before.attempt, after.fence - before.fence)
    if after.state == before.state:
        return None if step[1:] == (0, 0) else "counters moved without a change of state"
    return None if step in TRANSITIONS[State(before.state)].values() else "not a step of the table"


def rows_beside_their_log(evidence: Evidence) -> Iterator[str]:
    """Every row stands where the last event of its job says, and only a DELETED event takes a row away."""
    rows = evidence.final.rows
    for key, life in evidence.lives.items():
        last, row = life[-1], rows.get(key)
        if last.kind == EventKind.DELETED:
            if row is not None:
                yield f"job {last.job_id} was deleted and is still there"
        elif row is None:
            yield f"job {last.job_id} is gone without an event"
        else:
            said = (last.revision, last.sequence, last.state, last.attempt, last.max_attempts, last.fence)
            holds = (row.revision, row.sequence, row.state, row.attempt, row.max_attempts, row.fence)
            if said != holds:
                yield f"job {last.job_id} stands at {holds}, its log ends at {said}"
    for key in rows.keys() - evidence.lives.keys():
        yield f"job {rows[key].job_id} has no events"


def rewritten_history(evidence: Evidence) -> Iterator[str]:
    """What stood in the log at one death stands there at the next, unchanged; new events have greater revisions."""
    for number, (earlier, later) in enumerate(pairwise(evidence.images), start=1):
        if earlier.epoch and later.epoch != earlier.epoch:
            yield f"after death {number} the store is another one: {later.epoch} instead of {earlier.epoch}"
        for before, after in zip(earlier.events, later.events, strict=False):
            if before != after:
                yield f"after death {number} the log says {after} where it said {before}"
                break
        else:
            if len(later.events) < len(earlier.events):
                yield f"after death {number} the log lost its end from {later.events[-1:]} on"


def altered_rows(evidence: Evidence) -> Iterator[str]:
    """A row whose job had no event since, and does not run, keeps every byte: terminal jobs above all."""
    for number, (earlier, later) in enumerate(pairwise(evidence.images), start=1):
        touched = {event.key for event in _since(earlier, later)}
        for key, row in earlier.rows.items():
            if key in touched or row.state == State.PROCESSING:
                continue
            now = later.rows.get(key)
            if now is None or now.digest != row.digest:
                yield f"job {row.job_id} ({State(row.state).name}) was altered after death {number}: {row} is now {now}"


def leases_before_recovery(evidence: Evidence) -> Iterator[str]:
    """After a death, every job that was running then has left PROCESSING before the first lease is granted."""
    for number, (earlier, later) in enumerate(pairwise(evidence.images), start=1):
        orphans = {key for key, row in earlier.rows.items() if row.state == State.PROCESSING}
        for event in _since(earlier, later):
            if event.state == State.PROCESSING and event.previous_state == State.PENDING:
                if orphans:
                    yield f"after death {number} job {event.job_id} was leased before {sorted(orphans)[:5]} were reset"
                break
            if event.state != State.PROCESSING:
                orphans.discard(event.key)


def stuck_jobs(evidence: Evidence) -> Iterator[str]:
    """At the end of a campaign that waited for it, every job has ended."""
    if not evidence.finished:
        return
    for row in evidence.final.rows.values():
        if row.state not in TERMINAL_STATES:
            yield f"job {row.job_id} ({row.type}) is still {State(row.state).name}: {row._replace(payload=b'')}"


def _since(earlier: Image, later: Image) -> list[Event]:
    return [event for event in later.events if event.revision > earlier.revision]
