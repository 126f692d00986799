"""The sync shell of merging. `jobwire._aio_merger` has its twin for asyncio."""

from __future__ import annotations

import threading
from typing import Any, Protocol, TypeVar

from jobwire._calls import Call
from jobwire._merging import Merging, Outcome, Waiting, Word, call_of, submitted
from jobwire._requests import Submitted
from jobwire.errors import CallTimeout, JobwireError

T = TypeVar("T")


class Caller(Protocol):
    """What a merger needs of a wire."""

    def now(self) -> float: ...
    def await_event(self, woken: threading.Event, seconds: float) -> None: ...
    def timeout_of(self, call: Call[Any]) -> CallTimeout: ...
    def run(self, call: Call[T], *, since: float | None = None) -> T: ...


class Merger:
    """Sends the submits of one process's threads; those that come together in one call."""

    def __init__(self, wire: Caller, merging: Merging) -> None:
        self._wire = wire
        self._merging = merging
        self._lock = threading.Lock()

    def submit(self, call: Call[Submitted]) -> Submitted:
        """Send a submit, alone or in company, and return its own answer. Raises its own JobwireError.

        A caller that is interrupted takes nothing from the others; its job may come to be, as with any call.
        """
        woken = threading.Event()
        waiting = Waiting(call, self._wire.now(), woken.set)
        with self._lock:
            self._merging.enter(waiting)
        try:
            if waiting.verdict is None:
                self._wait(waiting, woken)
            if waiting.verdict is Word.LEAD:
                self._lead(waiting)
        except BaseException:
            with self._lock:
                self._merging.leave(waiting)
            raise
        if waiting.verdict is Word.ALONE:
            return self._wire.run(call, since=waiting.since)
        if waiting.verdict is None or waiting.verdict is Word.LATE:
            raise self._wire.timeout_of(call)
        return submitted(waiting.verdict)

    def _wait(self, waiting: Waiting, woken: threading.Event) -> None:
        self._wire.await_event(woken, waiting.call.seconds)
        with self._lock:
            if waiting.verdict is None:
                self._merging.leave(waiting)

    def _lead(self, leader: Waiting) -> None:
        with self._lock:
            batch = self._merging.take(leader)
        outcome: Outcome
        try:
            outcome = self._wire.run(call_of(batch), since=leader.since)
        except JobwireError as error:
            outcome = error
        with self._lock:
            self._merging.settle(leader, outcome)
