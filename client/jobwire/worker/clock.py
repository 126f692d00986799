"""Time for the worker runtime: every reading and every wait goes through one injected `Clock`."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time. The server's clock fits too."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything. Safe from any thread."""

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch, as the machine believes. Safe from any thread."""

    async def sleep(self, seconds: float) -> None:
        """Wait; 0 yields once."""


class SystemClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall_us(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)
