"""A write transaction of PostgreSQL: the verbs' statements, and the number of unfinished jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import psycopg

from jobwire_server.kernel.telemetry import Log
from jobwire_server.store.base import CommitNotice, Position
from jobwire_server.store.postgres.connection import Connection, begin_write
from jobwire_server.store.postgres.settings import PostgresSettings
from jobwire_server.store.verbs.transaction import Transaction

_NUL_IN_JSON: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class PostgresTransaction(Transaction):
    """One open write transaction. It holds the lock of the writers: nobody else changes jobs until its end."""

    def __init__(self, state: WriterState, connection: Connection, position: Position, now_us: int) -> None:
        super().__init__(position=position, now_us=now_us, settings=state.settings, chance=state.chance, log=state.log)
        self._connection = connection
        self._state = state

    def run(self, name: str, /, **values: object) -> int:
        """See `Transaction.run`."""
        return self._execute(name, values).rowcount

    def row(self, name: str, /, **values: object) -> tuple[Any, ...] | None:
        """See `Transaction.row`."""
        return self._execute(name, values).fetchone()

    def _execute(self, name: str, values: Mapping[str, object]) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection.execute(self._state.queries[name], without_nul(values))

    def tried(self, apply: Callable[[], None]) -> Exception | None:
        """See `Transaction.tried`."""
        self._connection.execute("SAVEPOINT tried", prepare=False)
        failure: Exception | None = None
        try:
            apply()
        except (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.RaiseException, AssertionError) as error:
            self._connection.execute("ROLLBACK TO tried", prepare=False)
            failure = error
        self._connection.execute("RELEASE tried", prepare=False)
        return failure

    def lease(self, keys: Sequence[int], /, *, base: int, **values: object) -> tuple[int, list[list[Any]]]:
        """See `Transaction.lease`. One statement does it all: each look at a job costs a quarter of leasing it."""
        rows = json.loads(self.one("lease_jobs", keys=json.dumps(keys), base=base, **values))
        return len(rows), rows

    def progressed(self, keys: Sequence[int]) -> None:
        """See `Transaction.progressed`."""
        self.run("note_progress", keys=json.dumps(keys), server=self._state.server)

    def unfinished(self) -> int:
        """See `Transaction.unfinished`."""
        return self._state.unfinished(self) + self.depth_change


class WriterState:
    """What the writing thread knows beyond the database, all of it derived from there."""

    def __init__(
        self,
        *,
        settings: PostgresSettings,
        chance: Callable[[], float],
        queries: Mapping[str, str],
        log: Log,
        server: str,
    ) -> None:
        self.settings = settings
        self.chance = chance
        self.queries = queries
        self.log = log
        self.server = server
        """Tells this server from others where it leaves word for them."""
        self._begin = begin_write(settings)
        self._depth: tuple[int, int] | None = None
        """Number of jobs that have not ended, and the revision at which they were so many."""

    def begin(self, connection: Connection) -> PostgresTransaction:
        """Open a write transaction; waits for those of other servers."""
        cursor = connection.execute(self._begin, prepare=False)
        cursor.nextset()
        row = cursor.fetchone()
        if row is None:
            raise AssertionError("the store has no epoch: its row in jobwire.meta is gone")
        epoch, revision, compacted, now_us = row
        return PostgresTransaction(self, connection, Position(epoch, revision, compacted), now_us)

    def unfinished(self, transaction: PostgresTransaction) -> int:
        """How many jobs had not ended when this transaction began: counted once, then followed along the log."""
        revision = transaction.began_at.revision
        if self._depth is None or self._depth[1] < transaction.compacted:
            count = int(transaction.one("count_unfinished"))
        else:
            count, counted_at = self._depth
            if counted_at < revision:
                count += int(transaction.one("unfinished_since", after=counted_at, upto=revision))
        self._depth = count, revision
        return count

    def committed(self, transaction: PostgresTransaction) -> CommitNotice | None:
        """Return the notice to send, None when nothing changed."""
        if self._depth is not None and self._depth[1] == transaction.began_at.revision:
            self._depth = self._depth[0] + transaction.depth_change, transaction.revision
        return transaction.notice()


def without_nul(values: Mapping[str, object]) -> Mapping[str, object]:
    """The values with U+FFFD for each NUL in a text, which PostgreSQL cannot hold; nearly always the very same."""
    damaged = {
        name: _NUL_IN_JSON.sub(r"\1\\ufffd", value).replace("\0", "\ufffd")
        for name, value in values.items()
        if isinstance(value, str) and ("\\u0000" in value or "\0" in value)
    }
    return {**values, **damaged} if damaged else values
