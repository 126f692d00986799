"""The async shell of merging. `jobwire._merger` has its twin for threads."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Any, Protocol, TypeVar

from jobwire._calls import Call
from jobwire._merging import Merging, Outcome, Waiting, Word, call_of, submitted
from jobwire._requests import Submitted
from jobwire.errors import CallTimeout, JobwireError

T = TypeVar("T")


class Caller(Protocol):
    """What a merger needs of a wire."""

    def now(self) -> float: ...
    def timeout_of(self, call: Call[Any]) -> CallTimeout: ...
    async def run(self, call: Call[T], *, since: float | None = None) -> T: ...


class AioMerger:
    """Sends the submits of one loop; those that come together in one call."""

    def __init__(self, wire: Caller, merging: Merging) -> None:
        self._wire = wire
        self._merging = merging
        self._deadlines = _Deadlines(wire)

    async def submit(self, call: Call[Submitted]) -> Submitted:
        """Send a submit, alone or in company, and return its own answer. Raises its own JobwireError.

        A caller that is cancelled takes nothing from the others; its job may come to be, as with any call.
        """
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = Waiting(call, self._wire.now(), partial(_wake, woken))
        self._merging.enter(waiting)
        try:
            if waiting.verdict is None:
                await self._wait(waiting, woken)
            elif self._merging.has_company:
                # Those who were answered just now submit again, as a rule, and belong into the same batch.
                await asyncio.sleep(0)
            if waiting.verdict is Word.LEAD:
                await self._lead(waiting)
        except BaseException:
            self._merging.leave(waiting)
            raise
        if waiting.verdict is Word.ALONE:
            return await self._wire.run(call, since=waiting.since)
        if waiting.verdict is None or waiting.verdict is Word.LATE:
            raise self._wire.timeout_of(call)
        return submitted(waiting.verdict)

    async def _wait(self, waiting: Waiting, woken: asyncio.Future[None]) -> None:
        self._deadlines.add(waiting)
        try:
            await woken
        finally:
            self._deadlines.discard(waiting)
        if waiting.verdict is None:
            self._merging.leave(waiting)

    async def _lead(self, leader: Waiting) -> None:
        batch = self._merging.take(leader)
        outcome: Outcome
        try:
            outcome = await self._wire.run(call_of(batch), since=leader.since)
        except JobwireError as error:
            outcome = error
        self._merging.settle(leader, outcome)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class _Deadlines:
    """Wakes those whose time is over: one timer for all, since one for each costs as much as all other waiting."""

    def __init__(self, wire: Caller) -> None:
        self._wire = wire
        self._waiting: set[Waiting] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_end = math.inf

    def add(self, waiting: Waiting) -> None:
        self._waiting.add(waiting)
        if waiting.end < self._timer_end:
            self._set(waiting.end)

    def discard(self, waiting: Waiting) -> None:
        self._waiting.discard(waiting)

    def _set(self, end: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_end = end
        self._timer = asyncio.get_running_loop().call_later(max(end - self._wire.now(), 0.0), self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_end = None, math.inf
        now = self._wire.now()
        for waiting in self._waiting:
            if waiting.end <= now:
                waiting.wake()
        left = min((waiting.end for waiting in self._waiting if waiting.end > now), default=None)
        if left is not None:
            self._set(left)
