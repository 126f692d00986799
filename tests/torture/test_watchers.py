"""A thousand watchers, a hundred of whom never read: all the others get everything, cut and resumed as they may be."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import psutil
import pytest

from jobwire.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from tests.torture.campaign import Campaign
from tests.torture.clients import RECONNECT_AT_ONCE, Watcher

WATCHERS: Final = 1000
NEVER_READ: Final = 100
CONNECTIONS: Final = 10
JOBS: Final = 200
CAUGHT_UP_SECONDS: Final = 90.0
WATCHER_BYTES: Final = 64 << 10
FILTERS: Final = ((), ("async",), ("thread",), ("child", "snoozy"), ("nobody-submits-this",))
WEIGHTS: Final = (3, 7, 20, 30, 40)


@asynccontextmanager
async def connections(address: str) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Connections of their own, not one that all share."""
    options = [*RECONNECT_AT_ONCE, ("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CONNECTIONS)]
        yield [await stack.enter_async_context(channel) for channel in channels]


async def open_and_never_read(channel: grpc.aio.Channel) -> Any:
    """A watch whose responses nobody takes."""
    stub: Any = job_service_pb2_grpc.JobServiceStub(channel)
    call = stub.WatchJobs(job_service_pb2.WatchJobsRequest(view=job_pb2.JOB_VIEW_FULL))
    await call.initial_metadata()
    return call


def resident_bytes(pid: int) -> int:
    """Memory that the server really uses."""
    return int(psutil.Process(pid).memory_info().rss)


async def standing(watchers: list[Watcher]) -> None:
    """Wait until every watch has its first cursor."""
    for watcher in watchers:
        await watcher.caught_up(0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.asyncio
async def test_a_thousand_watchers_get_everything_though_a_hundred_never_read(
    tmp_path: Path, seed: int, scale: int, tell: Callable[[str], None]
) -> None:
    campaign = Campaign(tmp_path, seed)
    chance = random.Random(seed)
    server = await campaign.start()
    try:
        async with connections(campaign.address) as channels, asyncio.TaskGroup() as tasks:
            before = resident_bytes(server.pid)
            idle = [await open_and_never_read(channels[n % CONNECTIONS]) for n in range(NEVER_READ)]
            watchers = [
                Watcher(
                    campaign.journal(f"healthy-{n}", channels[n % CONNECTIONS]),
                    lineage=f"healthy-{n}",
                    types=chance.choices(FILTERS, WEIGHTS)[0],
                    cut_chance=chance.choice([0.0, 0.01, 0.1]),
                    bookmark_seconds=10,
                )
                for n in range(WATCHERS - NEVER_READ)
            ]
            watching = [tasks.create_task(watcher.run()) for watcher in watchers]
            await standing(watchers)
            opened = resident_bytes(server.pid)
            async with campaign.clients():
                while campaign.known.count < JOBS * scale:
                    assert await server.wait(0.05) is None, "the server has ended"
            position = watchers[0].journal.stub.ListJobs
            newest = (await position(job_service_pb2.ListJobsRequest(page_size=1), timeout=10)).cursor.revision
            async with asyncio.timeout(CAUGHT_UP_SECONDS):
                for watcher in watchers:
                    await watcher.caught_up(newest)
            after = resident_bytes(server.pid)
            assert not any(call.done() for call in idle), "a watcher that does not read costs nothing and is left alone"
            for task in watching:
                task.cancel()
            for call in idle:
                call.cancel()
        await campaign.finish(server)
    finally:
        await campaign.close()
    tell(campaign.report())
    tell(f"memory: {(opened - before) / WATCHERS / 1024:.0f} KiB a watcher, then {(after - opened) >> 20} MiB more")
    assert campaign.verdict() == []
    assert opened - before <= WATCHERS * WATCHER_BYTES
