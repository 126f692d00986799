"""Load generators: unary calls by many callers, on raw bytes, so that the client costs as little as it can."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count

import grpc
import uuid_utils

from jobwire.v1 import job_service_pb2

SUBMIT = "/jobwire.v1.JobService/SubmitJob"
BATCH_SUBMIT = "/jobwire.v1.JobService/BatchSubmitJobs"
ECHO = "/bench.Echo/Echo"
PAYLOAD = "x" * 100

Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


def submit_request(job_type: str = "bench.unserved") -> bytes:
    """A SubmitJobRequest as the SDK sends it: 100 bytes of payload, and a request_id."""
    request = job_service_pb2.SubmitJobRequest(request_id=str(uuid_utils.uuid7()))
    request.spec.type = job_type
    request.spec.payload.text = PAYLOAD
    return request.SerializeToString()


async def unary_rate(address: str, method: str, make: Callable[[], bytes], *, callers: int, seconds: float) -> float:
    """Calls per second of `callers` callers with one call in flight each, after a warm-up of a fifth of the time."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: Call = channel.unary_unary(method)
        done = 0
        end = time.perf_counter() + seconds * 1.2

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < end:
                await call(make(), timeout=30)
                done += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())
            await asyncio.sleep(seconds * 0.2)
            before, begin = done, time.perf_counter()
            await asyncio.sleep(seconds)
            return (done - before) / (time.perf_counter() - begin)


async def submit_batches(address: str, *, batches: int, size: int, in_flight: int, job_type: str) -> float:
    """Submit `batches` batches of `size` jobs, `in_flight` at a time; jobs per second, requests built beforehand."""
    requests = [_batch(size, job_type) for _ in range(batches)]
    numbers = count()
    options = [("grpc.max_receive_message_length", 16 << 20)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call: Call = channel.unary_unary(BATCH_SUBMIT)
        begin = time.perf_counter()

        async def caller() -> None:
            while (number := next(numbers)) < batches:
                await call(requests[number], timeout=60)

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(caller())
        return batches * size / (time.perf_counter() - begin)


def _batch(size: int, job_type: str) -> bytes:
    request = job_service_pb2.BatchSubmitJobsRequest(request_id=str(uuid_utils.uuid7()))
    for _ in range(size):
        one = request.requests.add()
        one.spec.type = job_type
        one.spec.payload.text = PAYLOAD
    return request.SerializeToString()
