"""P4: an idle server; from the submit call to the handler's first line, and to the result known to the submitter."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration

from bench.figure import Figure, percentile
from bench.server import serving
from jobwire.v1 import job_service_pb2
from jobwire.v1.job_service_pb2_grpc import JobServiceStub

JOBS = 500


def measure(folder: Path, canary: float) -> Figure:
    """One job at a time, with a pause between them so that each finds the server idle."""
    with serving(folder, "--app", "bench.app:app", "--slots", "4") as server:
        starts, results = asyncio.run(_latencies(server.address))
    p50, p99 = percentile(starts, 0.5), percentile(starts, 0.99)
    r50, r99 = percentile(results, 0.5), percentile(results, 0.99)
    judged = [value * canary for value in (p50, r50)], [value * canary for value in (p99, r99)]
    return Figure(
        value=round(p50, 2),
        unit="ms to the handler (p50)",
        reach="to the handler and to the result: p50 at most 2 ms, p99 at most 15 ms (multiplied by the canary)",
        reached=max(judged[0]) <= 2 and max(judged[1]) <= 15,
        method=f"{JOBS} jobs one after the other, 5 ms apart, async handler in the server's pool; result by long poll",
        details=[
            (
                f"to the handler's first line: p50 {p50:.2f} ms, p99 {p99:.2f} ms (over the canary {p50 * canary:.2f}, "
                f"{p99 * canary:.2f})"
            ),
            (
                f"to the result at the submitter: p50 {r50:.2f} ms, p99 {r99:.2f} ms (over the canary "
                f"{r50 * canary:.2f}, {r99 * canary:.2f})"
            ),
        ],
    )


async def _latencies(address: str) -> tuple[list[float], list[float]]:
    starts: list[float] = []
    results: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = JobServiceStub(channel)
        for number in range(JOBS + 20):
            request = job_service_pb2.SubmitJobRequest(request_id=str(uuid.uuid4()))
            request.spec.type = "bench.stamp"
            begin = time.monotonic_ns()
            submitted = await stub.SubmitJob(request, timeout=10)
            job = submitted.job
            while not job.status.HasField("finish_time"):
                poll = job_service_pb2.GetJobRequest(
                    job_id=job.job_id, wait_revision=job.status.revision, wait_timeout=Duration(seconds=10)
                )
                job = (await stub.GetJob(poll, timeout=15)).job
            end = time.monotonic_ns()
            if number >= 20:
                starts.append((json.loads(job.status.result.text or job.status.result.data) - begin) / 1e6)
                results.append((end - begin) / 1e6)
            await asyncio.sleep(0.005)
    return starts, results
