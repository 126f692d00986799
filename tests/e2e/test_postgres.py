"""Several server processes on one PostgreSQL, and the same answers from each of them."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from jobwire.v1 import admin_service_pb2, admin_service_pb2_grpc, job_pb2, job_service_pb2
from tests.e2e.conftest import Client, World
from tests.helpers.postgres import PostgresServer
from tests.helpers.processes import ServerProcess

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(150)]

State = job_pb2.JobState


class Fleet(World):
    """Servers that live on one database at the same time, each on a socket of its own."""

    def __init__(self, folder: Path, undo: AsyncExitStack, url: str) -> None:
        super().__init__(folder, undo)
        self.url = url

    async def serves(self, name: str, command: str, *arguments: str) -> ServerProcess:
        """Start a server and wait for its `ready`."""
        listen = f"unix:{self.folder / name}"
        server = ServerProcess([command, "--db", self.url, "--listen", listen, "--lease", "2s", *arguments])
        self._undo.push_async_callback(server.destroy)
        await server.expect_ready()
        return server


@pytest_asyncio.fixture
async def fleet(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[Fleet]:
    database = postgres.empty_database()
    async with AsyncExitStack() as undo:
        undo.callback(postgres.drop, database)
        yield Fleet(tmp_path, undo, postgres.url(database))


def result_of(job: job_pb2.Job) -> object:
    return json.loads(job.status.result.text or job.status.result.data)


async def test_a_second_server_that_starts_while_the_first_runs_a_hundred_jobs_reclaims_none(fleet: Fleet) -> None:
    await fleet.serves("first", "dev", "--slots", "100")
    async with fleet.client(f"unix:{fleet.folder / 'first'}") as client:
        job_ids = [await client.submit("sleep", "600") for _ in range(100)]
        for job_id in job_ids:
            await client.reaches(job_id, State.JOB_STATE_PROCESSING)
        await fleet.serves("second", "dev")
        async with grpc.aio.insecure_channel(f"unix:{fleet.folder / 'second'}") as channel:
            admin = admin_service_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
            info = await admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest())
        assert (info.server_info.recovery.returned_count, info.server_info.recovery.failed_count) == (0, 0)
        for job_id in job_ids:
            status = (await client.get(job_id)).status
            assert (status.state, status.attempt) == (State.JOB_STATE_PROCESSING, 1)


async def test_a_job_that_one_server_took_runs_in_the_pool_of_another_and_is_watched_at_the_first(
    fleet: Fleet,
) -> None:
    await fleet.serves("front", "serve")
    await fleet.serves("back", "dev")
    async with fleet.client(f"unix:{fleet.folder / 'front'}") as client:
        job_id = await client.submit("hello", '"Ada"')
        assert result_of(await client.reaches(job_id, State.JOB_STATE_COMPLETED)) == "Hello, Ada!"


async def test_progress_that_one_server_hears_of_is_seen_at_another(fleet: Fleet) -> None:
    await fleet.serves("front", "serve")
    await fleet.serves("back", "dev")
    async with fleet.client(f"unix:{fleet.folder / 'front'}") as client:
        job_id = await client.submit("sleep", "60")
        watch = client.stub.WatchJob(job_service_pb2.WatchJobRequest(job_id=job_id))
        async for update in watch:  # type: ignore[attr-defined]
            if "of 60 s" in update.status.progress_message:
                break
        watch.cancel()
        await client.cancel(job_id)
        await client.reaches(job_id, State.JOB_STATE_CANCELLED)


async def test_a_cancel_at_one_server_stops_the_handler_of_another(fleet: Fleet) -> None:
    await fleet.serves("front", "serve")
    await fleet.serves("back", "dev")
    async with fleet.client(f"unix:{fleet.folder / 'front'}") as client:
        job_id = await client.submit("sleep", "60")
        await client.reaches(job_id, State.JOB_STATE_PROCESSING)
        await client.cancel(job_id)
        await client.reaches(job_id, State.JOB_STATE_CANCELLED)


async def test_a_killed_server_loses_nothing_and_another_runs_its_jobs_again(fleet: Fleet) -> None:
    await fleet.serves("front", "serve")
    first = await fleet.serves("first", "dev")
    async with fleet.client(f"unix:{fleet.folder / 'front'}") as client:
        done = await client.submit("hello", '"Ada"')
        before = await client.reaches(done, State.JOB_STATE_COMPLETED)
        running = await client.submit("sleep", "1.5")
        await client.reaches(running, State.JOB_STATE_PROCESSING)
        first.send(signal.SIGKILL)
        assert await first.wait(20) == -signal.SIGKILL
        await fleet.serves("second", "dev")
        again = await client.reaches(running, State.JOB_STATE_COMPLETED)
        assert again.status.attempt == 2
        assert await client.get(done) == before


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A PostgreSQL that may be killed."""
    server = PostgresServer()
    yield server
    server.stop()


async def test_a_server_outlives_its_database_and_goes_on_when_it_is_back(
    tmp_path: Path, mortal: PostgresServer
) -> None:
    async with AsyncExitStack() as undo:
        fleet = Fleet(tmp_path, undo, mortal.url(mortal.empty_database()))
        server = await fleet.serves("only", "dev")
        async with fleet.client(f"unix:{fleet.folder / 'only'}") as client:
            done = await client.submit("hello", '"Ada"')
            await client.reaches(done, State.JOB_STATE_COMPLETED)
            mortal.kill()
            refusal = await _refusal(client)
            assert refusal.code() is grpc.StatusCode.UNAVAILABLE
            assert _reason(refusal) == "STORE_UNAVAILABLE"
            assert "/" not in (refusal.details() or ""), "nothing of where the database is"
            mortal.start()
            job_id = await client.submit("hello", '"Bob"')
            assert result_of(await client.reaches(job_id, State.JOB_STATE_COMPLETED)) == "Hello, Bob!"
            assert (await client.get(done)).status.state == State.JOB_STATE_COMPLETED
        server.send(signal.SIGTERM)
        assert await server.wait(40) == 0


async def _refusal(client: Client) -> grpc.aio.AioRpcError:
    try:
        await client.submit("hello")
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("a job was taken without a database")


def _reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return info.reason
