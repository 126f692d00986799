"""Three servers on one PostgreSQL, and everything between them and it breaks: sessions are ended, answers to COMMITs
are lost, the database is killed. In the end nothing is lost, stuck or doubled, and the log is whole."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Failed, Succeeded
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.audit import Log
from jobwire_server.store.base import JobEvent, Lease, LeaseRequest, Owner, Report, ReportCode, Submission, Transport
from jobwire_server.store.postgres.store import PostgresSettings, PostgresStore
from tests.helpers import fsck
from tests.helpers.factories import new_job
from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_proxy import PostgresProxy
from tests.helpers.stores import ERROR, WORK

T = TypeVar("T")

SCALE = int(os.environ.get("SCALE") or 1)
SERVERS, CLIENTS, WORKERS = 3, 6, 6
JOBS_OF_A_CLIENT = 60 * SCALE
FAULTS = {"lost commit": 40 * SCALE, "cut": 15 * SCALE, "kill": 4 * SCALE}
LEASE_US = 3_000_000
PAUSE_SECONDS = 0.02


class World:
    """The database, the ways to it, and the servers; and what was promised to whom."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.database = PostgresServer()
        self.name = self.database.empty_database()
        url = self.database.url(self.name)
        self.proxies = [PostgresProxy(folder / str(number), self.database.folder) for number in range(SERVERS)]
        self.stores = [
            PostgresStore(
                url.replace(str(self.database.folder), str(proxy.folder)),
                clock=SystemClock(),
                chance=self.chance.random,
                settings=PostgresSettings(poll_us=50_000, notify=number > 0),  # one of them hears nothing
            )
            for number, proxy in enumerate(self.proxies)
        ]
        self.promised: dict[str, str] = {}
        """Job ids by request id: what a client was told."""
        self.recorded: Counter[int] = Counter()
        """Reports that were answered RECORDED, by job."""
        self.working = CLIENTS

    async def patiently(self, ask: Callable[[PostgresStore], Awaitable[T]]) -> T:
        """Ask one server or another until there is an answer, as a client does."""
        while True:
            try:
                return await ask(self.chance.choice(self.stores))
            except StoreUnavailable:
                await asyncio.sleep(PAUSE_SECONDS)

    # --- those who ask ----------------------------------------------------------------------------------------

    async def client(self, number: int) -> None:
        """Submit jobs, each under a key, until each is acknowledged."""
        for job in range(JOBS_OF_A_CLIENT):
            key = f"{number}-{job}"
            submission = Submission("default", [new_job(request_id=key, fingerprint=b"f")])
            receipt = await self.patiently(lambda store, what=submission: store.submit(what))  # type: ignore[misc]
            self.promised[key] = receipt.answers[0].job_id
        self.working -= 1

    async def worker(self, number: int) -> None:
        """Lease at one server and report to another, until everything is done."""
        owner = Owner(f"worker-{number}", f"instance-{number}", Transport.UNARY)
        while True:
            leases = await self.patiently(lambda store: store.lease(LeaseRequest(owner, [WORK], 5, LEASE_US)))
            for lease in leases:
                await self.finish(lease)
            if not leases:
                if not self.working and await self.patiently(_unfinished) == 0:
                    return
                await asyncio.sleep(PAUSE_SECONDS)

    async def finish(self, lease: Lease) -> None:
        """Report how it ended; some fail at first."""
        outcome = Failed(ERROR, 0) if lease.attempt == 1 and lease.key % 5 == 0 else Succeeded()
        report = Report(lease.key, lease.fence, outcome)
        [answer] = await self.patiently(lambda store: store.report([report]))
        if answer.code is ReportCode.RECORDED and isinstance(outcome, Succeeded):
            self.recorded[lease.key] += 1

    async def sweeps(self) -> None:
        """Every server sweeps, as in life."""
        while True:
            for sweep in ("expire_leases", "promote_due"):
                await self.patiently(lambda store, name=sweep: getattr(store, name)(limit=100))  # type: ignore[misc]
            await asyncio.sleep(0.1)

    async def watcher(self, seen: list[JobEvent]) -> None:
        """Follow the log, now at this server, now at that."""
        while True:
            cursor = seen[-1].revision if seen else 0
            seen += await self.patiently(lambda store, after=cursor: store.events(after=after, limit=200))  # type: ignore[misc]
            await asyncio.sleep(PAUSE_SECONDS)

    async def faults(self) -> None:
        """Break things, in an order that the seed decides."""
        kinds = [kind for kind, count in FAULTS.items() for _ in range(count)]
        self.chance.shuffle(kinds)
        for kind in kinds:
            await asyncio.sleep(self.chance.uniform(0.02, 0.15))
            match kind:
                case "lost commit":
                    self.chance.choice(self.proxies).lose_commits(1)
                case "cut":
                    await asyncio.to_thread(self.database.cut, self.name)
                case _:
                    await asyncio.to_thread(self.database.kill)
                    await asyncio.to_thread(self.database.start)


async def _unfinished(store: PostgresStore) -> int:
    counts = (await store.counts()).by_state
    return sum(count for state, count in counts.items() if state is not State.COMPLETED)


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.timeout(300 * SCALE)
async def test_nothing_is_lost_stuck_or_doubled_while_everything_breaks(
    tmp_path: Path, seed: int, tell: Callable[[str], None]
) -> None:
    world = await asyncio.to_thread(World, tmp_path, seed)
    seen: list[JobEvent] = []
    try:
        for store in world.stores:
            await store.open()
        await _live(world, seen)
        async for rest in _rest_of_log(world, seen):
            seen += rest
        tell(_judge(world, seen))
    finally:
        for store in world.stores:
            await store.close()
        for proxy in world.proxies:
            proxy.close()
        await asyncio.to_thread(world.database.stop)


async def _live(world: World, seen: list[JobEvent]) -> None:
    async with asyncio.TaskGroup() as forever:
        company = [forever.create_task(world.sweeps()), forever.create_task(world.watcher(seen))]
        async with asyncio.TaskGroup() as group:
            group.create_task(world.faults())
            for number in range(CLIENTS):
                group.create_task(world.client(number))
            for number in range(WORKERS):
                group.create_task(world.worker(number))
        for task in company:
            task.cancel()


async def _rest_of_log(world: World, seen: list[JobEvent]) -> Any:
    while True:
        cursor = seen[-1].revision if seen else 0
        rest = await world.patiently(lambda store, after=cursor: store.events(after=after, limit=1000))  # type: ignore[misc]
        if not rest:
            return
        yield rest


def _judge(world: World, seen: list[JobEvent]) -> str:
    """Hold what the database has to what was promised, and to its own log; return what was seen."""
    lost = sum(proxy.commits_lost for proxy in world.proxies)
    assert lost >= FAULTS["lost commit"] // 2, "the faults did not hit"

    def sql(statement: str) -> list[tuple[Any, ...]]:
        return world.database.read(world.name, statement)

    jobs = dict(sql("SELECT id, state FROM job"))
    assert len(world.promised) == CLIENTS * JOBS_OF_A_CLIENT
    assert len(set(world.promised.values())) == len(world.promised), "two requests were told of one job"
    assert set(jobs) == set(world.promised.values()), "a job was lost, or made twice"
    assert set(jobs.values()) == {int(State.COMPLETED)}
    assert max(world.recorded.values()) == 1, "two successes were recorded for one job"
    revisions = [event.revision for event in seen]
    assert revisions == [revision for (revision,) in sql("SELECT revision FROM event ORDER BY revision")]
    fsck.check_rows(sql, Log(0, 0))
    faults = ", ".join(f"{count} × {kind}" for kind, count in FAULTS.items())
    return f"{len(jobs)} jobs, {len(seen)} events; {faults}; {lost} answers to COMMITs kept back"
