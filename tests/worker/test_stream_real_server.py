"""The worker runtime over the wire, at real servers: jobs are done, and survive the death of either side."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from jobwire.aio import AsyncClient
from jobwire.app import App, JobContext, current_job
from jobwire.models import JobState, RetryPolicy
from jobwire.settings import make_settings
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from jobwire.worker.stream.transport import StreamTransport
from tests.helpers.processes import ServerProcess
from tests.rpc.rig import RpcRig
from tests.worker.child_jobs import app as children
from tests.worker.support import Gate, until

pytestmark = pytest.mark.asyncio

SOON = RetryPolicy(initial_backoff=timedelta(milliseconds=1))


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="jw-") as name:  # tmp_path may be too long for a Unix socket
        yield Path(name)


@asynccontextmanager
async def at(address: str, app: App, **options: Any) -> AsyncIterator[WorkerRuntime]:
    """A worker of this app at a server."""
    settings = make_settings(
        address, {}, deadline="10s", patience=None, tries=None, tls=False, files=(None, None, None)
    )
    options.setdefault("slots", 4)
    runtime = WorkerRuntime(transport=StreamTransport(settings), handlers=app.handlers, worker_id="w", **options)
    await runtime.start()
    await runtime.resume()
    try:
        yield runtime
    finally:
        await runtime.drain(10)
        await runtime.stop()


class Server(ServerProcess):
    """One life of a server process, on the same file and socket as the others of the folder."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/s"
        super().__init__(["dev", "--db", str(folder / "jobs.db"), "--listen", self.address])


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[Server]:
    """Serve until the block ends."""
    process = Server(folder)
    try:
        await process.expect_ready()
        yield process
    finally:
        await process.destroy()


async def test_jobs_are_done_over_the_wire_and_results_come_back() -> None:
    app = App("test")

    @app.job("double")
    async def double(n: int) -> int:
        return 2 * n

    @app.job("half")
    def half(n: int) -> float:
        return n / 2

    async with RpcRig() as rig, AsyncClient(rig.address) as client, at(rig.address, app):
        results = await client.submit_many([("double" if n % 2 else "half", {"n": n}) for n in range(500)])
        values = [await result.unwrap().result(timeout="30s") for result in results]
        assert values == [2 * n if n % 2 else n / 2 for n in range(500)]


async def test_the_next_attempt_starts_from_the_checkpoint_of_the_one_before(folder: Path) -> None:
    app = App("test")

    @app.job("climb")
    def climb(ctx: JobContext) -> int:
        step = int(ctx.last_checkpoint.get("step", 0)) + 1
        ctx.checkpoint({"step": step})
        if step < 3:
            raise ValueError("slipped")
        return step

    async with server(folder) as process, AsyncClient(process.address) as client, at(process.address, app):
        handle = await client.submit("climb", retry=SOON)
        assert await handle.result(timeout="30s") == 3


async def test_a_cancelled_job_is_stopped_at_its_worker() -> None:
    app = App("test")
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    @app.job("wait")
    async def wait() -> None:
        loop.call_soon_threadsafe(begun.set)
        await asyncio.Event().wait()

    async with RpcRig() as rig, AsyncClient(rig.address) as client, at(rig.address, app):
        handle = await client.submit("wait")
        await begun.wait()
        await handle.cancel()
        assert (await client.wait(handle.id, timeout="30s")).status.state is JobState.CANCELLED


async def test_a_job_whose_process_died_is_lost_at_once_and_tried_again(folder: Path) -> None:
    with_children = {"app_path": "tests.worker.child_jobs:app"}
    async with (
        server(folder) as process,
        AsyncClient(process.address) as client,
        at(process.address, children, **with_children),
    ):
        handle = await client.submit("exit", 3, retry=replace(SOON, max_attempts=2))
        job = await client.wait(handle.id, timeout="20s")  # less than a lease
        assert job.status.state is JobState.FAILED
        assert job.status.attempt == 2
        assert job.status.last_error is not None
        assert job.status.last_error.type == "LEASE_LOST"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_job_that_runs_while_its_server_dies_and_returns_is_done_once(
    folder: Path, number: signal.Signals
) -> None:
    app, gate = App("test"), Gate()

    @app.job("long")
    def long() -> int:
        gate.wait()
        return current_job().attempt

    @app.job("short")
    async def short() -> None:
        pass

    async with server(folder) as first, AsyncClient(first.address) as client:
        with gate:
            async with at(first.address, app, settings=RuntimeSettings(prefetch=4)) as runtime:
                handle = await client.submit("long")
                await gate.arrived()
                first.send(number)
                assert await first.wait(60) is not None
                async with server(folder):
                    assert await (await client.submit("short")).result(timeout="30s") is None
                    assert runtime.running == 1
                    gate.open()
                    assert await handle.result(timeout="30s") == 1
                    assert [attempt.number for attempt in (await client.get(handle.id)).attempts] == [1]


async def test_an_outcome_that_came_while_the_server_was_away_is_recorded_when_it_is_back(folder: Path) -> None:
    app, gate = App("test"), Gate()

    @app.job("long")
    def long() -> int:
        gate.wait()
        return current_job().attempt

    async with server(folder) as first, AsyncClient(first.address) as client:
        with gate:
            async with at(first.address, app) as runtime:
                handle = await client.submit("long")
                await gate.arrived()
                first.send(signal.SIGKILL)
                await first.wait(60)
                gate.open()
                await until(lambda: runtime.running == 0)
                async with server(folder):
                    assert await handle.result(timeout="30s") == 1
