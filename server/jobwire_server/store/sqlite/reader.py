"""A connection of SQLite that can do nothing but read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import apsw

from jobwire_server.store.listing import Dialect
from jobwire_server.store.verbs.reader import Reader


class SqliteReader(Reader):
    """Reads from one file."""

    dialect: ClassVar[Dialect] = Dialect(
        mark="?",
        join="CROSS JOIN",
        each_text="json_each(?) AS r",
        by_index=" INDEXED BY {}",
        by_key=" NOT INDEXED",
    )

    def __init__(self, connection: apsw.Connection, queries: Mapping[str, str], now_us: Callable[[], int]) -> None:
        super().__init__(queries)
        self._connection = connection
        self._clock_us = now_us

    def close(self) -> None:
        """See `Reader.close`."""
        self._connection.close()

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def _now_us(self) -> int:
        return self._clock_us()

    def _iterate(self, statement: str, values: Sequence[object] | Mapping[str, object]) -> Iterable[tuple[Any, ...]]:
        return self._connection.execute(statement, values)
