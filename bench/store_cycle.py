"""The store alone: what a job costs it, beside a bare apsw loop (docs/adr/0013). `python -m bench.store_cycle`.

A round submits jobs in batches of 1,000 and drains them in frames of 250, the next lease on its way with the reports of
the last; the loop inserts, leases and finishes the same rows in the same schema, in commits of 100. Both sync. Rates
depend on what else the machine does, so the CPU of the process (all threads) stands beside them.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import uuid_utils

from bench import bare
from bench.figure import canary
from jobwire_server.domain.job import SECOND_US, Content, NewJob
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import Lane, Lease, LeaseRequest, Owner, Report, Submission, Transport
from jobwire_server.store.sqlite.store import SqliteStore

ROUNDS: Final = 5
JOBS: Final = 30_000
BATCH, FRAME = 1_000, 250
SWITCH_INTERVAL_SECONDS: Final = 1e-4
"""That of the server (app.py)."""
PAYLOAD: Final = b"x" * 100
REQUEST: Final = LeaseRequest(
    Owner("bench", "bench", Transport.STREAM), [Lane("default", "bench.cycle")], FRAME, 60 * SECOND_US
)


class Cost(NamedTuple):
    """Of one job."""

    wall_us: float
    cpu_us: float


async def store_round(folder: Path) -> tuple[Cost, Cost]:
    """Submit and drain on a fresh store; the cost of each."""
    store = SqliteStore(folder / "store.db", clock=SystemClock(), chance=random.random)
    await store.open()
    try:
        batches = [[_job() for _ in range(BATCH)] for _ in range(JOBS // BATCH)]
        return await _timed(lambda: _submit(store, batches)), await _timed(lambda: _drain(store))
    finally:
        await store.close()


async def _timed(work: Callable[[], Awaitable[None]]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return Cost((time.perf_counter() - wall) / JOBS * 1e6, (time.process_time() - cpu) / JOBS * 1e6)


def _job() -> NewJob:
    return NewJob(str(uuid_utils.uuid7()), False, "bench.cycle", payload=Content(PAYLOAD))


async def _submit(store: SqliteStore, batches: list[list[NewJob]]) -> None:
    """Four batches in flight."""
    left = iter(batches)

    async def caller() -> None:
        for batch in left:
            await store.submit(Submission("default", batch))

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(caller())


async def _drain(store: SqliteStore) -> None:
    leases = await store.lease(REQUEST)
    while leases:
        async with asyncio.TaskGroup() as group:
            group.create_task(_report(store, leases))
            following = group.create_task(store.lease(REQUEST))
        leases = following.result()


async def _report(store: SqliteStore, leases: list[Lease]) -> None:
    await store.report([Report(lease.key, lease.fence, Succeeded()) for lease in leases])


def bare_round(folder: Path) -> Cost:
    """The loop that does nothing but write."""
    spent = bare.cycle(folder / "bare.db", JOBS)
    return Cost(spent.seconds / JOBS * 1e6, spent.cpu_seconds / JOBS * 1e6)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jobwire-bench-") as folder:
        yield Path(folder)


def main() -> None:
    """Alternate the two, and print the medians."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    found: dict[str, list[Cost]] = {"submit": [], "lease + report": [], "bare loop, all three": []}
    ratios = []
    for _ in range(ROUNDS):
        with _folder() as folder:
            submit, drain = asyncio.run(store_round(folder))
            loop = bare_round(folder)
        for costs, cost in zip(found.values(), (submit, drain, loop), strict=True):
            costs.append(cost)
        ratios.append(loop.wall_us / drain.wall_us)
    print(
        f"canary {canary():.2f}; medians of {ROUNDS} rounds of {JOBS:,} jobs with 100 bytes of payload, synced commits"
    )
    print(f"{'':<22}{'jobs/s':>10}{'CPU us/job':>12}")
    for name, costs in found.items():
        wall_us, cpu_us = (statistics.median(column) for column in zip(*costs, strict=True))
        print(f"{name:<22}{1e6 / wall_us:>10,.0f}{cpu_us:>12.1f}")
    rounds = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"drained jobs over jobs of the bare loop: {statistics.median(ratios):.2f} x ({rounds})")


if __name__ == "__main__":
    main()
