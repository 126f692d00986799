"""What it costs that the writers of a PostgreSQL store follow one another (docs/adr/0019).


One and two servers (processes) submit and drain jobs of their own, in batches of 1,000 and frames of 250, and by single
calls of 64 callers; once as the driver does it, and once with revisions from a sequence and no lock at all. The second
is wrong (watchers miss events), and faster than any right way could be: what it gains is the most that could be gained.
Run it as `python -m bench.postgres_order`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import psycopg
import uuid_utils

from bench.figure import canary
from jobwire_server.domain.job import SECOND_US, Content, NewJob
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import Lane, LeaseRequest, Owner, Report, Submission, Transport
from jobwire_server.store.postgres.store import PostgresStore
from tests.helpers.postgres import PostgresServer

JOBS: Final = 20_000
SINGLE_JOBS: Final = 4_000
BATCH, FRAME, CALLERS = 1_000, 250, 64
NO_ORDER: Final = """
CREATE SEQUENCE jobwire.stretch INCREMENT 100000 MINVALUE 100000;
CREATE OR REPLACE FUNCTION jobwire.enter_write(lock_ms integer, statement_ms integer, idle_ms integer)
RETURNS TABLE (epoch text, revision bigint, compacted bigint, now_us bigint) LANGUAGE plpgsql AS $$ BEGIN
  PERFORM jobwire.enter(statement_ms, idle_ms);
  RETURN QUERY SELECT m.epoch, nextval('jobwire.stretch'), m.compacted, jobwire.now_us() FROM jobwire.meta AS m;
END $$;
"""


def _job(kind: str) -> NewJob:
    return NewJob(str(uuid_utils.uuid7()), False, kind, payload=Content(b"x" * 100))


async def _submit(store: PostgresStore, kind: str) -> None:
    batches = iter([[_job(kind) for _ in range(BATCH)] for _ in range(JOBS // BATCH)])

    async def caller() -> None:
        for batch in batches:
            await store.submit(Submission("default", batch))

    await _crowd(caller, 4)


async def _submit_one_by_one(store: PostgresStore, kind: str) -> None:
    jobs = iter([_job(kind) for _ in range(SINGLE_JOBS)])

    async def caller() -> None:
        for job in jobs:
            await store.submit(Submission("default", [job]))

    await _crowd(caller, CALLERS)


async def _drain(store: PostgresStore, kind: str) -> None:
    owner = Owner("bench", kind, Transport.STREAM)
    request = LeaseRequest(owner, [Lane("default", kind)], FRAME, 600 * SECOND_US)
    leases = await store.lease(request)
    while leases:
        async with asyncio.TaskGroup() as group:
            group.create_task(store.report([Report(lease.key, lease.fence, Succeeded()) for lease in leases]))
            following = group.create_task(store.lease(request))
        leases = following.result()


async def _crowd(caller: Callable[[], Awaitable[None]], size: int) -> None:
    async def call() -> None:
        await caller()

    async with asyncio.TaskGroup() as group:
        for _ in range(size):
            group.create_task(call())


def _serve(url: str, kind: str, gate: Any, results: Any) -> None:
    """One server's life, each part begun together with the other's."""
    sys.setswitchinterval(1e-4)

    async def live() -> list[float]:
        store = PostgresStore(url, clock=SystemClock(), chance=random.random)
        await store.open()
        seconds = []
        for part, jobs in ((_submit, JOBS), (_drain, JOBS), (_submit_one_by_one, SINGLE_JOBS)):
            gate.wait()
            begun = time.perf_counter()
            await part(store, kind)
            seconds.append(jobs / (time.perf_counter() - begun))
        await store.close()
        return seconds

    results.put(asyncio.run(live()))


def _round(server: PostgresServer, servers: int, *, ordered: bool) -> list[float]:
    database = server.empty_database()
    url = server.url(database)
    asyncio.run(_make(url))
    if not ordered:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(NO_ORDER, prepare=False)
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(servers), context.Queue()
    processes = [
        context.Process(target=_serve, args=(url, f"kind-{number}", gate, results)) for number in range(servers)
    ]
    for process in processes:
        process.start()
    rates = [results.get() for _ in processes]
    for process in processes:
        process.join()
    server.drop(database)
    return [sum(column) for column in zip(*rates, strict=True)]


async def _make(url: str) -> None:
    store = PostgresStore(url, clock=SystemClock(), chance=random.random)
    await store.open()
    await store.close()


def main() -> None:
    """Alternate the ways, and print the best of three rounds each."""
    server = PostgresServer(place=Path(tempfile.gettempdir()), max_wal_size="4GB", shared_buffers="512MB")
    best: dict[tuple[int, bool], list[float]] = {}
    try:
        for _ in range(3):
            for servers in (1, 2):
                for ordered in (True, False):
                    rates = _round(server, servers, ordered=ordered)
                    before = best.get((servers, ordered), rates)
                    best[servers, ordered] = [max(pair) for pair in zip(before, rates, strict=True)]
    finally:
        server.stop()
    print(f"canary {canary():.2f}; jobs/s, best of 3 rounds, synced commits")
    print(f"{'':<34}{'submit':>10}{'drain':>10}{'single':>10}")
    for (servers, ordered), rates in sorted(best.items()):
        name = f"{servers} server{'s' if servers > 1 else ''}, {'one lock' if ordered else 'no order (wrong)'}"
        print(f"{name:<34}" + "".join(f"{rate:>10,.0f}" for rate in rates))


if __name__ == "__main__":
    main()
