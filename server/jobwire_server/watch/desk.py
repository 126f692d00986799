"""Where watchers register: what they share, and nothing of how they are run."""

from __future__ import annotations

import asyncio
from typing import Protocol

from jobwire_server.domain.errors import Unavailable
from jobwire_server.kernel.clock import Clock
from jobwire_server.store.base import Position, Store
from jobwire_server.watch.index import Index
from jobwire_server.watch.tail import Tail


class Watcher(Protocol):
    """An open watch or long poll."""

    def tick(self, now: float) -> None:
        """Look whether something is due."""

    def end(self, reason: Unavailable) -> None:
        """Finish soon, with this reason."""


class Desk:
    """The store, its tail, the index of what is wanted, and everybody who watches now."""

    def __init__(self, store: Store, index: Index, tail: Tail, clock: Clock) -> None:
        self.store = store
        self.index = index
        self.tail = tail
        self.watchers: set[Watcher] = set()
        self.anybody = asyncio.Event()
        """Set while anybody watches."""
        self.draining: Unavailable | None = None
        self._clock = clock

    def now(self) -> float:
        """Return the clock's monotonic seconds."""
        return self._clock.monotonic()

    def join(self, watcher: Watcher, position: Position) -> None:
        """Count a watcher; `position` was read from the store just now."""
        self.tail.follow(position.revision)
        self.watchers.add(watcher)
        self.anybody.set()
        if self.draining is not None:
            watcher.end(self.draining)

    def part(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        self.watchers.discard(watcher)
        self.tail.unfollow()
        if not self.watchers:
            self.anybody.clear()

    def drain(self, reason: Unavailable) -> None:
        """Ask every watcher, present and future, to end."""
        self.draining = reason
        for watcher in tuple(self.watchers):
            watcher.end(reason)
