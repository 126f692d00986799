"""Making load on a running server, and measuring what it does to each call."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobwire._ambient import Clock
from jobwire.errors import JobwireError

_PERCENTILES = (50, 90, 95, 99)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed; `ordered` is sorted and not empty."""
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


@dataclass(slots=True)
class Tally:
    """What the calls came to. Threads add to it."""

    seconds: list[float] = field(default_factory=list)
    """How long each good call took."""
    errors: Counter[str] = field(default_factory=Counter)
    """Calls that failed, by code."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, seconds: float) -> None:
        """Count a good call."""
        with self.lock:
            self.seconds.append(seconds)

    def fail(self, error: JobwireError) -> None:
        """Count a call that failed."""
        with self.lock:
            self.errors[error.code] += 1

    def latency_ms(self) -> dict[str, float] | None:
        """Percentiles in milliseconds; None when there was no good call."""
        if not self.seconds:
            return None
        ordered = sorted(self.seconds)
        found = {f"p{percent}": percentile(ordered, percent) for percent in _PERCENTILES}
        return {name: round(seconds * 1000, 3) for name, seconds in (found | {"max": ordered[-1]}).items()}


class Tickets:
    """Permissions to make a call: so many in all, until a time, at a rate. Threads share one.

    With a rate, ticket n is due n/rate seconds after the start, whether the calls before it have ended or not, so that
    a server that falls behind is seen to.
    """

    def __init__(self, clock: Clock, *, count: int | None, seconds: float | None, rate: float | None) -> None:
        self._clock = clock
        self._count = count
        self._rate = rate
        self._start = clock.monotonic()
        self._end = None if seconds is None else self._start + seconds
        self._given = 0
        self._lock = threading.Lock()
        self._over = threading.Event()

    @property
    def elapsed_seconds(self) -> float:
        """Time since the start."""
        return self._clock.monotonic() - self._start

    def take(self) -> bool:
        """Wait for the next ticket; False when there is none any more."""
        with self._lock:
            number = self._given
            if self._over.is_set() or (self._count is not None and number >= self._count):
                return False
            self._given += 1
        if self._rate is not None:
            due = self._start + number / self._rate
            if self._end is not None and due >= self._end:
                return False
            pause = due - self._clock.monotonic()
            if pause > 0:
                self._clock.wait(self._over, pause)
        return not self._over.is_set() and (self._end is None or self._clock.monotonic() < self._end)

    def stop(self) -> None:
        """Give no more."""
        self._over.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a bench measured."""

    bench: str
    what: str
    """What one call is, for people."""
    facts: dict[str, Any]
    seconds: float
    tally: Tally

    def as_document(self) -> dict[str, Any]:
        """One object for programs."""
        count = len(self.tally.seconds)
        return {
            "bench": self.bench,
            **self.facts,
            "seconds": round(self.seconds, 3),
            "count": count,
            "per_second": round(count / self.seconds, 1) if self.seconds else 0.0,
            "errors": dict(self.tally.errors),
            "latency_ms": self.tally.latency_ms(),
        }

    def lines(self) -> list[str]:
        """The report for people."""
        document = self.as_document()
        facts = " · ".join(f"{name.removesuffix('_bytes')} {value}" for name, value in self.facts.items()
                           if value is not None)  # fmt: skip
        lines = [f"{self.bench} · {facts}",
                 f"  {document['count']} in {self.seconds:.2f}s · {document['per_second']:.0f} a second"]  # fmt: skip
        if (latency := self.tally.latency_ms()) is not None:
            lines.append(f"  {self.what}: " + "  ".join(f"{name} {value:.2f}ms" for name, value in latency.items()))
        if self.tally.errors:
            lines.append("  errors: " + ", ".join(f"{code} {number}" for code, number in self.tally.errors.items()))
        return lines


def run_clients(clients: int, tickets: Tickets, tally: Tally, one: Callable[[int], float]) -> None:
    """Let threads call `one` (given the number of its client; it returns its seconds) until the tickets are gone.

    JobwireErrors are counted; any other error, and Ctrl+C, ends all of them and is raised.
    """
    broken: list[BaseException] = []

    def client(number: int) -> None:
        try:
            _call_on(number, tickets, tally, one)
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
            broken.append(error)
            tickets.stop()

    threads = [threading.Thread(target=client, args=(number,), name=f"bench-{number}") for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        tickets.stop()
        for thread in threads:
            thread.join()
    if broken:
        raise broken[0]


def _call_on(number: int, tickets: Tickets, tally: Tally, one: Callable[[int], float]) -> None:
    while tickets.take():
        try:
            tally.add(one(number))
        except JobwireError as error:
            tally.fail(error)
