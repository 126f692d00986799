"""One job at a time: how long from the submit call to the handler's first line, and to the result at the submitter."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration

from bench.figure import percentile
from jobwire.v1 import job_service_pb2
from jobwire.v1.job_service_pb2_grpc import JobServiceStub

WARM_UP_JOBS = 20
PAUSE_SECONDS = 0.005
"""Between two jobs, so that each finds the server idle."""


class Latencies(NamedTuple):
    """Of many jobs, in milliseconds, unordered."""

    to_handler: list[float]
    to_result: list[float]

    def worst(self, share: float) -> float:
        """The greater one of the two percentiles."""
        return max(percentile(self.to_handler, share), percentile(self.to_result, share))

    def __str__(self) -> str:
        parts = [
            f"to {name} p50 {percentile(values, 0.5):.2f} ms, p99 {percentile(values, 0.99):.2f} ms"
            for name, values in (("the handler", self.to_handler), ("the result", self.to_result))
        ]
        return "; ".join(parts)


def latencies(address: str, jobs: int) -> Latencies:
    """Submit jobs of `bench.stamp`, one after the other; each result is waited for by a long poll."""
    return asyncio.run(_latencies(address, jobs))


async def _latencies(address: str, jobs: int) -> Latencies:
    starts: list[float] = []
    results: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = JobServiceStub(channel)
        for _ in range(jobs + WARM_UP_JOBS):
            request = job_service_pb2.SubmitJobRequest(request_id=str(uuid.uuid4()))
            request.spec.type = "bench.stamp"
            begin = time.monotonic_ns()
            job = (await stub.SubmitJob(request, timeout=10)).job
            while not job.status.HasField("finish_time"):
                poll = job_service_pb2.GetJobRequest(
                    job_id=job.job_id, wait_revision=job.status.revision, wait_timeout=Duration(seconds=10)
                )
                job = (await stub.GetJob(poll, timeout=15)).job
            end = time.monotonic_ns()
            starts.append((json.loads(job.status.result.text or job.status.result.data) - begin) / 1e6)
            results.append((end - begin) / 1e6)
            await asyncio.sleep(PAUSE_SECONDS)
    return Latencies(starts[WARM_UP_JOBS:], results[WARM_UP_JOBS:])
