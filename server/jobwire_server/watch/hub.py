"""The meeting point of the log and its watchers."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from jobwire_server.domain.errors import Draining, Unavailable
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.telemetry import Log, SilentLog
from jobwire_server.store.base import Position, Store
from jobwire_server.watch.feed import JobsFeed
from jobwire_server.watch.index import Index, ProgressNote
from jobwire_server.watch.job_feed import JobFeed, JobSignal, JobWatch
from jobwire_server.watch.requests import JobsWatch
from jobwire_server.watch.tail import Tail

__all__ = ["JobWatch", "JobsWatch", "ProgressNote", "WatchHub"]

_TICK_SECONDS: Final = 0.25
_POLL_TICKS: Final = 4
"""The log is looked at this often even without a notice of a commit, in ticks."""


class Watcher(Protocol):
    """An open watch or long poll."""

    def tick(self, now: float) -> None:
        """Look whether something is due."""

    def end(self, reason: Unavailable) -> None:
        """Finish soon, with this reason."""


class WatchHub:
    """Feeds all watchers of this process. `start()` and `stop()` belong into one task.

    An idle watcher costs nothing per commit and about a kilobyte; a slow one is a cursor that lags. The number of
    watchers is bounded by whoever opens them.
    """

    def __init__(self, *, store: Store, clock: Clock, log: Log | None = None) -> None:
        self.store = store
        self.index = Index()
        self._clock = clock
        self.tail = Tail(store, self.index, clock=clock, log=log or SilentLog())
        self._watchers: set[Watcher] = set()
        self._anybody = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._background: list[asyncio.Task[None]] = []
        self._draining: Unavailable | None = None

    async def start(self) -> None:
        """Begin to follow the store. Costs nothing while nobody watches."""
        self.store.subscribe(self.tail.announce)
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._background = [
            self._tasks.create_task(self.tail.run(), name="watch-tail"),
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
        self._draining = reason
        for watcher in tuple(self._watchers):
            watcher.end(reason)

    def watch_jobs(self, watch: JobsWatch) -> JobsFeed:
        """Open a watch of many jobs."""
        return JobsFeed(self, watch)

    def watch_job(self, watch: JobWatch) -> JobFeed:
        """Open a watch of one job."""
        return JobFeed(self, watch)

    def listen(self, tenant: str, job_id: str) -> JobSignal:
        """Return a signal for a long poll (`async with`): it rings when the job changes or the server drains."""
        return JobSignal(self, tenant, job_id, wants_progress=False)

    def progress(self, note: ProgressNote) -> None:
        """Tell those who asked for it of progress. Called on the event loop, cheap while nobody watches."""
        if self._watchers:
            self.index.note(note)

    # --- for watchers -----------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the clock's monotonic seconds."""
        return self._clock.monotonic()

    def join(self, watcher: Watcher, position: Position) -> None:
        """Count a watcher; `position` was read from the store just now."""
        self.tail.follow(position.revision)
        self._watchers.add(watcher)
        self._anybody.set()
        if self._draining is not None:
            watcher.end(self._draining)

    def part(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        self._watchers.discard(watcher)
        self.tail.unfollow()
        if not self._watchers:
            self._anybody.clear()

    async def _tick(self) -> None:
        """Look after bookmarks, held progress and missed notices, as long as there are watchers."""
        count = 0
        while True:
            await self._anybody.wait()
            await self._clock.sleep(_TICK_SECONDS)
            count += 1
            if count % _POLL_TICKS == 0:
                self.tail.poll()
            now = self._clock.monotonic()
            for watcher in tuple(self._watchers):
                watcher.tick(now)
