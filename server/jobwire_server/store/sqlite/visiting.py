"""A store seen from outside its server: what the file is, what is in it, its check, and its schema."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.store.audit import Problem
from jobwire_server.store.lives import NewLife
from jobwire_server.store.migrations import Migration, plan, shipped
from jobwire_server.store.sqlite.audit import audit
from jobwire_server.store.sqlite.connection import (
    FileLock,
    StoreClock,
    lock_path,
    migrate,
    new_epoch,
    open_visitor,
    open_writer,
)
from jobwire_server.store.sqlite.lives import begin_life, mark_as_backup, read_meta
from jobwire_server.store.sqlite.settings import SqliteSettings
from jobwire_server.store.status import StoreStatus


class NotAStore(StoreUnavailable):
    """The file is there, and is not a store of jobwire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatus(StoreStatus):
    """A store in a file."""

    path: Path
    wal_bytes: int
    """Of what is committed and not yet folded into the file."""
    server_pid: int | None
    """Process of the server that has it open; None = nobody has."""


def visit(path: Path) -> apsw.Connection:
    """Open the store at `path` for reading, beside its server if there is one.

    Raises `FileNotFoundError`; `NotAStore`; `StoreUnavailable` when it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        connection = open_visitor(path)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    except apsw.NotADBError as error:
        raise NotAStore(f"{path} is not a SQLite file.") from error
    except apsw.Error as error:
        raise StoreUnavailable(f"The store {path} cannot be read: {error}.") from error
    if not {"meta", "migration", "job", "event"} <= tables:
        connection.close()
        raise NotAStore(f"{path} is a SQLite file, but not a store of jobwire.")
    return connection


def pending_migrations(connection: apsw.Connection) -> list[Migration]:
    """Return what has to run before this program can work with the store. Raises `StoreUnavailable` as `plan` does."""
    rows: Any = connection.execute("SELECT number, checksum FROM migration").fetchall()
    return plan(dict(rows), shipped(files(__package__) / "migrations"))


def pending_at(path: Path) -> list[Migration]:
    """As `pending_migrations`, for the store at `path`."""
    connection = visit(path)
    try:
        return pending_migrations(connection)
    finally:
        connection.close()


def check_store(path: Path) -> Iterator[Problem]:
    """Check the store at `path` in one snapshot (`audit`). Raises as `visit` does, and for another schema."""
    connection = visit(path)
    try:
        if pending_migrations(connection):
            raise StoreUnavailable(
                f"{path} has the schema of an older jobwire, whose rows cannot be checked: "
                "start a server on it, or run jobwire db migrate."
            )
        yield from audit(connection)
    except apsw.Error as error:
        yield Problem("file", "SQLite", f"it cannot be read to its end: {error}")
    finally:
        connection.close()


def read_status(path: Path) -> FileStatus:
    """Look at the store at `path`. Raises as `visit` does, and when a newer jobwire wrote it."""
    connection = visit(path)
    try:
        connection.execute("BEGIN")
        pending = pending_migrations(connection)
        meta = read_meta(connection)
        (newest,) = _row(connection, "SELECT coalesce(max(revision), 0) FROM event")
        (schema,) = _row(connection, "SELECT max(number) FROM migration")
        counts: Any = connection.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall()
        connection.execute("ROLLBACK")
    finally:
        connection.close()
    wal = path.with_name(path.name + "-wal")
    return FileStatus(
        path=path,
        bytes=path.stat().st_size,
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
        server_pid=server_of(path),
        schema=schema,
        pending_migrations=tuple(f"{each.number:04d}_{each.name}" for each in pending),
        epoch=meta["epoch"],
        revision=max(newest, meta["compacted"]),
        compacted=meta["compacted"],
        jobs={State(state): count for state, count in counts},
        backup_us=meta.get("backup_us"),
        restored_us=meta.get("restored_us"),
        restored_backup_us=meta.get("restored_backup_us"),
    )


def server_of(path: Path) -> int | None:
    """Return the process of the server that holds the store's lock, None when nobody does.

    The lock is tried for an instant; a server that starts in that very instant tries again.
    """
    try:
        descriptor = os.open(lock_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def _row(connection: apsw.Connection, statement: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(statement).fetchone()
    if row is None:
        raise AssertionError(f"no row from: {statement}")
    return row


def bring_up_to_date(path: Path, clock: Clock) -> list[str]:
    """Run the migrations that are pending, each in a transaction of its own, and return their names.

    Holds the store's lock meanwhile. Raises as `visit` does, and `StoreInUse` when a server has the store.
    """
    with _writing(path) as connection:
        names = [f"{each.number:04d}_{each.name}" for each in pending_migrations(connection)]
        migrate(connection, clock, no_failpoint)
    return names


def renew(path: Path, clock: Clock) -> NewLife:
    """Begin a new life of the store at `path`, whether or not it can tell that it is a copy. Raises as `visit` does,
    `StoreInUse` when a server has the store, and for another schema."""
    with _writing(path) as connection:
        if pending_migrations(connection):
            raise StoreUnavailable(f"{path} has the schema of an older jobwire: run jobwire db migrate first.")
        newest: Any = connection.execute("SELECT coalesce(max(time_us), 0) FROM event").fetchone()
        store_clock = StoreClock(clock, newest[0])
        mark_as_backup(connection, store_clock.now_us())
        life = begin_life(connection, store_clock, new_epoch())
    if life is None:
        raise AssertionError("a store that was marked as a copy began no new life")
    return life


@contextmanager
def _writing(path: Path) -> Iterator[apsw.Connection]:
    """The store at `path`, which no server can open meanwhile."""
    visit(path).close()
    lock = FileLock(lock_path(path))
    lock.acquire()
    try:
        connection = open_writer(path, SqliteSettings(), durable=True)
        try:
            yield connection
        finally:
            connection.close()
    except apsw.Error as error:
        raise StoreUnavailable(f"The store {path} cannot be written: {error}.") from error
    finally:
        lock.release()
