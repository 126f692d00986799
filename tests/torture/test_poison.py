"""Poison: jobs that end whatever process runs them are given up after the third time, and harm nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from jobwire.aio import AsyncClient
from jobwire.handle import AsyncJobHandle
from jobwire.models import JobState, RetryPolicy
from tests.helpers import fsck
from tests.helpers.processes import JOBWIRE, REPOSITORY
from tests.torture.campaign import Campaign

APP: Final = "tests.torture.poison_handlers:app"
REMOTE_APP: Final = "tests.torture.poison_handlers:remote_app"
MEMORY: Final = ("--memory-per-child", "256M")
POISONS: Final = ("exit", "abort", "eat", "exit-thread", "exit-async")
BYSTANDERS: Final = 60
SOON: Final = RetryPolicy(initial_backoff=timedelta(milliseconds=50), max_backoff=timedelta(milliseconds=200))
PATIENCE: Final = "150s"
RESTARTS: Final = 60


@asynccontextmanager
async def supervised(address: str, *words: str, log: Path) -> AsyncIterator[list[int]]:
    """A remote worker that is started again whenever it ends, as a supervisor does; yields its exit codes so far."""
    codes: list[int] = []
    environment = {**os.environ, "JOBWIRE_ADDRESS": address, "PYTHONPATH": str(REPOSITORY)}

    async def supervise() -> None:
        while True:
            with log.open("ab") as said:
                process = await asyncio.create_subprocess_exec(
                    *JOBWIRE, "work", *words, stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said,
                    env=environment, cwd=REPOSITORY, start_new_session=True,
                )  # fmt: skip
            try:
                codes.append(await process.wait())
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    supervising = asyncio.ensure_future(supervise())
    try:
        yield codes
    finally:
        supervising.cancel()
        await asyncio.wait((supervising,))


async def ends(jobs: Sequence[AsyncJobHandle[Any]]) -> list[tuple[str, JobState, int, str]]:
    """Wait for the ends of jobs: type, state, attempts, error type."""
    told = []
    for handle in jobs:
        job = await handle.wait(timeout=PATIENCE)
        error = job.status.last_error
        told.append((job.spec.type, job.status.state, job.status.attempt, "" if error is None else error.type))
    return told


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.asyncio
@pytest.mark.parametrize("place", ["the server's own pool", "a remote worker"])
async def test_a_job_that_ends_its_process_is_poisoned_by_the_third_time_and_all_others_finish(
    tmp_path: Path, seed: int, tell: Callable[[str], None], place: str
) -> None:
    pool = place == "the server's own pool"
    options = ["--lease", "2s", *(("--slots", "6", *MEMORY) if pool else ())]
    campaign = Campaign(tmp_path, seed, app=APP if pool else None, options=options)
    server = await campaign.start()
    codes: list[int] = []
    try:
        async with AsyncClient(campaign.address) as client:
            poisons = [await client.submit(kind, retry=SOON) for kind in POISONS]
            others = [
                await client.submit("bystander", {"ms": campaign.chance.randint(0, 300)}, retry=SOON)
                for _ in range(BYSTANDERS)
            ]
            if pool:
                endings, unharmed = await ends(poisons), await ends(others)
            else:
                log = tmp_path / "worker.log"
                async with supervised(campaign.address, APP, "--slots", "6", *MEMORY, log=log) as codes:
                    endings, unharmed = await ends(poisons), await ends(others)
        assert await server.wait(0) is None, f"the server has ended:\n{server.tail()}"
        assert await campaign.finish(server) == 0
    finally:
        await campaign.close()
    died = sum("pool.died" in line for line in server.lines) if pool else len(codes)
    tell(f"{place}: {died} deaths of the whole worker")
    assert endings == [(kind, JobState.FAILED, 3, "POISONED") for kind in POISONS]
    assert {state for _, state, _, _ in unharmed} == {JobState.COMPLETED}
    fsck.check(campaign.database)


async def begun(job: AsyncJobHandle[Any], attempt: int) -> None:
    """Wait until this attempt runs."""
    async with asyncio.timeout(60):
        async for update in job.watch():
            status = update.status
            if status.attempt >= attempt and status.state is JobState.PROCESSING:
                return


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.asyncio
async def test_restarts_of_the_server_under_a_job_never_poison_it(
    tmp_path: Path, seed: int, scale: int, tell: Callable[[str], None]
) -> None:
    """A pool's job begins again each time, a remote worker's goes on; both live through any number of kills."""
    campaign = Campaign(tmp_path, seed, app=APP, options=("--slots", "2", "--lease", "600s"))
    restarts, go = RESTARTS * scale, tmp_path / "go"
    retry = RetryPolicy(max_attempts=restarts + 10)
    server = await campaign.start()
    try:
        async with (
            AsyncClient(campaign.address) as client,
            supervised(campaign.address, REMOTE_APP, log=tmp_path / "worker.log") as codes,
        ):
            pooled = await client.submit("long", {"path": str(go)}, retry=retry)
            remote = await client.submit("remote-long", {"path": str(go)}, retry=retry)
            await begun(remote, 1)
            for attempt in range(1, restarts + 1):
                await begun(pooled, attempt)
                await campaign.kill(server, "with a job of the pool and one of a remote worker")
                server = await campaign.start()
            await begun(pooled, restarts + 1)
            go.touch()
            assert await pooled.result(timeout=PATIENCE) == restarts + 1
            assert await remote.result(timeout=PATIENCE) == 1
            assert codes == []
        assert await campaign.finish(server) == 0
    finally:
        await campaign.close()
    tell("\n".join(f"{count:6}  {window}" for window, count in campaign.windows.items()))
    fsck.check(campaign.database)
