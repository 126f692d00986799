"""A server that dies with two thousand leases in the hands of remote workers, and comes back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from jobwire.aio import AsyncClient
from jobwire.app import App
from jobwire.settings import Settings
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from jobwire.worker.stream.transport import StreamTransport
from jobwire_server.domain.job import State
from tests.helpers import fsck
from tests.helpers.image import Event, Image
from tests.helpers.proxy import Fault, Proxy
from tests.torture.campaign import Campaign, own_loopback

WORKERS: Final = 20
HELD: Final = 2_000
SLOTS: Final = 120
"""Of each worker: there is room for what is held, and for what comes and goes."""
STEADY_BATCH: Final = 10
STEADY_PAUSE_SECONDS: Final = 0.1
STEADY_SECONDS: Final = 5.0
SECOND_US: Final = 1_000_000
HERD: Final = 2.0
"""Most by which the claims of a second after the restart may exceed those of a second before."""
PATIENCE_SECONDS: Final = 120.0


class Crowd:
    """Remote workers, all in this process: each with a stream and a loop of handlers of its own. Handlers wait to be
    let go."""

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self.all_held: Future[None] = Future()
        self.let_go: Future[None] = Future()
        self.app = App("crowd")
        self.app.job("hold")(self._hold)
        self.app.job("steady")(self._pass)

    async def _hold(self) -> str:
        if next(self._count) == HELD:
            self.all_held.set_result(None)
        await asyncio.shield(asyncio.wrap_future(self.let_go))
        return "held"

    async def _pass(self) -> None:
        await asyncio.sleep(0.02)

    @asynccontextmanager
    async def at_work(self, name: str, addresses: Sequence[str]) -> AsyncIterator[None]:
        """One worker for each address."""
        async with AsyncExitStack() as stack:
            for number, address in enumerate(addresses):
                runtime = WorkerRuntime(
                    transport=StreamTransport(Settings(address=address, origin="argument")),
                    handlers=self.app.handlers,
                    slots=SLOTS,
                    worker_id=f"{name}-{number}",
                    settings=RuntimeSettings(prefetch=0),
                )
                await runtime.start()
                stack.push_async_callback(runtime.stop)
                await runtime.resume()
            yield


async def submit_steadily(client: AsyncClient, stop: asyncio.Event) -> None:
    """Submit a few jobs at a time, at an even pace; while the server is away, wait for it and make up for nothing."""
    number = 0
    while not stop.is_set():
        number += 1
        jobs = [("steady", None)] * STEADY_BATCH
        await client.submit_many(
            jobs, atomic=True, key=f"steady-{number}", deadline=timedelta(seconds=PATIENCE_SECONDS)
        )
        await asyncio.sleep(STEADY_PAUSE_SECONDS)


def claims(image: Image, *, after: int = 0, until: int | None = None) -> list[Event]:
    """Leases granted in a range of revisions."""
    return [
        event
        for event in image.events
        if event.state == State.PROCESSING
        and event.previous_state == State.PENDING
        and after < event.revision <= (image.revision if until is None else until)
    ]


def most_in_a_second(events: Sequence[Event]) -> int:
    """The greatest number of events in any second."""
    times = [event.time_us for event in events]
    first, most = 0, 0
    for last, time_us in enumerate(times):
        while times[first] <= time_us - SECOND_US:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.asyncio
async def test_held_leases_go_on_lost_assignments_return_at_once_and_no_herd_comes(
    tmp_path: Path, seed: int, tell: Callable[[str], None]
) -> None:
    campaign = Campaign(tmp_path, seed, app=None, options=("--grace", "2s"))
    server = await campaign.start()
    proxy, crowd, stop = Proxy(campaign.address), Crowd(), asyncio.Event()
    await proxy.open(own_loopback())
    try:
        async with (
            asyncio.timeout(4 * PATIENCE_SECONDS),
            AsyncClient(campaign.address) as client,
            crowd.at_work("worker", [campaign.address] * WORKERS),
        ):
            held = await client.submit_many([("hold", None)] * (HELD // 2))
            held += await client.submit_many([("hold", None)] * (HELD // 2))
            await asyncio.wrap_future(crowd.all_held)
            async with crowd.at_work("late", [proxy.address]), asyncio.TaskGroup() as tasks:
                tasks.create_task(submit_steadily(client, stop))
                await server.wait(STEADY_SECONDS)
                proxy.set(Fault.MUTE)
                await server.wait(1.0)
                await campaign.kill(server, "with all leases in the hands of workers")
                proxy.set(Fault.RESET)
                server = await campaign.start()
                await server.wait(STEADY_SECONDS)
                stop.set()
            crowd.let_go.set_result(None)
            for each in held:
                assert each.handle is not None
                await each.handle.wait(timeout=timedelta(seconds=PATIENCE_SECONDS))
        await campaign.finish(server)
    finally:
        await proxy.close()
        await campaign.close()
    _judge(campaign, tell)


def _judge(campaign: Campaign, tell: Callable[[str], None]) -> None:
    before, after = campaign.images
    hold = [row for row in after.rows.values() if row.type == "hold"]
    assert [(row.state, row.attempt, row.fence) for row in hold] == [(State.COMPLETED, 1, 1)] * HELD
    running = {row.key for row in before.rows.values() if row.state == State.PROCESSING and row.type == "steady"}
    returned = [
        event
        for event in after.events
        if event.revision > before.revision
        and event.key in running
        and event.state == State.PENDING
        and event.previous_state == State.PROCESSING
    ]
    assert returned, "no assignment was lost on its way"
    assert all(event.attempt == 0 for event in returned)
    assert all(row.state == State.COMPLETED and row.attempt == 1 for row in after.rows.values())

    steady = [event for event in claims(before) if event.type == "steady"]
    rate = len(steady) * SECOND_US / (steady[-1].time_us - steady[0].time_us)
    rush = most_in_a_second(claims(after, after=before.revision))
    tell(f"{HELD} leases went on, {len(returned)} assignments that were never received came back")
    tell(f"{rate:.0f} claims/s before the kill, at most {rush} in a second after the restart")
    assert rush <= HERD * rate
    fsck.check(campaign.database)
