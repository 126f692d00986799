"""Moving house, the side of the database: a store that is carried away from PostgreSQL, or into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.store.moving import Facts, Key, Row, Table
from jobwire_server.store.postgres.connection import Connection, connect, migrate, sentence
from jobwire_server.store.postgres.settings import PostgresSettings
from jobwire_server.store.postgres.visiting import pending_migrations, read_meta, refuse_servers, visit

_WRITERS_LOCK = "SELECT pg_advisory_xact_lock(7669765473206166)"
_MOVERS_LOCK = "SELECT pg_try_advisory_lock(7669765473206168)"
_HOLDS_SOMETHING = "SELECT EXISTS (SELECT 1 FROM jobwire.event) OR EXISTS (SELECT 1 FROM jobwire.job)"


class DatabaseHouse:
    """A store in a database, as both ends of a move see it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = count(1)

    def facts(self) -> Facts:
        """See `Source`."""
        meta = read_meta(self._connection)
        (newest,) = self._one("SELECT coalesce(max(revision), 0) FROM jobwire.event")
        floor = meta["fence_floor"]
        return Facts(meta["epoch"], max(newest, meta["compacted"], floor), meta["compacted"], floor)

    def columns(self, table: Table) -> Sequence[str]:
        """See `Source`."""
        found = self._connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
            "ORDER BY attnum",
            (f"jobwire.{table.name}",),
        )
        return [name for (name,) in found]

    def count(self, table: Table) -> int:
        """See `Source`."""
        return int(self._one(f"SELECT count(*) FROM jobwire.{table.name}")[0])  # noqa: S608 - a name of ours

    def rows(self, table: Table, columns: Sequence[str], after: Key | None) -> Iterator[Row]:
        """See `Source`."""
        key = ", ".join(table.key)
        where = "" if after is None else f"WHERE ({key}) > ({', '.join(['%s'] * len(after))})"
        statement: Any = f"SELECT {', '.join(columns)} FROM jobwire.{table.name} {where} ORDER BY {key}"  # noqa: S608
        name = f"house_{next(self._numbers)}"
        with self._connection.transaction(), self._connection.cursor(name=name) as cursor:
            cursor.execute(statement, after)
            yield from cursor

    def _one(self, statement: Any) -> tuple[Any, ...]:
        row = self._connection.execute(statement).fetchone()
        if row is None:
            raise AssertionError(f"no row from: {statement}")
        return row


@contextmanager
def leaving(url: str) -> Iterator[DatabaseHouse]:
    """The store at `url`, which no server has open; one that starts meanwhile waits, and is told that it is busy.

    Raises `NotAStore`, and `StoreUnavailable` when servers are there, or for the schema of another version.
    """
    with visit(url) as connection:
        if pending_migrations(connection):
            raise StoreUnavailable("The store has the schema of an older jobwire: run jobwire db migrate first.")
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(_WRITERS_LOCK)
            refuse_servers(connection)
            yield DatabaseHouse(connection)
        except psycopg.Error as error:
            raise StoreUnavailable(f"The store cannot be read: {sentence(error)}.") from error


class _NewDatabase(DatabaseHouse):
    """Implements `Target` in a database that no server opens until it is whole."""

    def begin(self, facts: Facts) -> None:
        """See `Target`. The guards of the tables are off until the end: they are for what changes, not for what has
        been."""
        found = read_meta(self._connection)["moving"]
        if found == facts.mark():
            return
        if found is not None or self._one(_HOLDS_SOMETHING)[0]:
            raise StoreUnavailable(
                "The database holds another store already, or what has arrived of one: name an empty database, or drop "
                "the schema jobwire if nobody needs what is in it."
            )
        with self._connection.transaction():
            self._connection.execute("UPDATE jobwire.meta SET moving = %s", (facts.mark(),))
            self._connection.execute("DELETE FROM jobwire.secret")
            self._connection.execute("ALTER TABLE jobwire.job DISABLE TRIGGER USER")

    def newest(self, table: Table) -> Key | None:
        """See `Target`."""
        order = ", ".join(f"{name} DESC" for name in table.key)
        statement: Any = f"SELECT {', '.join(table.key)} FROM jobwire.{table.name} ORDER BY {order} LIMIT 1"  # noqa: S608
        return self._connection.execute(statement).fetchone()

    def put(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """See `Target`."""
        statement: Any = f"COPY jobwire.{table.name} ({', '.join(columns)}) FROM STDIN"
        with self._connection.transaction():
            with self._connection.cursor() as cursor, cursor.copy(statement) as copying:
                for row in rows:
                    copying.write_row(row)
            if table.name == "job":
                place = list(columns).index("key")
                self._connection.execute(
                    "INSERT INTO jobwire.identity SELECT key, tenant, id, queue, type, batch_id FROM jobwire.job "
                    "WHERE key BETWEEN %s AND %s",
                    (rows[0][place], rows[-1][place]),
                )

    def finish(self, facts: Facts, read_us: int) -> None:
        """See `Target`."""
        with self._connection.transaction():
            self._connection.execute("ALTER TABLE jobwire.job ENABLE TRIGGER USER")
            self._connection.execute(
                "UPDATE jobwire.meta SET epoch = %(epoch)s, compacted = %(compacted)s, fence_floor = %(fence_floor)s, "
                "backup_us = %(read_us)s, home = NULL, moving = NULL",
                {**facts._asdict(), "read_us": read_us},
            )
        self._connection.execute("ANALYZE")


@contextmanager
def arriving(url: str, clock: Clock) -> Iterator[_NewDatabase]:
    """A store that comes to be at `url`. No server opens it before it is whole; a move that fails leaves what has
    arrived, for the next one to go on with. Raises `StoreUnavailable`, also when another move is under way."""
    with connect(url, PostgresSettings()) as connection:
        try:
            migrate(connection, clock, no_failpoint)
            if connection.execute(_MOVERS_LOCK).fetchone() != (True,):
                raise StoreUnavailable("Another jobwire db import is carrying a store into this database: let it end.")
            refuse_servers(connection)
            yield _NewDatabase(connection)
        except psycopg.DataError as error:
            raise StoreUnavailable(
                f"PostgreSQL cannot hold a row of this store: {sentence(error)}. Nothing of its batch has arrived."
            ) from error
        except psycopg.Error as error:
            raise StoreUnavailable(
                f"The move has stopped: {sentence(error)}. Run it again: it goes on where it stopped."
            ) from error
