"""The server's own pool as a process: real processes, a real private socket."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from jobwire import AsyncClient, JobFailed, RetryPolicy
from jobwire_server.app import Ready, Service, StartFailed
from jobwire_server.config import Command, load
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.pool.process import ProcessPool
from tests.rpc.rig import KeepingLog

pytestmark = pytest.mark.asyncio

APP = """
import os
import time

from jobwire import App

app = App("trial")


@app.job("pid")
async def pid() -> int:
    return os.getpid()


@app.job("die")
def die() -> None:
    os._exit(3)


@app.job("patient")
async def patient(seconds: float) -> str:
    import asyncio
    await asyncio.sleep(seconds)
    return "done"


@app.job("apart", runner="process")
def apart() -> int:
    return os.getpid()
"""


class Trial:
    """A service with a pool of its own in this process's care."""

    def __init__(self, service: Service, ready: Ready, log: KeepingLog) -> None:
        self.service = service
        self.ready = ready
        self.log = log

    @property
    def pool(self) -> ProcessPool:
        """Its pool."""
        assert self.service._parts is not None
        pool = self.service._parts.pool
        assert isinstance(pool, ProcessPool)
        return pool

    @property
    def pid(self) -> int:
        """Process id of the pool."""
        assert self.pool._process is not None
        return self.pool._process.pid


@asynccontextmanager
async def serving(folder: Path, app: str = APP, **flags: str) -> AsyncIterator[Trial]:
    (folder / "trial_jobs.py").write_text(app)
    named = {"db": str(folder / "jobs.db"), "listen": f"unix:{folder}/s", "app": f"{folder}/trial_jobs.py:app", **flags}
    log = KeepingLog()
    broken: list[BaseException] = []
    service = Service(
        load(Command.SERVE, named, {}, None),
        log=log,
        failpoint=no_failpoint,
        on_broken=lambda _name, error: broken.append(error),
    )
    async with AsyncExitStack() as undo:
        ready = await service.start(undo)
        yield Trial(service, ready, log)
    assert broken == []


async def test_handlers_run_in_the_pools_process_and_never_in_the_servers(tmp_path: Path) -> None:
    async with serving(tmp_path) as trial, AsyncClient(trial.ready.address) as client:
        assert trial.ready.types == ("apart", "die", "patient", "pid")
        assert await (await client.submit("pid")).result() == trial.pid != os.getpid()
        assert await (await client.submit("apart")).result() not in {trial.pid, os.getpid()}


async def test_a_pool_that_dies_is_started_again_and_its_jobs_lose_their_lease_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as trial, AsyncClient(trial.ready.address) as client:
        first = trial.pid
        job = await client.submit("patient", 3600)
        async for update in job.watch():
            if update.state == "PROCESSING":
                break
        os.kill(first, signal.SIGKILL)
        async for update in job.watch():
            if update.state == "RETRYING":
                break
        lost = (await job.status()).last_error
        assert lost is not None
        assert lost.type == "LEASE_LOST"
        second = await (await client.submit("pid")).result()
        assert second == trial.pid != first


async def test_a_handler_that_kills_its_process_is_found_out_and_takes_nobody_with_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as trial, AsyncClient(trial.ready.address) as client:
        soon = RetryPolicy(initial_backoff=timedelta(milliseconds=10), max_backoff=timedelta(milliseconds=10))
        innocents = [await client.submit("patient", 0.5, retry=soon) for _ in range(5)]
        poison = await client.submit("die", retry=soon)
        with pytest.raises(JobFailed) as failed:
            await poison.result()
        assert failed.value.final_status is not None
        assert failed.value.final_status.last_error is not None
        assert failed.value.final_status.last_error.type == "POISONED"
        assert [await job.result() for job in innocents] == ["done"] * 5


async def test_an_app_that_cannot_be_imported_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"worker pool, paused.*trial_jobs.py.*ZeroDivisionError"):
        async with serving(tmp_path, "1 / 0"):
            pass


async def test_at_the_end_running_jobs_finish_within_the_grace_and_the_process_is_gone(tmp_path: Path) -> None:
    async with serving(tmp_path, grace="20s") as trial, AsyncClient(trial.ready.address) as client:
        job = await client.submit("patient", 0.5)
        async for update in job.watch():
            if update.state == "PROCESSING":
                break
        await trial.service.drain()
        process = trial.pool._process
        assert process is not None
        assert process.returncode == 0
    async with serving(tmp_path) as trial, AsyncClient(trial.ready.address) as client:
        assert await client.job(job.id).result() == "done"
        assert (await client.job(job.id).status()).attempt == 1


async def test_an_app_without_handlers_is_a_mistake_and_not_a_worker_for_everything(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="the app has no handlers"):
        async with serving(tmp_path, "from jobwire import App\napp = App('none')"):
            pass


async def test_a_pool_that_cannot_be_started_again_is_told_of_by_the_server_until_it_can(tmp_path: Path) -> None:
    async with serving(tmp_path) as trial, AsyncClient(trial.ready.address) as client:
        assert (await client.server_info()).pool_trouble == ""
        (tmp_path / "trial_jobs.py").write_text("this is no module")
        os.kill(trial.pid, signal.SIGKILL)

        while "SyntaxError" not in (trouble := (await client.server_info()).pool_trouble):
            assert trouble == "" or "SIGKILL" in trouble
        (tmp_path / "trial_jobs.py").write_text(APP)
        while (await client.server_info()).pool_trouble:
            pass

        assert await (await client.submit("pid")).result() == trial.pid
