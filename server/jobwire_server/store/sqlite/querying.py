"""Questions that an operator asks a store in SQL. Nothing can be changed, and the store's secrets cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import apsw

from jobwire_server.domain.job import State
from jobwire_server.store.sqlite.visiting import visit

_ALLOWED: Final = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE})
_HIDDEN_TABLE: Final = "secret"


class QueryRefused(Exception):
    """SQLite does not understand the statement, or it may not be run here."""


class Question:
    """One SELECT on one snapshot. Iterate over its rows; `columns` is known from the first step on."""

    def __init__(self, path: Path, statement: str) -> None:
        """Open the store and run up to the first row. Raises as `visit` does, and `QueryRefused`."""
        self.columns: Sequence[str] = ()
        self._connection = visit(path)
        self._connection.create_scalar_function("state_name", _state_name, 1, deterministic=True)
        self._connection.create_scalar_function("iso_time", _iso_time, 1, deterministic=True)
        self._connection.authorizer = _authorize
        self._cursor = self._connection.cursor()
        self._cursor.exec_trace = self._begin
        self._statements = 0
        try:
            self._cursor.execute(statement)
        except apsw.Error as error:
            self.close()
            raise _refusal(error) from error

    def __iter__(self) -> Iterator[Sequence[Any]]:
        try:
            yield from self._cursor
        except apsw.Error as error:
            raise _refusal(error) from error

    def close(self) -> None:
        """End the snapshot."""
        self._cursor.close(True)
        self._connection.close()

    def _begin(self, cursor: apsw.Cursor, _statement: str, _bindings: Any) -> bool:
        self._statements += 1
        if self._statements > 1:
            raise QueryRefused("there is more than one statement: ask one thing at a time")
        self.columns = [name for name, *_ in cursor.get_description()]
        return True


def schema_of(path: Path) -> Iterator[str]:
    """Yield the statements that make the store's tables, indexes and triggers."""
    connection = visit(path)
    try:
        for (statement,) in connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"):
            yield f"{statement};"
    finally:
        connection.close()


def _authorize(action: int, first: str | None, _second: str | None, _database: str | None, _trigger: str | None) -> int:
    if action not in _ALLOWED or (action == apsw.SQLITE_READ and first == _HIDDEN_TABLE):
        return apsw.SQLITE_DENY
    return apsw.SQLITE_OK


def _refusal(error: Exception) -> QueryRefused:
    match error:
        case QueryRefused():
            return error
        case apsw.AuthError():
            return QueryRefused("only SELECT is possible here, and not on the table of secrets")
        case _:
            return QueryRefused(str(error))


def _state_name(*numbers: Any) -> str | None:
    try:
        return State(numbers[0]).name
    except ValueError:
        return None


def _iso_time(*times: Any) -> str | None:
    microseconds = times[0]
    if not isinstance(microseconds, int):
        return None
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="milliseconds")
