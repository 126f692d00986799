"""P9: AsyncClient.submit by 64 concurrent tasks, which the client merges into batches."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from statistics import median

from bench.figure import Figure, Trial, percentile
from bench.load import PAYLOAD
from bench.server import serving
from jobwire import AsyncClient, Client

TASKS = 64
ROUNDS = 5
SECONDS = 3.0
FLOOR = 20_000
LONE_CALLS = 300
JOB_TYPE = "bench.unserved"


def measure(trial: Trial) -> Figure:
    """The median of the rounds counts; beside it what threads of a sync client reach, and what a lone submit costs."""
    seconds = trial.seconds(SECONDS)
    with serving(trial.folder) as server:
        rates = [asyncio.run(_tasks_rate(server.address, seconds)) for _ in range(ROUNDS)]
        threads = _threads_rate(server.address, seconds)
        lone = asyncio.run(_lone_ms(server.address, trial.count(LONE_CALLS)))
    rate = median(rates)
    judged = rate / trial.canary
    return Figure(
        value=round(rate),
        unit="jobs/s",
        reach="at least 20,000 jobs/s (divided by the canary)",
        reached=judged >= FLOOR,
        method=f"{TASKS} tasks in one process, each submits one job after the other by AsyncClient.submit, payload a "
        f"JSON text of 100 bytes; {ROUNDS} rounds of {seconds:g} s",
        details=[
            f"rate over canary {judged:,.0f} jobs/s; rounds {[round(one) for one in rates]}",
            f"{TASKS} threads with one Client: {threads:,.0f} jobs/s",
            f"a lone submit on an idle client: p50 {percentile(lone, 0.5):.2f} ms, p99 {percentile(lone, 0.99):.2f} ms",
        ],
    )


async def _tasks_rate(address: str, seconds: float) -> float:
    """Jobs per second, after a warm-up of a fifth of the time."""
    done = count()
    end = time.perf_counter() + seconds * 1.2
    async with AsyncClient(address) as client:

        async def submitter() -> None:
            while time.perf_counter() < end:
                await client.submit(JOB_TYPE, PAYLOAD)
                next(done)

        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(submitter())
            await asyncio.sleep(seconds * 0.2)
            before, begin = next(done), time.perf_counter()
            await asyncio.sleep(seconds)
            return (next(done) - before - 1) / (time.perf_counter() - begin)


def _threads_rate(address: str, seconds: float) -> float:
    done = count()
    stopped = threading.Event()

    def submitter(client: Client) -> None:
        while not stopped.is_set():
            client.submit(JOB_TYPE, PAYLOAD)
            next(done)

    with Client(address) as client, ThreadPoolExecutor(TASKS) as pool:
        running = [pool.submit(submitter, client) for _ in range(TASKS)]
        time.sleep(seconds * 0.2)
        before, begin = next(done), time.perf_counter()
        time.sleep(seconds)
        rate = (next(done) - before - 1) / (time.perf_counter() - begin)
        stopped.set()
        for one in running:
            one.result()
    return rate


async def _lone_ms(address: str, calls: int) -> list[float]:
    times = []
    async with AsyncClient(address) as client:
        for _ in range(calls):
            begin = time.perf_counter()
            await client.submit(JOB_TYPE, PAYLOAD)
            times.append((time.perf_counter() - begin) * 1e3)
    return times
