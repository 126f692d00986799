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
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import uuid_utils

from bench.figure import canary
from jobwire_server.domain.job import SECOND_US, Content, NewJob
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import Lane, Lease, LeaseRequest, Owner, Report, Submission, Transport
from jobwire_server.store.migrations import shipped
from jobwire_server.store.sqlite.store import SqliteStore

ROUNDS: Final = 5
JOBS: Final = 30_000
BATCH, FRAME, BARE_COMMIT = 1_000, 250, 100
SWITCH_INTERVAL_SECONDS: Final = 1e-4
"""That of the server (app.py)."""
PAYLOAD: Final = b"x" * 100
REQUEST: Final = LeaseRequest(
    Owner("bench", "bench", Transport.STREAM), [Lane("default", "bench.cycle")], FRAME, 60 * SECOND_US
)
_INSERT: Final = """
INSERT INTO job (key, revision, sequence, attempt, fence, losses, create_us, change_us, tenant, id, state, max_attempts,
  queue, type, priority, due_us, payload_form, payload_size, payload, id_chosen)
VALUES (?, ?, 1, 0, 0, 0, ?, ?, 'default', ?, 2, 20, 'default', 'bench.cycle', 5, ?, 1, 100, ?, 0)
"""
_LEASE: Final = """
UPDATE job SET state = 3, attempt = attempt + 1, fence = fence + 1, revision = ?2, sequence = sequence + 1,
  change_us = ?3, start_us = ?3, lease_expire_us = ?3 + 60000000, transport = 1, instance_id = 'bench',
  worker_id = 'bench'
WHERE key = ?1 AND state = 2
"""
_FINISH: Final = """
UPDATE job SET state = 5, revision = ?2, sequence = sequence + 1, change_us = ?3, finish_us = ?3, purge_us = ?3 + 1,
  lease_expire_us = NULL, transport = NULL, instance_id = NULL
WHERE key = ?1 AND state = 3
"""


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
    """The loop that does nothing but write: insert, lease, finish."""
    connection = apsw.Connection(str(folder / "bare.db"))
    connection.execute("PRAGMA journal_mode = wal").fetchall()
    connection.execute("PRAGMA synchronous = full")
    for migration in shipped(files("jobwire_server.store.sqlite") / "migrations"):
        connection.execute(migration.sql)
    wall, cpu = time.perf_counter(), time.process_time()
    revision = 0
    for _ in range(JOBS // BARE_COMMIT):
        now = time.time_ns() // 1000
        keys = range(revision + 1, revision + 1 + BARE_COMMIT)
        with connection:
            rows = [(key, key, now, now, str(uuid_utils.uuid7()), now, PAYLOAD) for key in keys]
            connection.executemany(_INSERT, rows)
        for step, statement in enumerate((_LEASE, _FINISH), 1):
            with connection:
                connection.executemany(statement, [(key, key + step * BARE_COMMIT, now) for key in keys])
        revision += 3 * BARE_COMMIT
    cost = Cost((time.perf_counter() - wall) / JOBS * 1e6, (time.process_time() - cpu) / JOBS * 1e6)
    connection.close()
    return cost


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
            bare = bare_round(folder)
        for costs, cost in zip(found.values(), (submit, drain, bare), strict=True):
            costs.append(cost)
        ratios.append(bare.wall_us / drain.wall_us)
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
