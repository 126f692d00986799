"""P7: P1 with 1,000 idle watchers open, and what a watcher costs in memory."""

from __future__ import annotations

import asyncio
import contextlib
from statistics import median

import grpc

from bench.figure import Figure, Trial
from bench.load import SUBMIT, submit_request, unary_rate
from bench.server import Server, serving
from bench.turns import beside
from jobwire.v1 import job_service_pb2
from jobwire.v1.job_service_pb2_grpc import JobServiceStub

WATCHERS = 1_000
CHANNELS = 10
ROUNDS = 5
SECONDS = 3.0


def measure(trial: Trial) -> Figure:
    """Alternate rounds with and without the watchers, which wait for a type that nobody submits."""
    watchers, seconds = trial.count(WATCHERS), trial.seconds(SECONDS)
    with serving(trial.folder) as server:
        ratios, memory = asyncio.run(compare(server, watchers, seconds))
    value = round(median(ratios), 2)
    per_watcher = max(memory)
    return Figure(
        value=value,
        unit="x the rate without watchers",
        reach="at least 0.80 x, at most 64 KiB a watcher",
        reached=value >= 0.80 and per_watcher <= 64,
        method=f"{watchers} WatchJobs streams over {CHANNELS} connections; {ROUNDS} rounds of {seconds:g} s in turns",
        details=[f"ratios {[round(one, 2) for one in ratios]}; {per_watcher:.1f} KiB resident a watcher"],
    )


async def compare(server: Server, watchers: int, seconds: float) -> tuple[list[float], list[float]]:
    """Rates with the watchers over the mean of those without, before and after; and KiB a watcher; by round."""
    watched, memory = [], []
    await unary_rate(server.address, SUBMIT, submit_request, callers=64, seconds=1)
    alone = [await unary_rate(server.address, SUBMIT, submit_request, callers=64, seconds=seconds)]
    for _ in range(ROUNDS):
        before = server.rss_mib()
        async with contextlib.AsyncExitStack() as stack:
            await _open_watchers(server.address, watchers, stack)
            memory.append((server.rss_mib() - before) * 1024 / watchers)
            watched.append(await unary_rate(server.address, SUBMIT, submit_request, callers=64, seconds=seconds))
        alone.append(await unary_rate(server.address, SUBMIT, submit_request, callers=64, seconds=seconds))
    return [*beside(watched, alone)], memory


async def _open_watchers(address: str, watchers: int, stack: contextlib.AsyncExitStack) -> None:
    request = job_service_pb2.WatchJobsRequest()
    request.filter.types.append("bench.nobody")
    for number in range(CHANNELS):
        options = [("bench.channel", number)]
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
        stub = JobServiceStub(channel)
        for _ in range(watchers // CHANNELS):
            call = stub.WatchJobs(request)
            stack.callback(call.cancel)
            await call.read()
