"""Networks that delay, freeze, cut and reset, between remote workers and their server."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from jobwire_server.domain.job import State
from tests.helpers.history import read_effects
from tests.helpers.proxy import Fault, Proxy
from tests.torture.campaign import Campaign, own_loopback, wait_until_all_ended
from tests.torture.clients import WIRE_TYPES
from tests.torture.remote import PATIENCE_SECONDS, RemoteWorker, start_worker, submit_long_jobs, workers
from tests.torture.test_zombies import told

WORKERS: Final = 4
FAULTS: Final = 120
LEASE_SECONDS: Final = 2.0
SILENCE_SECONDS: Final = 45.0
"""A worker that sees no frame of its server for so long connects again (docs/reference/protocol.md)."""
MARGIN_SECONDS: Final = 30.0
"""For a machine that is busy with other things."""


@asynccontextmanager
async def workers_behind_proxies(campaign: Campaign, count: int) -> AsyncIterator[list[tuple[Proxy, RemoteWorker]]]:
    """Workers, each with a proxy of its own between itself and the server."""
    async with AsyncExitStack() as stack:
        pairs = []
        for number in range(count):
            proxy = Proxy(campaign.address)
            await proxy.open(own_loopback())
            stack.push_async_callback(proxy.close)
            worker = await start_worker(campaign, f"worker-{number}", address=proxy.address)
            stack.push_async_callback(worker.destroy)
            pairs.append((proxy, worker))
        yield pairs
        for proxy, _ in pairs:
            proxy.set(Fault.PASS)
        await asyncio.gather(*(worker.end() for _, worker in pairs))


async def disturb(campaign: Campaign, proxies: Sequence[Proxy], faults: int) -> None:
    """Another fault at some proxy every few hundred milliseconds."""
    chance = random.Random(f"{campaign.seed} network")
    for _ in range(faults):
        proxy = chance.choice(proxies)
        fault = chance.choice(list(Fault))
        proxy.set(fault)
        campaign.windows[str(fault)] += 1
        await asyncio.sleep(chance.uniform(0.1, 0.5))
    for proxy in proxies:
        proxy.set(Fault.RESET)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.asyncio
async def test_whatever_the_network_does_nothing_is_lost_and_nothing_runs_twice_without_a_lost_lease(
    tmp_path: Path, seed: int, scale: int, tell: Callable[[str], None]
) -> None:
    campaign = Campaign(tmp_path, seed, app=None, options=("--grace", "2s"), lease_seconds=LEASE_SECONDS, deaf=True)
    server = await campaign.start()
    try:
        async with (
            workers_behind_proxies(campaign, WORKERS) as pairs,
            campaign.clients(submitters=3, job_types=WIRE_TYPES, longest_ms=800, pace_seconds=0.1, meddling=False),
        ):
            await disturb(campaign, [proxy for proxy, _ in pairs], FAULTS * scale)
        await campaign.finish(server)
    finally:
        await campaign.close()
    tell(campaign.report())
    tell(told(campaign))
    assert campaign.verdict() == []
    assert campaign.known.count >= 100
    assert {str(fault) for fault in Fault} <= set(campaign.windows)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [Fault.FREEZE, Fault.MUTE])
async def test_a_frozen_connection_is_noticed_by_both_sides_in_the_time_that_the_contract_says(
    tmp_path: Path, seed: int, tell: Callable[[str], None], fault: Fault
) -> None:
    """The server: the job of a worker that it does not hear runs elsewhere after its lease and a turn of the sweep. The
    worker: it connects again when it saw no frame for 45 s.

    A worker whose words arrive is heard, and keeps its jobs, though it hears nothing itself (MUTE).
    """
    campaign = Campaign(tmp_path, seed, app=None, options=("--grace", "2s"), lease_seconds=LEASE_SECONDS, deaf=True)
    server = await campaign.start()
    try:
        async with workers_behind_proxies(campaign, 1) as [(proxy, _)], campaign.channel() as channel:
            await submit_long_jobs(campaign, channel, count=1, ms=1_000)
            await until_begun(campaign)
            seen = proxy.connections
            proxy.set(fault)
            frozen_at = time.monotonic()
            async with workers(campaign, 1, name="neighbour"):
                await wait_until_all_ended(channel)
            async with asyncio.timeout(SILENCE_SECONDS + MARGIN_SECONDS):
                await proxy.connected_after(seen)
            noticed_seconds = time.monotonic() - frozen_at
        await campaign.finish(server)
    finally:
        await campaign.close()
    [row] = campaign.images[-1].rows.values()
    tell(f"{fault}: the job ended in attempt {row.attempt}")
    tell(f"the worker connected again after {noticed_seconds:.1f} s; the bound is {SILENCE_SECONDS:g} s")
    assert campaign.verdict() == []
    assert (row.state, row.attempt) == (State.COMPLETED, 2 if fault is Fault.FREEZE else 1)


async def until_begun(campaign: Campaign) -> None:
    """Wait until a handler has begun."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not read_effects(campaign.effects):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
