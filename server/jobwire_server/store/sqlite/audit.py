"""The check of a whole SQLite file: what SQLite says of it, its jobs (store/audit.py), and what belongs to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import apsw

from jobwire_server.store.audit import Log, Problem, check_jobs
from jobwire_server.store.sqlite.lives import read_meta


def audit(connection: apsw.Connection) -> Iterator[Problem]:
    """Check everything in one snapshot, and yield what is wrong as it is found. Reads only.

    The schema must be up to date. Nothing found means: the file is sound as SQLite sees it, every job's log is whole
    and follows the lifecycle from its creation (or the floor of the log) to its row, and what belongs to jobs does.
    """
    with _snapshot(connection):
        yield from _of_file(connection)
        meta = read_meta(connection)
        log = Log(meta["compacted"], meta["fence_floor"])
        yield from _of_jobs(connection, log)
        yield from _of_belongings(connection)


def _of_file(connection: apsw.Connection) -> Iterator[Problem]:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield Problem("file", "SQLite", str(line))
    for table, row, *_ in connection.execute("PRAGMA foreign_key_check"):
        yield Problem(str(table), f"row {row}", "it refers to a row that is gone")


def _of_jobs(connection: apsw.Connection, log: Log) -> Iterator[Problem]:
    folder = files(__package__) / "checks"
    yield from check_jobs(
        _rows(connection, folder / "jobs.sql"),
        _rows(connection, folder / "events.sql"),
        _rows(connection, folder / "attempts.sql"),
        log,
    )


def _of_belongings(connection: apsw.Connection) -> Iterator[Problem]:
    """What belongs to jobs: the first line of each file names the table, and what is wrong with the rows it finds."""
    for file in sorted((files(__package__) / "checks" / "belongings").iterdir(), key=lambda file: file.name):
        head = file.read_text(encoding="utf-8").partition("\n")[0]
        table, _, problem = head.removeprefix("-- ").partition(": ")
        for (row,) in _rows(connection, file):
            yield Problem(table, str(row), problem)


def _rows(connection: apsw.Connection, file: Traversable) -> Iterator[Any]:
    yield from connection.execute(file.read_text(encoding="utf-8"))


@contextmanager
def _snapshot(connection: apsw.Connection) -> Iterator[None]:
    """One read transaction, ended also when the reader of a generator has had enough."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
