"""Time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

START_US = 1_750_000_000_000_000


class ManualClock:
    """A `Clock` whose sleeps end when `advance` passes them, in order of their times."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._now

    def wall_us(self) -> int:
        """See `Clock`."""
        return START_US + round((self._now - 1000.0) * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._numbers), woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Let time pass; everybody whose sleep ends in it is woken."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    def seconds_to_next(self) -> float | None:
        """Time until the next sleeper wakes, None when nobody sleeps."""
        waiting = [at for at, _, woken in self._sleepers if not woken.done()]
        return min(waiting) - self._now if waiting else None
