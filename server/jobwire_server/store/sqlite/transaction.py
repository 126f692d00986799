"""A write transaction of SQLite, and what the writer thread knows between two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apsw

from jobwire_server.kernel.telemetry import Log
from jobwire_server.store.base import CommitNotice, Position
from jobwire_server.store.sqlite.connection import StoreClock
from jobwire_server.store.sqlite.settings import SqliteSettings
from jobwire_server.store.verbs.transaction import Transaction


class SqliteTransaction(Transaction):
    """One open write transaction. Its counters count only when it commits (`WriterState.committed`)."""

    def __init__(self, state: WriterState, connection: apsw.Connection, now_us: int) -> None:
        super().__init__(
            position=Position(state.epoch, state.revision, state.compacted),
            now_us=now_us,
            settings=state.settings,
            chance=state.chance,
            log=state.log,
        )
        self._connection = connection
        self._queries = state.queries
        self._depth = state.depth
        self.full = state.full

    def run(self, name: str, /, **values: object) -> int:
        """See `Transaction.run`."""
        self._connection.execute(self._queries[name], values)
        return self._connection.changes()

    def row(self, name: str, /, **values: object) -> tuple[Any, ...] | None:
        """See `Transaction.row`."""
        return self._connection.execute(self._queries[name], values).fetchone()

    def tried(self, apply: Callable[[], None]) -> Exception | None:
        """See `Transaction.tried`."""
        self.sql("SAVEPOINT tried")
        failure: Exception | None = None
        try:
            apply()
        except (apsw.ConstraintError, AssertionError) as error:
            self.sql("ROLLBACK TO tried")
            failure = error
        self.sql("RELEASE tried")
        return failure

    def unfinished(self) -> int:
        """See `Transaction.unfinished`."""
        return self._depth + self.depth_change

    def sql(self, statement: str, values: Sequence[object] = ()) -> apsw.Cursor:
        """Run a statement that is not worth a file."""
        return self._connection.execute(statement, values)


class WriterState:
    """What the writer thread knows beyond the file; all of it derived from the file at `open`."""

    def __init__(
        self,
        *,
        position: Position,
        depth: int,
        clock: StoreClock,
        chance: Callable[[], float],
        settings: SqliteSettings,
        queries: Mapping[str, str],
        log: Log,
    ) -> None:
        self.epoch, self.revision, self.compacted = position
        self.depth = depth
        """Number of jobs that have not ended."""
        self.clock = clock
        self.chance = chance
        self.settings = settings
        self.queries = queries
        self.log = log
        self.full = False

    def begin(self, connection: apsw.Connection) -> SqliteTransaction:
        """Open a write transaction: IMMEDIATE, since an upgrade from reading ignores the busy timeout."""
        connection.execute("BEGIN IMMEDIATE")
        return SqliteTransaction(self, connection, self.clock.now_us())

    def committed(self, transaction: SqliteTransaction) -> CommitNotice | None:
        """Take over the counters of a committed transaction; return the notice to send, None when nothing changed."""
        self.revision = transaction.revision
        self.depth += transaction.depth_change
        self.compacted = transaction.compacted
        return transaction.notice()
