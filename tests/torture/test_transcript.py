"""The same program for both clients: through a hundred cuts and restarts they write the same record."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from jobwire import AsyncClient, Client, JobEvent, JobState, WatchCursor
from tests.helpers.processes import ServerProcess
from tests.helpers.proxy import Fault, Proxy
from tests.torture.campaign import own_loopback

JOBS: Final = 200
DISTURBANCES: Final = 100
RESTART_SHARE: Final = 0.1
FAULTS: Final = (Fault.RESET, Fault.RESET, Fault.CUT_REPLY, Fault.MUTE, Fault.FREEZE, Fault.DELAY)
APART_SECONDS: Final = 0.2
"""From the start of one job to that of the next, so that they last as long as the disturbances do."""


class Record(NamedTuple):
    """What one program saw."""

    events: list[str]
    results: list[Any]


class World:
    """One server that dies and comes back, and a proxy in front of it for each program."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = f"{own_loopback()}:0"
        self._server: ServerProcess | None = None
        self.proxies: list[Proxy] = []

    async def start(self) -> None:
        """Begin a life on the same file and address as the last one."""
        command = ["dev", "--db", str(self._folder / "jobs.db"), "--listen", self.address, "--slots", "8"]
        self._server = ServerProcess(command, log=self._folder / "server.log")
        self.address = await self._server.expect_ready()

    async def kill(self) -> None:
        """End it without a word."""
        assert self._server is not None
        self._server.send(signal.SIGKILL)
        await self._server.destroy()

    async def proxied(self) -> str:
        """Put another proxy in front; its address."""
        proxy = Proxy(self.address)
        await proxy.open(own_loopback())
        self.proxies.append(proxy)
        return proxy.address

    async def disturb(self, chance: random.Random, count: int) -> dict[str, int]:
        """Cut off, hold up, or kill, again and again; how often each was done."""
        done: dict[str, int] = {}
        for _ in range(count):
            if chance.random() < RESTART_SHARE:
                await self.kill()
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                await self.start()
                what = "restart"
            else:
                proxy, fault = chance.choice(self.proxies), chance.choice(FAULTS)
                proxy.set(fault)
                await asyncio.sleep(chance.uniform(0.02, 0.4))
                proxy.set(Fault.RESET)
                what = str(fault)
            done[what] = done.get(what, 0) + 1
        return done

    async def close(self) -> None:
        """End everything."""
        await asyncio.gather(*(proxy.close() for proxy in self.proxies))
        if self._server is not None:
            await self._server.destroy()


@asynccontextmanager
async def living(folder: Path) -> AsyncIterator[World]:
    """A world whose server serves."""
    world = World(folder)
    try:
        await world.start()
        yield world
    finally:
        await world.close()


class Plan(NamedTuple):
    """What both programs are told: the same jobs, and the place in the log before them."""

    start: datetime
    after: WatchCursor

    def at(self, number: int) -> datetime:
        """When a job is due."""
        return self.start + timedelta(seconds=APART_SECONDS * number)


def line(event: JobEvent) -> str:
    """An event, as the record has it."""
    status = event.status
    return f"{event.revision} {event.job_id} {event.event_type} {status.state} {status.attempt}"


def sync_program(address: str, plan: Plan) -> Record:
    """Submit jobs, watch them until all have ended, read their results."""
    with Client(address, deadline="60s") as client:
        handles = [client.submit("sleep", 0.1, job_id=f"job-{n}", key=f"key-{n}", at=plan.at(n)) for n in range(JOBS)]
        ids = [handle.id for handle in handles]
        events = [line(event) for event in client.watch(job_ids=ids, after=plan.after, until_all_terminal=True)]
        return Record(events, [handle.result(timeout="60s") for handle in handles])


async def async_program(address: str, plan: Plan) -> Record:
    """Do the same."""
    async with AsyncClient(address, deadline="60s") as client:
        handles = [
            await client.submit("sleep", 0.1, job_id=f"job-{n}", key=f"key-{n}", at=plan.at(n)) for n in range(JOBS)
        ]
        ids = [handle.id for handle in handles]
        events = [line(event) async for event in client.watch(job_ids=ids, after=plan.after, until_all_terminal=True)]
        return Record(events, [await handle.result(timeout="60s") for handle in handles])


def check_one(record: Record) -> None:
    """No gap, no repetition: revisions rise, and each job has one first and one last event."""
    parts = [event.split() for event in record.events]
    revisions = [int(revision) for revision, *_ in parts]
    assert revisions == sorted(set(revisions))
    jobs = {f"job-{n}" for n in range(JOBS)}
    assert {job_id for _, job_id, kind, *_ in parts if kind == "CREATED"} == jobs
    ended = [job_id for _, job_id, _, state, _ in parts if state == JobState.COMPLETED]
    assert (len(ended), set(ended)) == (JOBS, jobs)
    assert record.results == [{"slept": 0.1}] * JOBS


def first_difference(records: Sequence[Record]) -> str:
    """Where two records part, for whoever has to find out why."""
    ours, theirs = (record.events for record in records)
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return f"event {number}: {one!r} and {other!r}"
    return f"{len(ours)} and {len(theirs)} events"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.asyncio
async def test_both_clients_write_the_same_record_through_a_hundred_cuts_and_restarts(
    tmp_path: Path, seed: int, tell: Callable[[str], None]
) -> None:
    async with living(tmp_path) as world:
        async with AsyncClient(world.address) as client:
            after = (await client.server_info()).current
        assert after is not None
        plan = Plan(datetime.now(UTC) + timedelta(seconds=3), after)
        async with asyncio.TaskGroup() as group:
            sync = group.create_task(asyncio.to_thread(sync_program, await world.proxied(), plan))
            aio = group.create_task(async_program(await world.proxied(), plan))
            done = await world.disturb(random.Random(f"{seed} transcript"), DISTURBANCES)
        records = sync.result(), aio.result()

        for record in records:
            check_one(record)
        assert records[0] == records[1], first_difference(records)
        undisturbed = await async_program(world.address, plan)
        assert undisturbed == records[0], first_difference((undisturbed, records[0]))
        tell(f"{len(records[0].events)} events of {JOBS} jobs, the same for both; {done}; "
             f"{[proxy.connections for proxy in world.proxies]} connections")  # fmt: skip
