"""Many workers in one process: `python -m bench.herd ADDRESS COUNT TYPE`; raw Work streams, a connection for each.

They answer pings and wait. A job, should one come, is answered at once with the moment at which it came.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import grpc
import uvloop

from jobwire.v1 import worker_service_pb2 as pb
from jobwire.v1.worker_service_pb2_grpc import WorkerServiceStub

OPENING = 32
"""Connections that are opened at once."""


async def keep(address: str, count: int, job_type: str) -> None:
    """Be so many workers, until killed."""
    gate = asyncio.Semaphore(OPENING)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(_worker(address, f"herd-{os.getpid()}-{number}", job_type, gate))


async def _worker(address: str, name: str, job_type: str, gate: asyncio.Semaphore) -> None:
    # Without a pool of its own, a channel shares its connection with all others to the same address.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        async with gate:
            stream = WorkerServiceStub(channel).Work()
            hello = pb.WorkerHello(worker_id=name, instance_id=name, types=[job_type], max_in_flight=16)
            hello.queues.add(queue="*")
            await stream.write(pb.WorkRequest(hello=hello))
            await stream.read()
        while isinstance(frame := await stream.read(), pb.WorkResponse):
            answer = pb.WorkRequest(pong_id=frame.ping_id)
            for assignment in frame.assignments:
                outcome = answer.outcomes.add(lease_token=assignment.lease_token)
                outcome.success.result.text = str(time.monotonic_ns())
            if frame.ping_id or frame.assignments:
                await stream.write(answer)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(keep(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
