"""Real servers on real files, spoken to through generated stubs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from jobwire.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from tests.helpers.processes import ServerProcess

CALL_SECONDS = 20.0


class World:
    """One database file, the servers that live on it one after the other, and a client of theirs."""

    def __init__(self, folder: Path, undo: AsyncExitStack) -> None:
        self.folder = folder
        self.database = folder / "jobs.db"
        self.socket = folder / "s"
        self._undo = undo

    async def start(self, *arguments: str, **environment: str) -> ServerProcess:
        """Start a server without waiting for anything."""
        listen = () if "--listen" in arguments or "--port" in arguments else ("--listen", f"unix:{self.socket}")
        database = () if "--memory" in arguments else ("--db", str(self.database))
        server = ServerProcess(["dev", *database, *listen, *arguments], environment=environment)
        self._undo.push_async_callback(server.destroy)
        return server

    async def serving(self, *arguments: str, **environment: str) -> ServerProcess:
        """Start a server and wait for its `ready`."""
        server = await self.start(*arguments, **environment)
        await server.expect_ready()
        return server

    @asynccontextmanager
    async def client(self, address: str | None = None) -> AsyncIterator[Client]:
        """A client of the server that lives now."""
        async with grpc.aio.insecure_channel(address or f"unix:{self.socket}") as channel:
            yield Client(job_service_pb2_grpc.JobServiceStub(channel))  # type: ignore[no-untyped-call]


class Client:
    """What tests ask a server for."""

    def __init__(self, stub: job_service_pb2_grpc.JobServiceStub) -> None:
        self.stub = stub

    async def submit(self, type_: str, text: str = "", **spec: object) -> str:
        payload = job_pb2.Payload(text=text, content_type="application/json") if text else None
        request = job_service_pb2.SubmitJobRequest(spec=job_pb2.JobSpec(type=type_, payload=payload, **spec))  # type: ignore[arg-type]
        response = await self.stub.SubmitJob(request, timeout=CALL_SECONDS)  # type: ignore[misc]
        job_id: str = response.job.job_id
        return job_id

    async def get(self, job_id: str) -> job_pb2.Job:
        response = await self.stub.GetJob(job_service_pb2.GetJobRequest(job_id=job_id), timeout=CALL_SECONDS)  # type: ignore[misc]
        job: job_pb2.Job = response.job
        return job

    async def cancel(self, job_id: str) -> None:
        await self.stub.CancelJob(job_service_pb2.CancelJobRequest(job_id=job_id), timeout=CALL_SECONDS)  # type: ignore[misc]

    async def reaches(self, job_id: str, *states: job_pb2.JobState) -> job_pb2.Job:
        """Watch the job until it is in one of `states`."""
        watch = self.stub.WatchJob(job_service_pb2.WatchJobRequest(job_id=job_id))
        try:
            async for update in watch:  # type: ignore[attr-defined]
                if update.status.state in states:
                    return await self.get(job_id)
        finally:
            watch.cancel()
        raise AssertionError(f"the watch ended, and the job was never in {states}")


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as undo:
        yield World(tmp_path, undo)


@pytest.fixture
def handlers(tmp_path: Path) -> Path:
    """A folder for modules of handlers."""
    return tmp_path
