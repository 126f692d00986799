"""An outbox by the DB-API (PEP 249): for `sqlite3`, `psycopg`, and whatever else speaks plain SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, Unpack

from jobwire._requests import SubmitOptions
from jobwire.errors import ArgumentInvalid
from jobwire.outbox.rows import NewRow, Row, new_row

Dialect = Literal["sqlite", "postgresql"]
ParamStyle = Literal["qmark", "format"]

DEFAULT_TABLE: Final = "jobwire_outbox"
MAX_REASON_CHARS: Final = 1000


class Cursor(Protocol):
    """What is needed of a cursor."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def close(self) -> Any: ...


class Connection(Protocol):
    """What is needed of a connection."""

    def cursor(self) -> Any: ...
    def commit(self) -> Any: ...
    def rollback(self) -> Any: ...
    def close(self) -> Any: ...


class Statements:
    """The SQL of an outbox, in the words of one database and one driver."""

    def __init__(self, name: str, dialect: Dialect, paramstyle: ParamStyle) -> None:
        if not name.replace("_", "").replace(".", "").isalnum():
            raise ArgumentInvalid(f"{name!r} is not a name for a table: letters, digits and _ only.")
        self._mark = "?" if paramstyle == "qmark" else "%s"
        self.locks = dialect == "postgresql"
        """Whether rows can be locked, and locked ones passed by."""
        serial, blob = (
            ("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "BYTEA")
            if dialect == "postgresql"
            else ("INTEGER PRIMARY KEY AUTOINCREMENT", "BLOB")
        )
        self.create = f"""\
CREATE TABLE IF NOT EXISTS {name} (
    position {serial},
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    payload {blob},
    content_type TEXT NOT NULL,
    content_encoding TEXT NOT NULL,
    is_text BOOLEAN NOT NULL,
    options TEXT NOT NULL,
    create_time TEXT NOT NULL,
    refusal TEXT
)"""
        columns = ", ".join(NewRow._fields)
        marks = ", ".join([self._mark] * len(NewRow._fields))
        self.insert = f"INSERT INTO {name} ({columns}) VALUES ({marks})"  # noqa: S608 (the name is checked above)
        lock = " FOR UPDATE SKIP LOCKED" if self.locks else ""
        self.select = (
            f"SELECT {', '.join(Row._fields)} FROM {name} WHERE refusal IS NULL"  # noqa: S608
            f" ORDER BY position LIMIT {self._mark}{lock}"
        )
        self._delete = f"DELETE FROM {name} WHERE id IN "  # noqa: S608
        self.refuse = f"UPDATE {name} SET refusal = {self._mark} WHERE id = {self._mark}"  # noqa: S608
        self.refused = f"SELECT id, type, refusal FROM {name} WHERE refusal IS NOT NULL ORDER BY position"  # noqa: S608
        self.revive = f"UPDATE {name} SET refusal = NULL WHERE refusal IS NOT NULL AND id = {self._mark}"  # noqa: S608

    def delete(self, count: int) -> str:
        """Remove so many rows by their ids."""
        return f"{self._delete}({', '.join([self._mark] * count)})"


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the server will never take as it is."""

    id: str
    type: str
    reason: str


class DbApiOutbox:
    """An outbox in a table of your database.

    outbox = DbApiOutbox("postgresql")
    connection.execute(outbox.schema)                     # once, or in a migration of yours

    job_id = outbox.add(connection, "order.ship", {"order": 42})
    connection.commit()                                   # with whatever else is in the transaction
    """

    def __init__(self, dialect: Dialect, *, table: str = DEFAULT_TABLE, paramstyle: ParamStyle | None = None) -> None:
        """dialect: "sqlite" or "postgresql". paramstyle: how the driver marks parameters; default "qmark" (?) for
        SQLite, "format" (%s) for PostgreSQL. Raises ArgumentInvalid."""
        self.statements = Statements(table, dialect, paramstyle or ("qmark" if dialect == "sqlite" else "format"))

    @property
    def schema(self) -> str:
        """The statement that makes the table, if it is not there yet."""
        return self.statements.create

    def add(
        self, connection: Connection, job_type: str, payload: object = None, /, **options: Unpack[SubmitOptions]
    ) -> str:
        """Write a row within the transaction of this connection; return the id that the job will have.

        Commits nothing. payload, options: as `Client.submit` takes them, see `new_row`, which also says what it raises.
        """
        row = new_row(job_type, payload, **options)
        _execute(connection, self.statements.insert, row)
        return row.id

    def refused(self, connection: Connection) -> list[Refused]:
        """List the rows that were set aside, the oldest first."""
        return [Refused(*found) for found in _execute(connection, self.statements.refused, (), fetch=True)]

    def retry(self, connection: Connection, row_id: str) -> None:
        """Let a relay try a row again that was set aside. Commits nothing."""
        _execute(connection, self.statements.revive, (row_id,))

    def table(self, connect: Callable[[], Connection]) -> DbApiTable:
        """Return what a `Relay` needs. `connect`: opens a connection, with autocommit off; one is open at a time."""
        return DbApiTable(self.statements, connect)


class DbApiTable:
    """Implements `OutboxTable` on connections of its own."""

    def __init__(self, statements: Statements, connect: Callable[[], Connection]) -> None:
        self._statements = statements
        self._connect = connect

    @contextmanager
    def take(self, limit: int) -> Iterator[DbApiBatch]:
        """See `OutboxTable`."""
        connection = self._connect()
        try:
            rows = [Row(*found) for found in _execute(connection, self._statements.select, (limit,), fetch=True)]
            if not self._statements.locks:
                # Without row locks the only lock is that of the whole database: not while the server is waited for.
                connection.commit()
            yield DbApiBatch(connection, self._statements, rows)
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        finally:
            connection.close()


class DbApiBatch:
    """Implements `Batch`."""

    def __init__(self, connection: Connection, statements: Statements, rows: Sequence[Row]) -> None:
        self._connection = connection
        self._statements = statements
        self.rows = rows

    def settle(self, *, done: Sequence[str], refused: Sequence[tuple[str, str]]) -> None:
        """See `Batch`."""
        if done:
            _execute(self._connection, self._statements.delete(len(done)), done)
        for row_id, reason in refused:
            _execute(self._connection, self._statements.refuse, (reason[:MAX_REASON_CHARS], row_id))


def _execute(connection: Connection, sql: str, parameters: Sequence[Any], *, fetch: bool = False) -> list[Any]:
    cursor = connection.cursor()
    try:
        cursor.execute(sql, tuple(parameters))
        return list(cursor.fetchall()) if fetch else []
    finally:
        cursor.close()
