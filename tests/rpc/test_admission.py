"""How many calls and streams are let in, how long streams may live, and how slow their readers may be."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration

from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.rpc.server import RpcSettings
from jobwire_server.store.base import Store, Submission, SubmitReceipt
from tests.rpc.rig import Code, FastClock, RpcRig, refused, request_of, until

pytestmark = pytest.mark.asyncio


class Held:
    """A store whose submits wait for permission."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.entered = asyncio.Event()
        self.permission = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def submit(self, submission: Submission) -> SubmitReceipt:
        self.entered.set()
        await self.permission.wait()
        return await self._inner.submit(submission)


async def test_calls_beyond_the_bound_are_told_to_slow_down() -> None:
    held: list[Held] = []

    def hold(store: Store) -> Store:
        held.append(Held(store))
        return held[0]  # type: ignore[return-value]

    async with RpcRig(settings=RpcSettings(max_unary_calls=1), around=hold) as rig:
        first = asyncio.create_task(_answer(rig.api.SubmitJob(request_of())))
        await held[0].entered.wait()

        refusal = await refused(rig.api.GetJob(pb.GetJobRequest(job_id="a")))

        assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS")
        assert refusal.retry_seconds > 0
        assert "grpc-retry-pushback-ms" in refusal.trailers
        held[0].permission.set()
        assert (await first).created
        assert (await rig.api.SubmitJob(request_of())).created


async def test_streams_do_not_use_up_the_room_of_calls() -> None:
    """gRPC's own limit counts both: two watches, and every unary call would be refused."""
    async with RpcRig(settings=RpcSettings(max_streams=2, max_unary_calls=2)) as rig:
        watches = [rig.api.WatchJobs(pb.WatchJobsRequest()) for _ in range(2)]
        for watch in watches:
            await watch.read()

        refusal = await refused(rig.api.WatchJobs(pb.WatchJobsRequest()))

        assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        assert refusal.retry_seconds > 0
        await rig.submit()
        for watch in watches:
            watch.cancel()


async def test_long_polls_count_as_streams_and_leave_room_for_calls() -> None:
    async with RpcRig(settings=RpcSettings(max_streams=1, max_unary_calls=1)) as rig:
        job = await rig.submit()
        poll = rig.api.GetJob(_poll(job))
        waiting = asyncio.create_task(_answer(poll))
        await rig.hub._desk.anybody.wait()

        assert (await rig.get(job.job_id)).job_id == job.job_id
        refusal = await refused(rig.api.GetJob(_poll(job)))

        assert refusal.reason == "TOO_MANY_STREAMS"
        await rig.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
        await waiting


async def test_a_caller_that_goes_away_leaves_its_place() -> None:
    async with RpcRig(settings=RpcSettings(max_streams=1)) as rig:
        for _ in range(5):
            watch = rig.api.WatchJobs(pb.WatchJobsRequest())
            await watch.read()
            watch.cancel()
            # The server learns of the cancellation a moment later.
            await until(lambda: not rig.server._gate._streams)


async def test_an_old_stream_ends_with_its_cursor_and_can_be_resumed() -> None:
    settings = RpcSettings(max_stream_age_seconds=100, slow_consumer_seconds=1e9)
    async with RpcRig(clock=FastClock(200), settings=settings) as rig:
        watch = rig.api.WatchJobs(pb.WatchJobsRequest())
        first = await watch.read()
        responses = []

        async def read_all() -> None:
            while True:
                responses.append(await watch.read())

        refusal = await refused(read_all())

        assert (refusal.code, refusal.reason) == (Code.UNAVAILABLE, "STREAM_AGE")
        assert responses[-1].draining
        assert refusal.retry_seconds == 0
        resumed = rig.api.WatchJobs(pb.WatchJobsRequest(after=responses[-1].cursor))
        assert (await resumed.read()).cursor.epoch == first.cursor.epoch
        resumed.cancel()


async def test_an_old_watch_of_one_job_ends_too() -> None:
    settings = RpcSettings(max_stream_age_seconds=100, slow_consumer_seconds=1e9)
    async with RpcRig(clock=FastClock(200), settings=settings) as rig:
        job = await rig.submit()

        refusal = await refused(rig.api.WatchJob(pb.WatchJobRequest(job_id=job.job_id)))

        assert (refusal.code, refusal.reason) == (Code.UNAVAILABLE, "STREAM_AGE")


async def test_a_reader_that_does_not_read_is_cut_off() -> None:
    """The window is kept small, so that little goes in before a write waits for the reader."""
    settings = RpcSettings(slow_consumer_seconds=60, max_stream_age_seconds=1e9)
    async with RpcRig(clock=FastClock(100), settings=settings) as rig:
        for _ in range(8):
            await rig.submit(payload=jpb.Payload(data=b"x" * 1_000_000))
        channel = rig.connect(("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535))
        request = pb.WatchJobsRequest(send_initial_state=True, view=jpb.JOB_VIEW_FULL)
        slow = channel.unary_stream("/jobwire.v1.JobService/WatchJobs")(request.SerializeToString())
        await slow.initial_metadata()
        await until(lambda: bool(rig.server._gate._streams))

        await until(lambda: not rig.server._gate._streams)

        refusal = await refused(slow)
        assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "SLOW_CONSUMER")
        await channel.close()


def _poll(job: jpb.Job) -> pb.GetJobRequest:
    return pb.GetJobRequest(job_id=job.job_id, wait_revision=job.status.revision, wait_timeout=Duration(seconds=30))


async def _answer(call: object) -> pb.SubmitJobResponse:
    return await call  # type: ignore[misc]
