"""A thousand watchers over real gRPC, a hundred of which never read."""

from __future__ import annotations

import asyncio

import pytest
from grpc import aio

from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.watch.feed import MAX_PENDING
from tests.rpc.rig import RpcRig, request_of, until

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(180)]

READERS = 900
SILENT = 100
QUEUES = 30
ROUNDS = 5


async def test_a_thousand_watchers_of_which_a_hundred_never_read_all_get_what_is_theirs() -> None:
    async with RpcRig() as rig:
        silent = [rig.api.WatchJobs(pb.WatchJobsRequest()) for _ in range(SILENT)]
        readers = [
            rig.api.WatchJobs(pb.WatchJobsRequest(filter=jpb.JobFilter(queues=[f"queue-{number % QUEUES}"])))
            for number in range(READERS)
        ]
        for reader in readers:
            await reader.read()
        await until(lambda: len(rig.hub._desk.watchers) == READERS + SILENT)

        submitted: dict[str, list[str]] = {f"queue-{number}": [] for number in range(QUEUES)}
        async with asyncio.TaskGroup() as group:
            seen = [group.create_task(_read(reader, ROUNDS)) for reader in readers]
            for _ in range(ROUNDS):
                requests = [request_of(queue=queue) for queue in submitted]
                answer = await rig.api.BatchSubmitJobs(pb.BatchSubmitJobsRequest(requests=requests))
                for queue, result in zip(submitted, answer.results, strict=True):
                    submitted[queue].append(result.job_id)

        for number, task in enumerate(seen):
            assert task.result() == submitted[f"queue-{number % QUEUES}"]
        for feed in rig.hub._desk.watchers:
            assert len(feed._pending) <= MAX_PENDING  # type: ignore[attr-defined]
        assert len(rig.hub._index._interests) == QUEUES + 1
        for call in (*silent, *readers):
            call.cancel()
        await until(lambda: not rig.hub._desk.watchers)


async def _read(call: aio.UnaryStreamCall[pb.WatchJobsRequest, pb.WatchJobsResponse], count: int) -> list[str]:
    seen: list[str] = []
    while len(seen) < count:
        response = await call.read()
        assert isinstance(response, pb.WatchJobsResponse)
        seen += [event.job_id for event in response.events]
    return seen
