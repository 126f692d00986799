"""Reads a store file behind the store's back, and holds it to the check that operators have (`jobwire db check`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from jobwire_server.store.sqlite.visiting import check_store


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
