"""Folds the event log of a store file and holds it to the promises that every test relies on."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from jobwire_server.domain.job import State
from jobwire_server.domain.lifecycle import INITIAL_STATES, TRANSITIONS
from jobwire_server.store.base import EventKind

Read = Callable[[str], list[tuple[Any, ...]]]
"""Runs a statement on the committed state of a store."""

_NEXT = {state: {step.to for step in row.values()} for state, row in TRANSITIONS.items()}


def read(path: Path, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    """Read the committed state of a store file through a connection of our own."""
    with _reading(path) as connection:
        return connection.execute(statement, values).fetchall()


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, to compare byte by byte."""
    with _reading(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for (name,) in tables}


@contextmanager
def _reading(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute("PRAGMA query_only = 1")
        yield connection
    finally:
        connection.close()


def check(path: Path) -> None:
    """Raise AssertionError when the log and the rows of a store disagree with each other or with the table."""
    assert read(path, "PRAGMA integrity_check") == [("ok",)]
    compacted = read(path, "SELECT value FROM meta WHERE name = 'compacted'")[0][0]
    check_rows(partial(read, path), compacted)


def check_rows(read: Read, compacted: int) -> None:
    """The same for what any driver has written; `compacted` is the floor of its log."""
    log: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for event in read(
        "SELECT key, revision, sequence, kind, previous_state, state, attempt, fence, previous FROM event "
        "ORDER BY revision",
    ):
        assert event[1] > compacted
        log[event[0]].append(event)
    jobs = {row[0]: row for row in read("SELECT key, revision, sequence, state, attempt, max_attempts, fence FROM job")}
    for key, events in log.items():
        _check_life(key, events, whole=key > compacted)
        _check_row(jobs.get(key), events[-1])
    for key, row in jobs.items():
        assert key in log or row[1] <= compacted, f"job {key} has no events"
    _check_what_belongs_to_jobs(read)


def _check_what_belongs_to_jobs(read: Read) -> None:
    """Checkpoints, large contents, labels and attempts are there exactly as long as their jobs say so."""
    flagged = read("SELECT key FROM job WHERE checkpointed = 1 ORDER BY key")
    assert read("SELECT key FROM checkpoint ORDER BY key") == flagged, "checkpoints and their flags differ"
    assert not read("SELECT key FROM job WHERE checkpointed = 1 AND state = 5"), "a success kept its checkpoint"
    for table, key in (("content", "id / 2"), ("label", "key"), ("attempt", "key")):
        lost = read(f"SELECT {key} FROM {table} WHERE {key} NOT IN (SELECT key FROM job)")
        assert not lost, f"{table} of jobs that are gone: {lost}"


def _check_life(key: int, events: list[tuple[Any, ...]], *, whole: bool) -> None:
    if whole:
        _, revision, sequence, kind, previous, state, attempt, fence, link = events[0]
        assert (revision, sequence, kind, previous, attempt, fence) == (key, 1, EventKind.CREATED, None, 0, 0)
        assert link is None, f"job {key}: something before its creation"
        assert state in INITIAL_STATES
    for before, after in itertools.pairwise(events):
        _, _, sequence, kind, previous, state, attempt, fence, link = after
        assert sequence == before[2] + 1, f"job {key}: a gap before {after}"
        assert link == before[1], f"job {key}: {after} does not name {before}"
        assert previous == before[5], f"job {key}: {after} does not follow {before}"
        assert before[3] != EventKind.DELETED, f"job {key}: life after deletion"
        if kind == EventKind.DELETED:
            continue
        assert kind == EventKind.UPDATED
        if state != previous:
            assert State(state) in _NEXT[State(previous)], f"job {key}: illegal {after}"
        assert fence - before[7] in (0, 1), f"job {key}: fence of {after} after {before}"
        if state == State.PROCESSING and previous == State.PENDING:
            assert (attempt, fence) == (before[6] + 1, before[7] + 1)
        else:
            assert before[6] - 1 <= attempt <= before[6], f"job {key}: attempt of {after}"
        if attempt < before[6]:
            assert previous == State.PROCESSING
            assert state in (State.PENDING, State.SCHEDULED)


def _check_row(row: tuple[Any, ...] | None, last: tuple[Any, ...]) -> None:
    key, revision, sequence, kind, _, state, attempt, fence, _ = last
    if kind == EventKind.DELETED:
        assert row is None, f"job {key} was deleted and is still there"
        return
    assert row is not None, f"job {key} is gone without a DELETED event"
    assert (row[1], row[2], row[3], row[4], row[6]) == (revision, sequence, state, attempt, fence)
    assert 0 <= row[4] <= row[5]
