"""What the verbs of one commit group share: the connection, one time, the next revision, and the notice to send."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apsw

from jobwire_server.kernel.telemetry import Log
from jobwire_server.store.base import CommitNotice, Lane, Position
from jobwire_server.store.sqlite.connection import StoreClock
from jobwire_server.store.sqlite.settings import SqliteSettings


class Transaction:
    """One open write transaction. Its counters count only when it commits (`WriterState.committed`)."""

    def __init__(self, state: WriterState, connection: apsw.Connection, now_us: int) -> None:
        self._connection = connection
        self._state = state
        self.settings = state.settings
        self.chance = state.chance
        self.log = state.log
        self.now_us = now_us
        self.revision = state.revision
        """Newest revision given out, in this transaction or before it."""
        self.depth = state.depth
        self.compacted = state.compacted
        self.pending: set[Lane] = set()
        self.cancelled: list[tuple[int, int]] = []
        self.due_us: int | None = None

    def run(self, name: str, /, **values: object) -> int:
        """Run a statement that answers nothing; return how many rows it changed (its triggers' not counted)."""
        self._connection.execute(self._state.queries[name], values)
        return self._connection.changes()

    def one(self, name: str, /, **values: object) -> Any:
        """Run a statement and return the first column of its first row, None when there is no row."""
        row = self.row(name, **values)
        return None if row is None else row[0]

    def row(self, name: str, /, **values: object) -> tuple[Any, ...] | None:
        """Run a statement and return its first row, None when there is none."""
        return self._connection.execute(self._state.queries[name], values).fetchone()

    def sql(self, statement: str, values: Sequence[object] = ()) -> apsw.Cursor:
        """Run a statement that is not worth a file (savepoints, single values of `meta`)."""
        return self._connection.execute(statement, values)

    def take_revisions(self, count: int) -> int:
        """Reserve `count` revisions; return the one before the first of them."""
        base = self.revision
        self.revision += count
        return base

    def due_at(self, due_us: int) -> None:
        """Remember the earliest due time among the jobs that became SCHEDULED or RETRYING."""
        self.due_us = due_us if self.due_us is None else min(self.due_us, due_us)

    def position(self) -> Position:
        """Where the log stands once this transaction has committed."""
        return Position(self._state.epoch, self.revision, self.compacted)

    @property
    def full(self) -> bool:
        """True while the disk is full and new work is refused."""
        return self._state.full


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

    def begin(self, connection: apsw.Connection) -> Transaction:
        """Open a write transaction: IMMEDIATE, since an upgrade from reading ignores the busy timeout."""
        connection.execute("BEGIN IMMEDIATE")
        return Transaction(self, connection, self.clock.now_us())

    def committed(self, transaction: Transaction) -> CommitNotice | None:
        """Take over the counters of a committed transaction; return the notice to send, None when nothing changed."""
        unchanged = self.revision == transaction.revision and self.compacted == transaction.compacted
        self.revision = transaction.revision
        self.depth = transaction.depth
        self.compacted = transaction.compacted
        if unchanged:
            return None
        due_us = transaction.due_us
        return CommitNotice(
            transaction.revision,
            frozenset(transaction.pending),
            tuple(transaction.cancelled),
            None if due_us is None else max(0, due_us - transaction.now_us),
        )
