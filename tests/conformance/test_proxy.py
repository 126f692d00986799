"""The proxy carries every call as it is, and does to frames what a fault says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from jobwire.conformance.frames import Fate, Frame, Sender
from jobwire.conformance.journal import Journal
from jobwire.conformance.processes import Server
from jobwire.conformance.proxy import Proxy
from jobwire.v1 import job_pb2, job_service_pb2
from jobwire.v1 import worker_service_pb2 as worker
from jobwire.v1.job_service_pb2_grpc import JobServiceStub
from jobwire.v1.worker_service_pb2_grpc import WorkerServiceStub

pytestmark = pytest.mark.asyncio

HELLO = worker.WorkRequest(
    hello=worker.WorkerHello(
        worker_id="w", instance_id="i", queues=[worker.QueueSubscription(queue="q")], types=["t"], max_in_flight=1
    )
)

HELLO_OF_ANOTHER = worker.WorkRequest()
HELLO_OF_ANOTHER.CopyFrom(HELLO)
HELLO_OF_ANOTHER.hello.worker_id = "another"


class World(NamedTuple):
    """A server, a proxy before it, and a channel to the proxy."""

    server: Server
    proxy: Proxy
    journal: Journal
    channel: grpc.aio.Channel

    @property
    def jobs(self) -> JobServiceStub:
        return JobServiceStub(self.channel)

    async def greeted(self) -> grpc.aio.StreamStreamCall:  # type: ignore[type-arg]
        """A Work stream that has its welcome."""
        call = WorkerServiceStub(self.channel).Work()
        await call.write(HELLO)
        assert (await call.read()).HasField("welcome")
        return call


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with asyncio.TaskGroup() as tasks:
        server, journal = Server(tmp_path, tasks), Journal()
        proxy = Proxy(server.target, journal, time.monotonic)
        await server.start()
        await proxy.open()
        async with grpc.aio.insecure_channel(proxy.address) as channel:
            yield World(server, proxy, journal, channel)
        await proxy.close()
        await server.destroy()


async def test_answers_and_refusals_pass_with_their_details(world: World) -> None:
    spec = job_pb2.JobSpec(type="t", queue="elsewhere")
    answer = await world.jobs.SubmitJob(job_service_pb2.SubmitJobRequest(spec=spec), timeout=10)

    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await world.jobs.GetJob(job_service_pb2.GetJobRequest(job_id="nobody"), timeout=10)

    details = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(refusal.value).details[0].Unpack(details)
    assert (refusal.value.code(), details.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    assert answer.job.spec.queue == "elsewhere"
    assert [(call.name, call.end) for call in world.journal.calls] == [("SubmitJob", "OK"), ("GetJob", "NOT_FOUND")]


async def test_services_that_the_contract_does_not_know_pass_too(world: World) -> None:
    answer = await health_pb2_grpc.HealthStub(world.channel).Check(health_pb2.HealthCheckRequest(), timeout=10)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_callers_deadline_reaches_the_server(world: World) -> None:
    watch = world.jobs.WatchJobs(job_service_pb2.WatchJobsRequest(), timeout=0.5)

    with pytest.raises(grpc.aio.AioRpcError) as late:
        async for _ in watch:
            pass

    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_stream_can_be_cut_and_the_next_one_is_another(world: World) -> None:
    call = await world.greeted()

    world.proxy.cut("Work")

    with pytest.raises(grpc.aio.AioRpcError) as cut:
        await call.read()
    assert cut.value.code() is grpc.StatusCode.UNAVAILABLE
    await (await world.greeted()).done_writing()
    assert [each.number for each in world.journal.streams()] == [1, 2]


async def test_frames_come_twice_or_never_or_changed_as_the_fault_says(world: World) -> None:
    async def fault(frame: Frame) -> Fate:
        if frame.sender is Sender.PROGRAM or frame.hello is not None:
            return Fate.FORWARD
        message = frame.edit()
        assert isinstance(message, worker.WorkResponse)
        return Fate.SWALLOW if message.ping_id == 1 else Fate.TWICE

    world.proxy.fault = fault
    call = WorkerServiceStub(world.channel).Work()
    await call.write(HELLO)

    seen = [await call.read() for _ in range(4)]

    assert [frame.HasField("welcome") for frame in seen] == [True, True, False, False]
    assert [frame.ping_id for frame in seen[2:]] == [2, 2]
    call.cancel()


async def test_a_frozen_stream_is_silent_and_stays_open_while_others_go_on(world: World) -> None:
    async def fault(frame: Frame) -> Fate:
        return Fate.FREEZE if frame.call.number == 1 else Fate.FORWARD

    frozen = await world.greeted()
    world.proxy.fault = fault
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(frozen.read())
        # The server gives a worker up that says nothing for a lease. The other one is told so, and this one is not.
        other = WorkerServiceStub(world.channel).Work()
        await other.write(HELLO_OF_ANOTHER)
        with pytest.raises(grpc.aio.AioRpcError) as silence:
            await read_to_the_end(other)

        assert silence.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not reading.done()
        assert world.journal.calls[0].end is None
        reading.cancel()


async def test_after_a_new_opening_it_listens_at_the_same_address(world: World) -> None:
    address = world.proxy.address
    await world.proxy.close()

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.jobs.GetJob(job_service_pb2.GetJobRequest(job_id="nobody"), timeout=10)
    await world.proxy.open()
    again = await world.jobs.ListJobs(job_service_pb2.ListJobsRequest(), timeout=10, wait_for_ready=True)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert world.proxy.address == address
    assert again.next_page_token == ""


async def read_to_the_end(call: grpc.aio.StreamStreamCall) -> None:  # type: ignore[type-arg]
    while await call.read() is not grpc.aio.EOF:
        pass
