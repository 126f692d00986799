"""Traps of grpc.aio that were met and measured, each with the rule that keeps us out of it."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from grpc import aio

from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.rpc.server import ListenFailed, RpcSettings
from jobwire_server.rpc.settings import channel_options
from tests.rpc.rig import Code, RpcRig, elapsed_since, refused, request_of, until
from tests.rpc.test_admission import Held

pytestmark = pytest.mark.asyncio


async def test_what_a_vanished_caller_asked_for_is_done_whole() -> None:
    """Cancellation strikes at any await, also between the hand-over to the store and the commit."""
    async with RpcRig() as rig:
        for number in range(50):
            call = rig.api.SubmitJob(request_of(request_id=f"key-{number}"))
            await asyncio.sleep(0.0002 * (number % 10))
            call.cancel()
        found = [(await rig.api.SubmitJob(request_of(request_id=f"key-{n}"))).job.job_id for n in range(50)]

        assert len(set(found)) == 50
        rows = rig.stores.sql("SELECT count(*) FROM job")
        assert rows == [(50,)]


async def test_a_cancelled_handler_is_cancelled_and_not_answered() -> None:
    """A handler that swallowed its cancellation would leak what gRPC holds for it."""
    held: list[Held] = []

    def hold(store: object) -> object:
        held.append(Held(store))  # type: ignore[arg-type]
        return held[0]

    async with RpcRig(around=hold) as rig:  # type: ignore[arg-type]
        call = rig.api.SubmitJob(request_of())
        waiting = asyncio.create_task(_ended(call))
        await held[0].entered.wait()

        call.cancel()
        await waiting
        await until(lambda: not rig.server._gate._calls)

        assert rig.log.errors == []


async def test_a_second_server_on_the_same_port_is_refused() -> None:
    """grpc shares ports by default, and the second server takes half of the connections without a word."""
    async with RpcRig(settings=RpcSettings(listen=("127.0.0.1:0",))) as rig:
        address = rig.addresses[1]

        with pytest.raises(ListenFailed, match=address):
            async with RpcRig(settings=RpcSettings(listen=(address,))):
                pass


async def test_the_socket_of_a_living_server_is_not_taken_over() -> None:
    async with RpcRig() as rig:
        with pytest.raises(ListenFailed, match="a server answers"):
            async with RpcRig(settings=RpcSettings(listen=(rig.address,))):
                pass
        assert (await rig.submit()).job_id


async def test_streams_end_by_themselves_when_the_server_stops() -> None:
    """`stop(grace)` waits the whole grace for streams that do not end."""
    async with RpcRig() as rig:
        job = await rig.submit()
        calls = [
            rig.api.WatchJobs(pb.WatchJobsRequest()),
            rig.api.WatchJob(pb.WatchJobRequest(job_id=job.job_id)),
            rig.channel.unary_stream("/grpc.health.v1.Health/Watch")(b""),
            rig.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(),
        ]
        for call in calls[:3]:
            await call.read()
        await calls[3].write(b"\x3a\x00")
        await calls[3].read()
        ends = [asyncio.create_task(refused(call)) for call in calls]
        start = time.monotonic()

        await rig.server.stop(30)

        for end in ends:
            assert (await end).reason == "DRAINING"
        assert elapsed_since(start) < 15


async def test_the_last_response_of_a_drained_watch_says_so_and_can_be_resumed() -> None:
    async with RpcRig() as rig:
        watch = rig.api.WatchJobs(pb.WatchJobsRequest())
        await watch.read()
        job = await rig.submit()

        await rig.server.drain()

        responses = []

        async def read_all() -> None:
            while True:
                responses.append(await watch.read())

        assert (await refused(read_all())).reason == "DRAINING"
        assert responses[-1].draining
        seen = [event.job_id for response in responses for event in response.events]
        assert seen == [job.job_id] or responses[-1].cursor.revision < job.status.revision


async def test_nothing_serves_before_it_is_told_to_and_health_says_the_same() -> None:
    """The servicer of the grpc package is born SERVING."""
    async with RpcRig(serving=False) as rig:
        check = rig.channel.unary_unary("/grpc.health.v1.Health/Check")

        assert await check(b"") == b"\x08\x02"
        assert (await refused(rig.api.SubmitJob(request_of()))).code is Code.UNAVAILABLE


async def test_the_options_that_matter_are_set() -> None:
    options = dict(channel_options())

    assert options["grpc.so_reuseport"] == 0
    assert options["grpc.max_receive_message_length"] == 16 << 20
    assert options["grpc.http2.ping_timeout_ms"] == 10_000
    assert options["grpc.keepalive_time_ms"] == 30_000
    assert options["grpc.http2.min_ping_interval_without_data_ms"] <= 10_000
    assert options["grpc.max_connection_age_ms"] == 30 * 60_000
    assert options["grpc.max_connection_age_grace_ms"] > 60_000


@pytest.mark.parametrize("method", ["SubmitJob", "WatchJobs"])
async def test_a_request_over_the_message_limit_is_refused_with_a_reason_and_leaves_no_trace(
    rig: RpcRig, method: str
) -> None:
    """gRPC's own refusal would carry no ErrorInfo."""
    before = rig.stores.dump()
    path = f"/jobwire.v1.JobService/{method}"
    call = rig.channel.unary_stream(path) if method == "WatchJobs" else rig.channel.unary_unary(path)

    refusal = await refused(call(b"x" * ((4 << 20) + 1)))

    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE")
    assert (refusal.facts["limit"], refusal.facts["actual"]) == (str(4 << 20), str((4 << 20) + 1))
    assert rig.stores.dump() == before
    await rig.submit()


async def test_a_request_of_the_greatest_size_is_read(rig: RpcRig) -> None:
    refusal = await refused(rig.channel.unary_unary("/jobwire.v1.JobService/SubmitJob")(b"\xff" * (4 << 20)))

    assert refusal.reason == "FIELD_INVALID"


async def test_a_request_far_over_the_limit_is_not_even_received(rig: RpcRig) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await rig.channel.unary_unary("/jobwire.v1.JobService/SubmitJob")(b"x" * ((16 << 20) + 1))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await rig.submit()


async def _ended(call: object) -> None:
    with pytest.raises(asyncio.CancelledError):
        await call  # type: ignore[misc]
