"""What the verbs of one commit group share: the way to run statements, one time, the next revision, and the notice."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from jobwire_server.kernel.telemetry import Log
from jobwire_server.store.base import CommitNotice, Lane, Position
from jobwire_server.store.settings import StoreSettings


class Transaction(ABC):
    """One open write transaction: from its beginning to its end no other one changes jobs. A driver runs statements."""

    def __init__(
        self, *, position: Position, now_us: int, settings: StoreSettings, chance: Callable[[], float], log: Log
    ) -> None:
        self.settings = settings
        self.chance = chance
        self.log = log
        self.now_us = now_us
        self.epoch, self.revision, self.compacted = position
        """`revision`: the newest that was given out, in this transaction or before it."""
        self.began_at = position
        self.depth_change = 0
        """By how much the number of unfinished jobs grows with this transaction."""
        self.full = False
        """True while the disk is full and new work is refused."""
        self.pending: set[Lane] = set()
        self.cancelled: list[tuple[int, int]] = []
        self.due_us: int | None = None

    @abstractmethod
    def run(self, name: str, /, **values: object) -> int:
        """Run a statement that answers nothing; return how many rows it changed (its triggers' not counted)."""

    @abstractmethod
    def row(self, name: str, /, **values: object) -> tuple[Any, ...] | None:
        """Run a statement and return its first row, None when there is none."""

    @abstractmethod
    def tried(self, apply: Callable[[], None]) -> Exception | None:
        """Call `apply`; when the database or an assertion refuses it, undo that alone and return the error."""

    @abstractmethod
    def unfinished(self) -> int:
        """Number of jobs that have not ended, those of this transaction included. Asked only where it is bounded."""

    def progressed(self, keys: Sequence[int]) -> None:  # noqa: B027 - most have nobody to tell
        """Workers have said how far these jobs are: leave word for other servers, where there may be any."""

    def lease(self, keys: Sequence[int], /, *, base: int, **values: object) -> tuple[int, list[list[Any]]]:
        """Lease these jobs, in order, except those that are not there to be leased any more.

        Returns how many rows were changed, and of each leased job the row of `read_leases`, in order. A driver whose
        database does this in fewer statements says so.
        """
        listed = json.dumps(keys)
        changed = self.run("lease_jobs", keys=listed, base=base, **values)
        if changed < len(keys):
            listed = self.one("leased_now", keys=listed, base=base)
        return changed, json.loads(self.one("read_leases", keys=listed, full=True))

    def one(self, name: str, /, **values: object) -> Any:
        """Run a statement and return the first column of its first row, None when there is no row."""
        row = self.row(name, **values)
        return None if row is None else row[0]

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
        return Position(self.epoch, self.revision, self.compacted)

    def notice(self) -> CommitNotice | None:
        """What to tell after the commit, None when nothing has changed in the log."""
        if self.position() == self.began_at:
            return None
        due_us = self.due_us
        return CommitNotice(
            self.revision,
            frozenset(self.pending),
            tuple(self.cancelled),
            None if due_us is None else max(0, due_us - self.now_us),
        )
