"""The one reader of the log: follows the store's commits and hands each event to the index, once."""

from __future__ import annotations

import asyncio
from typing import Final

from jobwire_server.domain.errors import JobwireError, RevisionCompacted
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Backoff
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.store.base import CommitNotice, Store
from jobwire_server.watch.index import Index
from jobwire_server.watch.ring import Entry, Ring, Scan

_READ_LIMIT: Final = 1000
_BURST_READS: Final = 10.0
_READS_PER_SECOND: Final = 400.0
"""Reads that follow each other without a pause, then their rate: at load many commits share one read, since a read
costs more than the events in it. A page that is full is followed by the next one at once."""
_RING_EVENTS: Final = 4096
_RING_BYTES: Final = 16 << 20


class Tail:
    """Follows the log while anybody watches, and costs nothing while nobody does."""

    def __init__(self, store: Store, index: Index, *, clock: Clock, log: Log) -> None:
        self._store = store
        self._index = index
        self._clock = clock
        self._log = log
        self._ring = Ring(max_events=_RING_EVENTS, max_bytes=_RING_BYTES)
        self._followers = 0
        self._generation = 0
        self._announced = 0
        self._news = asyncio.Event()
        self._reads = _BURST_READS
        self._reads_at = 0.0

    @property
    def revision(self) -> int:
        """Every event up to here has been handed to the index (while somebody follows)."""
        return self._ring.newest

    def follow(self, revision: int) -> None:
        """One more watcher; the first one sets the place, which must be a committed revision."""
        self._followers += 1
        if self._followers == 1:
            self._generation += 1
            self._ring.restart(revision)
            self._news.set()

    def unfollow(self) -> None:
        """One watcher less; after the last one the log is not read any more."""
        self._followers -= 1
        if self._followers == 0:
            self._ring.restart(0)

    def after(self, revision: int, limit: int) -> Scan | None:
        """Return what the ring holds after `revision`, or None when it does not reach back that far."""
        return self._ring.after(revision, limit)

    def announce(self, notice: CommitNotice) -> None:
        """The store has committed (called on the event loop after each commit)."""
        self._announced = notice.revision
        if self._followers:
            self._news.set()

    def poll(self) -> None:
        """Look at the log even without a notice: notices are hints."""
        if self._followers:
            self._news.set()

    async def run(self) -> None:
        """Follow until cancelled. A store that cannot be read is tried again for ever; nothing is skipped."""
        failures = 0
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._catch_up()
            except JobwireError as error:
                failures += 1
                pause = Backoff().after(failures)
                self._log.warning(LogEvent.WATCH_STALLED, reason=error.reason, failures=failures, retry_seconds=pause)
                await self._clock.sleep(pause)
                self._news.set()
            else:
                failures = 0

    async def _catch_up(self) -> None:
        is_behind = False
        while self._followers:
            if not is_behind:
                await self._pace()
            generation, after = self._generation, self._ring.newest
            try:
                events = await self._store.events(after=after, limit=_READ_LIMIT)
            except RevisionCompacted:
                await self._jump(generation)
                return
            if generation != self._generation or not self._followers:
                continue  # everybody went, and others came: the place is another one now
            entries = [Entry(event) for event in events]
            self._ring.extend(entries)
            self._index.publish(entries)
            is_behind = len(events) == _READ_LIMIT
            if not events or (not is_behind and self._announced <= self._ring.newest):
                return

    async def _jump(self, generation: int) -> None:
        """The log no longer reaches back to the ring: go on at its end, whoever is behind reads for itself."""
        position = await self._store.position()
        if generation == self._generation:
            self._ring.restart(position.revision)
            self._index.lose_place()

    async def _pace(self) -> None:
        now = self._clock.monotonic()
        self._reads = min(_BURST_READS, self._reads + (now - self._reads_at) * _READS_PER_SECOND)
        self._reads_at = now
        if self._reads < 1.0:
            await self._clock.sleep((1.0 - self._reads) / _READS_PER_SECOND)
        self._reads -= 1.0
