"""The meeting point of the log and its watchers."""

from __future__ import annotations

import asyncio
from typing import Final

from jobwire_server.domain.errors import Draining, Unavailable
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.telemetry import Log, SilentLog
from jobwire_server.store.base import ProgressNote, Store
from jobwire_server.watch.desk import Desk
from jobwire_server.watch.feed import JobsFeed
from jobwire_server.watch.index import Index
from jobwire_server.watch.job_feed import JobFeed, JobSignal, JobWatch
from jobwire_server.watch.requests import JobsWatch
from jobwire_server.watch.tail import Tail

__all__ = ["JobWatch", "JobsWatch", "WatchHub"]

_TICK_SECONDS: Final = 0.25
_POLL_TICKS: Final = 4
"""The log is looked at this often even without a notice of a commit, in ticks."""


class WatchHub:
    """Feeds all watchers of this process. `start()` and `stop()` belong into one task.

    An idle watcher costs nothing per commit and about a kilobyte; a slow one is a cursor that lags. The number of
    watchers is bounded by whoever opens them.
    """

    def __init__(self, *, store: Store, clock: Clock, log: Log | None = None) -> None:
        self._store = store
        self._clock = clock
        index = Index()
        self._index = index
        self._tail = Tail(store, index, clock=clock, log=log or SilentLog())
        self._desk = Desk(store, index, self._tail, clock)
        self._tasks: asyncio.TaskGroup | None = None
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to follow the store. Costs nothing while nobody watches."""
        self._store.subscribe(self._tail.announce)
        self._store.subscribe_progress(self.progress)
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._background = [
            self._tasks.create_task(self._tail.run(), name="watch-tail"),
            self._tasks.create_task(self._tick(), name="watch-ticks"),
        ]

    async def stop(self) -> None:
        """End all watches and stop following. Idempotent."""
        self.drain(Draining("The server is shutting down: connect again.", retry_after_us=0))
        group, self._tasks = self._tasks, None
        if group is not None:
            for task in self._background:
                task.cancel()
            await group.__aexit__(None, None, None)

    def drain(self, reason: Unavailable) -> None:
        """Ask every watch, present and future, to end with `reason`; long polls answer at once."""
        self._desk.drain(reason)

    def watch_jobs(self, watch: JobsWatch) -> JobsFeed:
        """Open a watch of many jobs."""
        return JobsFeed(self._desk, watch)

    def watch_job(self, watch: JobWatch) -> JobFeed:
        """Open a watch of one job."""
        return JobFeed(self._desk, watch)

    def listen(self, tenant: str, job_id: str) -> JobSignal:
        """Return a signal for a long poll (`async with`): it rings when the job changes or the server drains."""
        return JobSignal(self._desk, tenant, job_id, wants_progress=False)

    def progress(self, note: ProgressNote) -> None:
        """Tell those who asked for it of progress. Called on the event loop, cheap while nobody watches."""
        if self._desk.watchers:
            self._index.note(note)

    async def _tick(self) -> None:
        """Look after bookmarks, held progress and missed notices, as long as there are watchers."""
        count = 0
        while True:
            await self._desk.anybody.wait()
            await self._clock.sleep(_TICK_SECONDS)
            count += 1
            if count % _POLL_TICKS == 0:
                self._tail.poll()
            now = self._clock.monotonic()
            for watcher in tuple(self._desk.watchers):
                watcher.tick(now)
