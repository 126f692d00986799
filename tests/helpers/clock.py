"""A clock that a test moves by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools

START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""


class ManualClock:
    """Implements `kernel.clock.Clock`: time stands still until `advance`; the wall clock may also jump.

    Reading is safe from any thread; `advance` and `sleep` belong to the event loop.
    """

    def __init__(self, wall_us: int = START_US) -> None:
        self._elapsed_us = 0
        self._wall_us = wall_us
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed_us / 1_000_000

    def wall_us(self) -> int:
        """What the machine believes, jumps included."""
        return self._wall_us + self._elapsed_us

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody has advanced the clock that far; 0 yields once."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due_us = self._elapsed_us + round(seconds * 1_000_000)
        heapq.heappush(self._sleepers, (due_us, next(self._order), woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Let time pass, for both clocks, and wake who slept."""
        self._elapsed_us += round(seconds * 1_000_000)
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_us:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back; monotonic time does not notice."""
        self._wall_us += round(seconds * 1_000_000)

    @property
    def sleeping(self) -> int:
        """How many wait."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def seconds_to_next(self) -> float | None:
        """Time until the next sleeper wakes, None when nobody sleeps."""
        due = [due_us for due_us, _, woken in self._sleepers if not woken.done()]
        return (min(due) - self._elapsed_us) / 1_000_000 if due else None
