"""A worker of the unary path: `python -m bench.puller ADDRESS BATCH CALLERS`; each caller pulls and reports in turn.

BATCH 1: PullJobs of one job, then CompleteJob; else PullJobs of so many, then one ReportOutcomes. It has no handlers.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import grpc
import uvloop
from google.protobuf.duration_pb2 import Duration

from jobwire.v1 import worker_service_pb2 as pb
from jobwire.v1.worker_service_pb2_grpc import WorkerServiceStub

if TYPE_CHECKING:  # it stands in the types only
    from jobwire.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

CALL_SECONDS = 30.0


async def pull(address: str, batch: int, callers: int) -> None:
    """Work until killed."""
    async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as group:
        stub: WorkerServiceAsyncStub = WorkerServiceStub(channel)
        for _ in range(callers):
            group.create_task(_work(stub, batch))


async def _work(stub: WorkerServiceAsyncStub, batch: int) -> None:
    request = pb.PullJobsRequest(
        worker_id="bench",
        queues=[pb.QueueSubscription(queue="*")],
        types=["bench.noop"],
        max_jobs=batch,
        wait_timeout=Duration(seconds=10),
    )
    while True:
        pulled = await stub.PullJobs(request, timeout=CALL_SECONDS)
        tokens = [assignment.lease_token for assignment in pulled.assignments]
        if batch == 1:
            for token in tokens:
                await stub.CompleteJob(pb.CompleteJobRequest(lease_token=token), timeout=CALL_SECONDS)
        elif tokens:
            report = pb.ReportOutcomesRequest()
            for token in tokens:
                report.outcomes.add(lease_token=token).success.SetInParent()
            await stub.ReportOutcomes(report, timeout=CALL_SECONDS)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(pull(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
