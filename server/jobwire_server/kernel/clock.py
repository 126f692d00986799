"""Time, injected: every wait and every reading of a clock in the server goes through one `Clock`."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch, as the machine believes."""

    async def sleep(self, seconds: float) -> None:
        """Wait; 0 yields once."""


class SystemClock:
    """The machine's own time. Safe to call from any thread (but `sleep`)."""

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall_us(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


class SharedTime:
    """The time of a database that other servers use as well: what it said last, and what has gone by since.

    Waits go by the machine's own monotonic time. Until the database has said something, its wall clock is believed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._agreed = (clock.monotonic(), clock.wall_us())

    def agree(self, wall_us: int) -> None:
        """The database says that it is so late now. Called in any thread."""
        self._agreed = (self._clock.monotonic(), wall_us)

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._clock.monotonic()

    def wall_us(self) -> int:
        """See `Clock`; as the database believes."""
        since, wall_us = self._agreed
        return wall_us + round((self._clock.monotonic() - since) * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await self._clock.sleep(seconds)
