"""A store in PostgreSQL seen from outside its servers: what is in it, its check, and its schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import psycopg

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.store.audit import Log, Problem, check_jobs
from jobwire_server.store.lives import NewLife
from jobwire_server.store.migrations import Migration, plan, shipped
from jobwire_server.store.postgres import connection as connecting
from jobwire_server.store.postgres.connection import Connection, sentence
from jobwire_server.store.postgres.lives import begin_life
from jobwire_server.store.postgres.settings import PostgresSettings
from jobwire_server.store.status import StoreStatus


class NotAStore(StoreUnavailable):
    """The database is there, and holds no store of jobwire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStatus(StoreStatus):
    """A store in a database."""

    servers: int
    """Servers that have said of late that they are there."""
    moving: str | None
    """From where a store is being carried here; None = it is whole."""


@contextmanager
def visit(url: str) -> Iterator[Connection]:
    """A connection to the store for reading. Raises `StoreUnavailable`, `NotAStore` when there is none."""
    with connecting.connect(url, PostgresSettings()) as connection:
        row = connection.execute("SELECT to_regclass('jobwire.migration'), to_regclass('jobwire.event')").fetchone()
        if row is None or None in row:
            raise NotAStore("The database has no schema jobwire, so it holds no store: start a server on it first.")
        yield connection


def pending_migrations(connection: Connection) -> list[Migration]:
    """Return what has to run before this program can work with the store. Raises `StoreUnavailable` as `plan` does."""
    rows = connection.execute("SELECT number, checksum FROM jobwire.migration").fetchall()
    return plan(dict(rows), shipped(files(__package__) / "migrations"))


def pending_at(url: str) -> list[Migration]:
    """As `pending_migrations`, for the store at `url`."""
    with visit(url) as connection:
        return pending_migrations(connection)


def bring_up_to_date(url: str, clock: Clock) -> list[str]:
    """Run the migrations that are pending, each in a transaction of its own, and return their names.

    Raises as `visit` does, and when servers are there: they know the schema of before.
    """
    with visit(url) as connection:
        names = [f"{each.number:04d}_{each.name}" for each in pending_migrations(connection)]
        if names:
            refuse_servers(connection)
            try:
                connecting.migrate(connection, clock, no_failpoint)
            except psycopg.Error as error:
                raise StoreUnavailable(f"The store cannot be migrated: {sentence(error)}.") from error
        return names


def renew(url: str) -> NewLife:
    """Begin a new life of the store at `url`, whether or not it can tell that it is a copy. Raises `StoreUnavailable`,
    also when servers are there."""
    with visit(url) as connection:
        if pending_migrations(connection):
            raise StoreUnavailable("The store has the schema of an older jobwire: run jobwire db migrate first.")
        refuse_servers(connection)
        return begin_life(connection)


def refuse_servers(connection: Connection) -> None:
    """Raise `StoreUnavailable` when a server has said of late that it is there."""
    if servers := _servers(connection):
        raise StoreUnavailable(
            f"{servers} server{'s have' if servers > 1 else ' has'} the store open: stop them first. "
            "One that was killed counts for 20 seconds more."
        )


def _servers(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM jobwire.server WHERE alive_until_us > jobwire.now_us()").fetchone()
    return int(row[0]) if row else 0


def read_status(url: str) -> DatabaseStatus:
    """Look at the store at `url`. Raises as `visit` does, and when a newer jobwire wrote it."""
    with visit(url) as connection, snapshot(connection):
        pending = pending_migrations(connection)
        meta = read_meta(connection)
        newest, schema, size = _one(
            connection,
            "SELECT (SELECT max(revision) FROM jobwire.event), (SELECT max(number) FROM jobwire.migration), "
            "(SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
            "WHERE relnamespace = 'jobwire'::regnamespace AND relkind = 'r')",
        )
        counts = connection.execute("SELECT state, count(*) FROM jobwire.job GROUP BY state").fetchall()
        return DatabaseStatus(
            bytes=int(size),
            servers=_servers(connection),
            schema=schema,
            pending_migrations=tuple(f"{each.number:04d}_{each.name}" for each in pending),
            epoch=meta["epoch"],
            revision=max(newest or 0, meta["compacted"], meta.get("fence_floor", 0)),
            compacted=meta["compacted"],
            jobs={State(state): count for state, count in counts},
            backup_us=meta.get("backup_us"),
            restored_us=meta.get("restored_us"),
            restored_backup_us=meta.get("restored_backup_us"),
            moving=meta.get("moving"),
        )


def read_meta(connection: Connection) -> dict[str, Any]:
    """Read what the store knows of itself."""
    cursor = connection.execute("SELECT * FROM jobwire.meta")
    row = cursor.fetchone()
    if row is None or cursor.description is None:
        raise StoreUnavailable("The store has no epoch: its row in jobwire.meta is gone.")
    return dict(zip((column.name for column in cursor.description), row, strict=True))


def check_store(url: str) -> Iterator[Problem]:
    """Check the store at `url` in one snapshot, while servers work. Raises as `visit` does, and for another schema.

    Nothing found means: every job's log is whole and follows the lifecycle from its creation (or the floor of the log)
    to its row, and what belongs to jobs does. Rows are read, not pages: those are for the database's own tools.
    """
    with visit(url) as connection:
        if pending_migrations(connection):
            raise StoreUnavailable(
                "The store has the schema of an older jobwire, whose rows cannot be checked: "
                "start a server on it, or run jobwire db migrate."
            )
        try:
            with snapshot(connection):
                yield from audit(connection)
        except psycopg.Error as error:
            yield Problem("database", "PostgreSQL", f"it cannot be read to its end: {sentence(error)}")


def audit(connection: Connection) -> Iterator[Problem]:
    """Check everything that the open snapshot shows, and yield what is wrong as it is found."""
    meta = read_meta(connection)
    folder = files(__package__) / "checks"
    yield from check_jobs(
        _rows(connection, folder / "jobs.sql"),
        _rows(connection, folder / "events.sql"),
        _rows(connection, folder / "attempts.sql"),
        Log(meta["compacted"], meta["fence_floor"]),
    )
    for file in sorted((folder / "belongings").iterdir(), key=lambda file: file.name):
        head = file.read_text(encoding="utf-8").partition("\n")[0]
        table, _, problem = head.removeprefix("-- ").partition(": ")
        for (row,) in _rows(connection, file):
            yield Problem(table, str(row), problem)


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """One read transaction, ended also when the reader of a generator has had enough."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK")


def _rows(connection: Connection, file: Traversable) -> Iterator[tuple[Any, ...]]:
    """Rows a stretch at a time: a store may be larger than memory."""
    with connection.cursor(name=file.name.removesuffix(".sql")) as cursor:
        cursor.execute(file.read_text(encoding="utf-8"))
        yield from cursor


def _one(connection: Connection, statement: str) -> tuple[Any, ...]:
    row = connection.execute(statement).fetchone()
    if row is None:
        raise AssertionError(f"no row from: {statement}")
    return row
