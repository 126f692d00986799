"""The worker runtime over the wire, at real servers: jobs are done, and survive the death of either side."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from jobwire.aio import AsyncClient
from jobwire.app import App, Fail, current_job
from jobwire.models import Job, JobState
from jobwire.payload import Payload
from jobwire.settings import make_settings
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from jobwire.worker.stream.transport import StreamTransport
from tests.helpers.processes import ServerProcess
from tests.rpc.rig import RpcRig
from tests.worker.child_jobs import app as children
from tests.worker.support import Gate, Notes

pytestmark = pytest.mark.asyncio


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


async def ended(client: AsyncClient, job_id: str) -> Job:
    return await client.wait(job_id, timeout="30s")


async def test_jobs_are_done_over_the_wire_and_results_come_back() -> None:
    app = App("test")

    @app.job("double")
    async def double(n: int) -> int:
        return 2 * n

    async with RpcRig() as rig, AsyncClient(rig.address) as client, at(rig.address, app):
        handles = await client.submit_many([("double", {"n": n}) for n in range(500)])
        assert [await handle.result(timeout="30s") for handle in handles] == [2 * n for n in range(500)]
