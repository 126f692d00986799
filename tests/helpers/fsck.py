"""Reads a store file behind the store's back, and holds it to the check that operators have (`jobwire db check`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from jobwire_server.store.audit import AttemptRow, EventRow, JobRow, Log, check_job
from jobwire_server.store.sqlite.visiting import check_store

Read = Callable[[str], list[tuple[Any, ...]]]
"""Runs a statement on the committed state of a store."""


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
    """Raise AssertionError when the product's own check of a store finds anything."""
    problems = [" · ".join(problem) for problem in check_store(path)]
    assert not problems, problems


def check_rows(read: Read, log: Log) -> None:
    """Hold what any driver has written to the rules of that check."""
    events: dict[int, list[EventRow]] = defaultdict(list)
    for event in read(
        "SELECT key, revision, sequence, previous, kind, previous_state, state, attempt, max_attempts, fence, job_id "
        "FROM event ORDER BY revision"
    ):
        events[event[0]].append(EventRow(*event))
    attempts: dict[int, list[AttemptRow]] = defaultdict(list)
    for attempt in read("SELECT key, fence, number FROM attempt ORDER BY key, fence"):
        attempts[attempt[0]].append(AttemptRow(*attempt))
    jobs = {
        row[0]: JobRow(*row[:8], sum(row[8:11]), sum(row[11:]))
        for row in read(
            "SELECT key, id, revision, sequence, state, attempt, max_attempts, fence, lease_expire_us IS NOT NULL, "
            "instance_id IS NOT NULL, transport IS NOT NULL, finish_us IS NOT NULL, purge_us IS NOT NULL FROM job"
        )
    }
    for key in {*events, *jobs, *attempts}:
        problems = list(check_job(jobs.get(key), events[key], attempts[key], log))
        assert not problems, problems
    _check_what_belongs_to_jobs(read)


def _check_what_belongs_to_jobs(read: Read) -> None:
    """Checkpoints, large contents, labels and attempts are there exactly as long as their jobs say so."""
    flagged = read("SELECT key FROM job WHERE checkpointed = 1 ORDER BY key")
    assert read("SELECT key FROM checkpoint ORDER BY key") == flagged, "checkpoints and their flags differ"
    for table, key in (("content", "id / 2"), ("label", "key"), ("attempt", "key")):
        lost = read(f"SELECT {key} FROM {table} WHERE {key} NOT IN (SELECT key FROM job)")
        assert not lost, f"{table} of jobs that are gone: {lost}"
