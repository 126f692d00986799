"""W1: what a job costs the worker process: no-op handlers, against a server that costs its own core nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import uvloop

from bench.figure import Figure, Trial
from bench.server import tireless
from jobwire import App
from jobwire.settings import Settings
from jobwire.worker.handler import Handler
from jobwire.worker.runtime import WorkerRuntime
from jobwire.worker.stream.transport import StreamTransport

SECONDS = 2.0
SLOTS = 256


class Cost(NamedTuple):
    """What a worker did in the time."""

    jobs_per_second: float
    cpu_us_per_job: float


class Counter:
    """Handlers that count their calls (those in threads may miss a few)."""

    def __init__(self) -> None:
        self.calls = 0
        self._app = App("bench")

    def asynchronous(self) -> Mapping[str, Handler[..., Any]]:
        """An `async def`."""

        @self._app.job("bench.noop")
        async def noop() -> None:
            self.calls += 1

        return self._app.handlers

    def threaded(self) -> Mapping[str, Handler[..., Any]]:
        """A `def`."""

        @self._app.job("bench.noop")
        def noop() -> None:
            self.calls += 1

        return self._app.handlers


def measure(trial: Trial) -> Figure:
    """CPU time of this process, all its threads, over the jobs that it ran."""
    costs: dict[str, Cost] = {}
    seconds = trial.seconds(SECONDS)
    with tireless(trial.folder) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for name, slots in (("async", SLOTS), ("thread", SLOTS), ("async", 16)):
            counter = Counter()
            handlers = counter.asynchronous() if name == "async" else counter.threaded()
            costs[f"{name}, {slots} slots"] = runner.run(_cost(server.address, counter, handlers, slots, seconds))
    first = costs[f"async, {SLOTS} slots"]
    return Figure(
        value=round(first.cpu_us_per_job, 1),
        unit="us of CPU per job in the worker process",
        reach="at most 20 us of CPU a job (multiplied by the canary), and 40,000 jobs/s (over the canary)",
        reached=first.cpu_us_per_job * trial.canary <= 20 and first.jobs_per_second / trial.canary >= 40_000,
        method=(
            f"Work stream on a Unix socket, a scripted server in another process that acks after 3 ms, {seconds:g} s "
            "each, prefetch by the pace"
        ),
        durability="none: no store takes part",
        details=[
            f"{name}: {cost.cpu_us_per_job:.1f} us, {cost.jobs_per_second:,.0f} jobs/s" for name, cost in costs.items()
        ],
    )


async def _cost(
    address: str, counter: Counter, handlers: Mapping[str, Handler[..., Any]], slots: int, length: float
) -> Cost:
    transport = StreamTransport(Settings(address=address))
    runtime = WorkerRuntime(transport=transport, handlers=handlers, slots=slots, worker_id="bench")
    await runtime.start()
    await runtime.resume()
    await asyncio.sleep(length / 4)  # until the prefetch has found its size
    calls, cpu, begin = counter.calls, time.process_time(), time.perf_counter()
    await asyncio.sleep(length)
    calls, cpu, seconds = counter.calls - calls, time.process_time() - cpu, time.perf_counter() - begin
    await runtime.drain(1)
    await runtime.stop()
    return Cost(calls / seconds, cpu / calls * 1e6)
