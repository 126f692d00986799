"""A connection of PostgreSQL that reads: each read is one short transaction in one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg

from jobwire_server.store.listing import Dialect
from jobwire_server.store.postgres.connection import Connection, begin_read
from jobwire_server.store.postgres.patience import Patience
from jobwire_server.store.postgres.settings import PostgresSettings
from jobwire_server.store.postgres.transaction import without_nul
from jobwire_server.store.verbs.reader import Reader


class PostgresReader(Reader):
    """Reads from the primary, so that whatever was acknowledged by any server can be seen."""

    dialect: ClassVar[Dialect] = Dialect(
        mark="%s",
        join="JOIN",
        each_text="jsonb_array_elements_text(%s::jsonb) AS r (value)",
        by_index="",
        by_key="",
        identity="identity",
    )

    def __init__(
        self, connection: Connection, queries: Mapping[str, str], settings: PostgresSettings, patience: Patience
    ) -> None:
        super().__init__(queries)
        self._connection = connection
        self._begin = begin_read(settings)
        self._patience = patience
        self._answer_seconds = settings.answer_seconds

    def close(self) -> None:
        """See `Reader.close`."""
        self._connection.close()

    @property
    def usable(self) -> bool:
        """See `Reader.usable`."""
        return not self._connection.closed

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        with self._patience.of(self._connection, self._answer_seconds), self._transaction():
            yield

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute(self._begin, prepare=False)
        try:
            yield
        except psycopg.Error:
            if self.usable:
                self._connection.execute("ROLLBACK", prepare=False)
            raise
        except BaseException:
            self._connection.execute("ROLLBACK", prepare=False)
            raise
        self._connection.execute("COMMIT", prepare=False)

    def _now_us(self) -> int:
        return int(self._rows("SELECT now_us()", ())[0][0])

    def _iterate(self, statement: str, values: Sequence[object] | Mapping[str, object]) -> Iterable[tuple[Any, ...]]:
        clean = without_nul(values) if isinstance(values, Mapping) else [_clean(value) for value in values]
        return self._connection.execute(statement, clean)


def _clean(value: object) -> object:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
