"""A WorkerService without a store: leases as many no-op jobs as a worker has room for, and acks after a pause that
stands for the commit. What a worker costs is measured against it: `python -m bench.tireless --listen ADDRESS`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2_grpc

from jobwire.v1 import worker_service_pb2 as pb

COMMIT_SECONDS = 0.003
FRAME_ITEMS = 256


class Tireless:
    """One Work stream."""

    def __init__(self) -> None:
        self._leased = 0
        self._ended = 0
        self._window = 0
        self._frames: asyncio.Queue[pb.WorkResponse] = asyncio.Queue()

    async def serve(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """Serve until the worker hangs up."""
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write(context))
            async for data in requests:
                frame = pb.WorkRequest.FromString(data)
                if frame.HasField("hello"):
                    self._welcome()
                if frame.HasField("max_in_flight"):
                    self._window = frame.max_in_flight
                    self._assign()
                if frame.outcomes:
                    tasks.create_task(self._commit([outcome.lease_token for outcome in frame.outcomes]))
            writer.cancel()

    def _welcome(self) -> None:
        frame = pb.WorkResponse()
        frame.welcome.lease_duration.seconds = 3600
        frame.welcome.heartbeat_interval.seconds = 1200
        self._frames.put_nowait(frame)

    async def _commit(self, tokens: list[bytes]) -> None:
        await asyncio.sleep(COMMIT_SECONDS)
        self._ended += len(tokens)
        frame = pb.WorkResponse()
        for token in tokens:
            frame.outcome_acks.add(lease_token=token, code=pb.OUTCOME_CODE_RECORDED)
        self._frames.put_nowait(frame)
        self._assign()

    def _assign(self) -> None:
        for count in _parts(self._window - (self._leased - self._ended)):
            frame = pb.WorkResponse()
            for _ in range(count):
                self._leased += 1
                job = frame.assignments.add(
                    lease_token=b"%040d" % self._leased, job_id=f"0199b2c4-7a3e-7c11-9d2f-{self._leased:012}",
                    type="bench.noop", queue="default", attempt=1, max_attempts=20, fence=self._leased,
                )  # fmt: skip
                job.lease_expire_time.seconds, job.lease_remaining.seconds = 1_800_003_600, 3600
                job.create_time.seconds = 1_800_000_000
            self._frames.put_nowait(frame)

    async def _write(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        while True:
            frame = await self._frames.get()
            await context.write(frame.SerializeToString())


def _parts(count: int) -> Iterator[int]:
    while count > 0:
        yield min(count, FRAME_ITEMS)
        count -= FRAME_ITEMS


async def _work(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    await Tireless().serve(requests, context)


async def main(address: str) -> None:
    """Serve until SIGTERM."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_stream_rpc_method_handler(_work)
    service = grpc.method_handlers_generic_handler("jobwire.v1.WorkerService", {"Work": handler})
    server.add_generic_rpc_handlers((service,))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(address)
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[sys.argv.index("--listen") + 1]))
