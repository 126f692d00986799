"""A rolling update as Kubernetes does it: servers are replaced one by one while clients submit and workers work."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from jobwire import AsyncClient
from tests.deploy.rolling_jobs import LOG_VARIABLE
from tests.helpers.balancer import Balancer
from tests.helpers.postgres import PostgresServer
from tests.helpers.processes import JOBWIRE, REPOSITORY, ServerProcess

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(150)]

SERVERS, CLIENTS, WORKERS = 2, 3, 2


class Deployment:
    """Servers on one database, behind one address."""

    def __init__(self, url: str, balancer: Balancer, undo: AsyncExitStack) -> None:
        self.balancer = balancer
        self._url = url
        self._undo = undo
        self._servers: dict[str, ServerProcess] = {}

    async def scale_up(self) -> None:
        """One more server; it gets connections when it is ready."""
        terms = ("--grace", "10s", "--drain-delay", "300ms")
        server = ServerProcess(["serve", "--db", self._url, "--listen", "127.0.0.1:0", *terms])
        self._undo.push_async_callback(server.destroy)
        address = await server.expect_ready()
        self._servers[address] = server
        self.balancer.add(address)

    async def retire(self, address: str) -> None:
        """Ask a server to go, in good order."""
        self.balancer.remove(address)
        server = self._servers.pop(address)
        server.send(signal.SIGTERM)
        assert await server.wait(40) == 0, server.tail()

    async def update(self) -> None:
        """Replace every server that is there now, each by a new one that is ready before."""
        for address in list(self._servers):
            await self.scale_up()
            await self.retire(address)


@pytest_asyncio.fixture
async def deployment(postgres: PostgresServer) -> AsyncIterator[Deployment]:
    database = postgres.empty_database()
    async with AsyncExitStack() as undo:
        undo.callback(postgres.drop, database)
        balancer = await undo.enter_async_context(Balancer())
        made = Deployment(postgres.url(database), balancer, undo)
        for _ in range(SERVERS):
            await made.scale_up()
        yield made


async def _work(address: str, log: Path, undo: AsyncExitStack) -> None:
    """Start a worker process that is ended with the test."""
    process = await asyncio.create_subprocess_exec(
        *JOBWIRE, "work", "tests.deploy.rolling_jobs:app", "--address", address, "--slots", "4",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), LOG_VARIABLE: str(log)}, stdout=sys.stderr,
    )  # fmt: skip

    async def end() -> None:
        process.terminate()
        await process.wait()

    undo.push_async_callback(end)


async def _submit(address: str, done: asyncio.Event) -> dict[str, int]:
    """Submit until it is over, and wait for every result; any error of a call ends the test. Returns jobs by id."""
    jobs: dict[str, int] = {}
    async with AsyncClient(address) as client:
        waits = []
        while not done.is_set():
            handle = await client.submit("work", {"n": len(jobs), "ms": 20 + len(jobs) % 7 * 60})
            jobs[handle.id] = len(jobs)
            waits.append(asyncio.create_task(handle.result()))
            await asyncio.sleep(0.03)
        assert await asyncio.gather(*waits) == list(jobs.values())
    return jobs


async def test_no_call_fails_and_no_job_is_lost_or_run_twice_while_all_servers_are_replaced(
    deployment: Deployment, tmp_path: Path
) -> None:
    log, done = tmp_path / "runs", asyncio.Event()
    address = deployment.balancer.address
    async with AsyncExitStack() as undo:
        for _ in range(WORKERS):
            await _work(address, log, undo)
        async with asyncio.TaskGroup() as tasks:
            clients = [tasks.create_task(_submit(address, done)) for _ in range(CLIENTS)]
            await deployment.update()
            await deployment.update()
            done.set()
    jobs = {job_id for client in clients for job_id in client.result()}
    runs = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert set(runs) == jobs
    assert set(runs.values()) == {1}, [job_id for job_id, count in runs.items() if count > 1]
    assert {line.split()[1] for line in log.read_text().splitlines()} == {"1"}
