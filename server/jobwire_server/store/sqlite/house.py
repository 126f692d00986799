"""Moving house, the side of the file: a store that is carried away, and one that comes to be beside its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.store.moving import Facts, Key, Row, Table
from jobwire_server.store.sqlite.connection import FileLock, lock_path, migrate, open_writer
from jobwire_server.store.sqlite.copying import TargetTaken, take_name
from jobwire_server.store.sqlite.lives import mark_as_backup, read_meta
from jobwire_server.store.sqlite.settings import SqliteSettings
from jobwire_server.store.sqlite.visiting import pending_migrations, visit

_FACTS = "SELECT coalesce(max(revision), 0) FROM event"


class FileHouse:
    """A store in a file, as both ends of a move see it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def facts(self) -> Facts:
        """See `Source`."""
        meta = read_meta(self._connection)
        (newest,) = self._one(_FACTS)
        floor = meta["fence_floor"]
        return Facts(meta["epoch"], max(newest, meta["compacted"], floor), meta["compacted"], floor)

    def columns(self, table: Table) -> Sequence[str]:
        """See `Source`."""
        return [name for _, name, *_ in self._connection.execute(f"PRAGMA table_info({table.name})")]

    def count(self, table: Table) -> int:
        """See `Source`."""
        return int(self._one(f"SELECT count(*) FROM {table.name}")[0])  # noqa: S608 - a name of ours

    def rows(self, table: Table, columns: Sequence[str], after: Key | None) -> Iterator[Row]:
        """See `Source`."""
        key = ", ".join(table.key)
        where = "" if after is None else f"WHERE ({key}) > ({', '.join('?' * len(after))})"
        statement = f"SELECT {', '.join(columns)} FROM {table.name} {where} ORDER BY {key}"  # noqa: S608 - names of ours
        yield from self._connection.cursor().execute(statement, after or ())

    def _one(self, statement: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._connection.execute(statement).fetchone()
        if row is None:
            raise AssertionError(f"no row from: {statement}")
        return row


@contextmanager
def leaving(path: Path) -> Iterator[FileHouse]:
    """The store at `path`, which no server has open and none can open meanwhile.

    Raises `FileNotFoundError`, `NotAStore`, `StoreInUse`, and `StoreUnavailable` for the schema of another version.
    """
    visit(path).close()
    lock = FileLock(lock_path(path))
    lock.acquire()
    try:
        connection = visit(path)
        try:
            if pending_migrations(connection):
                raise StoreUnavailable(f"{path} has the schema of an older jobwire: run jobwire db migrate first.")
            connection.execute("BEGIN")
            yield FileHouse(connection)
        finally:
            connection.close()
    finally:
        lock.release()


class _NewFile(FileHouse):
    """Implements `Target` in a file that has another name until it is whole."""

    def begin(self, facts: Facts) -> None:
        """See `Target`. The guards of the tables are kept aside: they are for what changes, not for what has been."""
        connection, meta = self._connection, read_meta(self._connection)
        if (found := meta.get("moving")) is not None:
            if found != facts.mark():
                raise StoreUnavailable(
                    "What has arrived so far is of another store, or of this one before it was used again: "
                    "delete the file that ends in .part, and begin anew."
                )
            return
        with connection:
            connection.execute("INSERT INTO meta VALUES ('moving', ?)", (facts.mark(),))
            connection.execute("CREATE TABLE guard (statement TEXT NOT NULL) STRICT")
            connection.execute("INSERT INTO guard SELECT sql FROM sqlite_schema WHERE type = 'trigger'")
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")

    def newest(self, table: Table) -> Key | None:
        """See `Target`."""
        order = ", ".join(f"{name} DESC" for name in table.key)
        statement = f"SELECT {', '.join(table.key)} FROM {table.name} ORDER BY {order} LIMIT 1"  # noqa: S608 - names of ours
        row: Key | None = self._connection.execute(statement).fetchone()
        return row

    def put(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """See `Target`."""
        marks = ", ".join("?" * len(columns))
        with self._connection:
            self._connection.executemany(
                f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608 - names of ours
                [tuple(row) for row in rows],
            )

    def finish(self, facts: Facts, read_us: int) -> None:
        """See `Target`."""
        connection = self._connection
        with connection:
            guards: Any = connection.execute("SELECT statement FROM guard").fetchall()
            for (statement,) in guards:
                connection.execute(statement)
            connection.execute("DROP TABLE guard")
            connection.execute("DELETE FROM meta WHERE name = 'moving'")
            values = (("epoch", facts.epoch), ("compacted", facts.compacted), ("fence_floor", facts.fence_floor))
            connection.executemany("UPDATE meta SET value = ?2 WHERE name = ?1", values)
            mark_as_backup(connection, read_us)


@contextmanager
def arriving(path: Path, clock: Clock) -> Iterator[_NewFile]:
    """A store that comes to be at `path`: under that name there is never a half of one.

    Until it is whole it is `path` with `.part`, which stays when the move fails, for the next one to go on with. Raises
    `TargetTaken`, and `StoreInUse` when another move is under way.
    """
    if path.exists():
        raise TargetTaken(f"{path} is there already.")
    part = path.with_name(path.name + ".part")
    lock = FileLock(lock_path(part))
    lock.acquire()
    try:
        connection = open_writer(part, SqliteSettings(), durable=True)
        try:
            migrate(connection, clock, no_failpoint)
            yield _NewFile(connection)
            if "moving" in read_meta(connection):
                raise AssertionError("a move ended before its store was whole")
            connection.pragma("journal_mode", "delete")
        finally:
            connection.close()
        take_name(part, path, overwrite=False)
        part.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            lock_path(part).unlink()
    finally:
        lock.release()
