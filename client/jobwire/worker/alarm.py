"""One timer for many deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from jobwire.worker.clock import Clock


async def within(clock: Clock, seconds: float, wanted: Awaitable[object]) -> bool:
    """Wait for `wanted`, at most this long. False when the time was up first (then `wanted` is cancelled)."""
    waiting = asyncio.ensure_future(wanted)
    sleeping = asyncio.ensure_future(clock.sleep(max(0.0, seconds)))
    try:
        await asyncio.wait((waiting, sleeping), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            return False
        waiting.result()
        return True
    finally:
        waiting.cancel()
        sleeping.cancel()


class Alarm:
    """Rings at the earliest deadline it was told of.

    Deadlines are not taken back: it may ring for nothing, and whoever hears it looks what is due and names the next
    deadline. So a job with a deadline costs a comparison, not a timer.
    """

    def __init__(self, clock: Clock, ring: Callable[[float], float | None]) -> None:
        """`ring` is given the monotonic time and answers with the next deadline, if any."""
        self._clock = clock
        self._ring = ring
        self._at: float | None = None
        self._earlier = asyncio.Event()

    def by(self, deadline: float) -> None:
        """Ring at this monotonic time, or before."""
        if self._at is None or deadline < self._at:
            self._at = deadline
            self._earlier.set()

    async def run(self) -> None:
        """Ring until cancelled."""
        while True:
            self._earlier.clear()
            if self._at is None:
                await self._earlier.wait()
                continue
            delay = self._at - self._clock.monotonic()
            if delay > 0 and await within(self._clock, delay, self._earlier.wait()):
                continue
            if self._at <= (now := self._clock.monotonic()):
                self._at = None
                following = self._ring(now)
                if following is not None:
                    self.by(following)
