"""Where payloads stand: in the row of their job, or apart (docs/adr/0004). `python -m bench.content_size`.

Every size is run with the threshold above it ("row") and below it ("apart"), in turns, on a synced store, beside an
idle interpreter and beside a spinning thread (a busy server). A run submits scheduled jobs, promotes them when they
are due (a sweep, which has no use for payloads), then leases and completes all, one frame after the other.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import uuid_utils

from bench.figure import canary
from jobwire_server.domain.job import HOUR_US, SECOND_US, Content, NewJob
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import Lane, LeaseRequest, Owner, Report, Submission, Transport
from jobwire_server.store.sqlite.store import SqliteSettings, SqliteStore

SIZES: Final = {100: 6_000, 512: 6_000, 1 << 10: 6_000, 10 << 10: 2_000, 100 << 10: 600}
"""Payload bytes, and how many jobs of that size a run has."""
ROUNDS: Final = 3
SWITCH_INTERVAL_SECONDS: Final = 1e-4
"""That of the server (app.py)."""
FRAME: Final = 100
ROW, APART = 2 << 20, 0


class LaterClock(SystemClock):
    """The machine's time, and as much later as one says."""

    def __init__(self) -> None:
        self.later_seconds = 0.0

    def monotonic(self) -> float:
        """See `Clock`."""
        return super().monotonic() + self.later_seconds


class Rates(NamedTuple):
    """Jobs a second."""

    submit: float
    sweep: float
    lease_and_complete: float


async def run(folder: Path, size: int, inline_bytes: int) -> Rates:
    """One run on a fresh store."""
    clock = LaterClock()
    settings = SqliteSettings(inline_content_bytes=inline_bytes)
    store = SqliteStore(folder / "bench.db", clock=clock, chance=random.random, settings=settings)
    await store.open()
    try:
        count = SIZES[size]
        submitted = await _timed(count, lambda: _submit(store, clock, count, size))
        clock.later_seconds += 2 * HOUR_US / SECOND_US
        swept = await _timed(count, lambda: _sweep(store))
        completed = await _timed(count, lambda: _drain(store))
    finally:
        await store.close()
    return Rates(submitted, swept, completed)


async def _timed(count: int, work: Callable[[], Awaitable[None]]) -> float:
    begin = time.perf_counter()
    await work()
    return count / (time.perf_counter() - begin)


async def _submit(store: SqliteStore, clock: SystemClock, count: int, size: int) -> None:
    payload = Content(random.randbytes(size))
    due_us = clock.wall_us() + HOUR_US
    for _ in range(count // FRAME):
        jobs = [
            NewJob(str(uuid_utils.uuid7()), False, "bench.size", payload=payload, schedule_time_us=due_us)
            for _ in range(FRAME)
        ]
        await store.submit(Submission("default", jobs, atomic=True))


async def _sweep(store: SqliteStore) -> None:
    while (await store.promote_due(limit=500)).more:
        pass


async def _drain(store: SqliteStore) -> None:
    request = LeaseRequest(
        Owner("bench", "bench", Transport.DIRECT), [Lane("default", "bench.size")], FRAME, 60 * SECOND_US
    )
    while leases := await store.lease(request):
        await store.report([Report(lease.key, lease.fence, Succeeded()) for lease in leases])


@contextmanager
def spinning(spin: bool) -> Iterator[None]:
    """Keep another thread of this interpreter busy."""
    ended = threading.Event()

    def turn() -> None:
        while not ended.is_set():
            pass

    thread = threading.Thread(target=turn)
    if spin:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if spin:
            thread.join()


def measure(size: int, inline_bytes: int) -> Rates:
    """One run in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="jobwire-bench-") as folder:
        return asyncio.run(run(Path(folder), size, inline_bytes))


def main() -> None:
    """Measure all sizes and print the medians."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    print(f"canary {canary():.2f}; medians of {ROUNDS} rounds, jobs/s; frames of {FRAME}, synced commits")
    print(f"{'payload':>8}  {'where':<6}{'beside':<10}{'submit':>9}{'sweep':>9}{'lease + complete':>18}")
    for size, spin in itertools.product(SIZES, (False, True)):
        found: dict[int, list[Rates]] = {ROW: [], APART: []}
        with spinning(spin):
            for _ in range(ROUNDS):
                for inline_bytes, rates in found.items():
                    rates.append(measure(size, inline_bytes))
        for inline_bytes, rates in found.items():
            where, beside = "row" if inline_bytes == ROW else "apart", "spinning" if spin else "idle"
            submit, sweep, drain = (statistics.median(column) for column in zip(*rates, strict=True))
            print(f"{size:>8}  {where:<6}{beside:<10}{submit:>9,.0f}{sweep:>9,.0f}{drain:>18,.0f}", flush=True)


if __name__ == "__main__":
    main()
