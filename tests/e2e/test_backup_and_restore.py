"""A store is copied while its server works, and put back: nobody is told something that is not so any more."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from jobwire import AsyncClient
from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire.v1 import worker_service_pb2 as wpb
from jobwire.v1 import worker_service_pb2_grpc
from tests.e2e.conftest import CALL_SECONDS, Client, World
from tests.helpers.processes import JOBWIRE, REPOSITORY
from tests.rpc.rig import Code, refused

pytestmark = pytest.mark.asyncio

CALLERS = 8


class Ended(Exception):
    """A command ended otherwise than well."""


async def db(world: World, command: str, *arguments: str, store: Path | None = None) -> dict[str, Any]:
    """Run `jobwire db COMMAND … -o json` as a process of its own and read its answer."""
    process = await _spawn(world, command, *arguments, "-o", "json", store=store)
    out, error = await process.communicate()
    if process.returncode != 0:
        raise Ended(process.returncode, error.decode())
    document: dict[str, Any] = json.loads(out)
    return document


async def _spawn(world: World, command: str, *arguments: str, store: Path | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(*JOBWIRE, "db", command, *arguments, "--db", str(store or world.database)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )


async def ended_in_the_middle(world: World, number: signal.Signals, command: str, *arguments: str) -> int | None:
    """Run a copying command and signal it when it has copied and not yet checked: the copy has no name then."""
    process = await _spawn(world, command, *arguments)
    assert process.stderr is not None
    line = ""
    while "checking" not in line:
        line = (await process.stderr.readline()).decode()
        assert line, "it was over before it could be killed"
    process.send_signal(number)
    await process.communicate()
    return process.returncode


@asynccontextmanager
async def load(client: Client) -> AsyncIterator[list[str]]:
    """Submit jobs without a pause, by several callers; the list grows by each id that was acknowledged."""
    acknowledged: list[str] = []

    async def submit_on() -> None:
        while True:
            acknowledged.append(await client.submit("echo", '"x"'))

    callers = [asyncio.create_task(submit_on()) for _ in range(CALLERS)]
    try:
        while len(acknowledged) < 10 * CALLERS:  # noqa: ASYNC110 - any of the callers may be the one
            await asyncio.sleep(0.01)
        yield acknowledged
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
    failed = [caller.exception() for caller in callers if not caller.cancelled()]
    assert failed == [], "the server kept no caller waiting or out"


async def test_a_backup_that_is_made_under_load_is_restored_and_the_service_goes_on(world: World) -> None:
    backup = world.folder / "backup.db"
    server = await world.serving()
    async with world.client() as client, load(client) as acknowledged:
        before = set(acknowledged)
        answer = await db(world, "backup", str(backup))
        assert answer["checked"]
        during = len(acknowledged) - len(before)
    assert during > 0, "else there was no load"
    server.send(signal.SIGKILL)
    await server.wait(20)

    restored = await db(world, "restore", str(backup))
    await world.serving()

    async with world.client() as client:
        for job_id in before:
            await client.reaches(job_id, jpb.JOB_STATE_COMPLETED)
    assert (await db(world, "check"))["sound"]
    kept = Path(restored["kept"])
    assert (await db(world, "status", store=kept))["jobs"].keys() <= {"PENDING", "PROCESSING", "COMPLETED"}
    assert sum((await db(world, "status", store=kept))["jobs"].values()) >= len(acknowledged)


async def test_watchers_workers_and_clients_of_the_old_life_are_told_the_truth(world: World) -> None:
    backup, request_id = world.folder / "backup.db", str(uuid.uuid4())
    server = await world.serving()
    async with grpc.aio.insecure_channel(f"unix:{world.socket}") as channel:
        workers: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)  # type: ignore[no-untyped-call]
        async with world.client() as client:
            job_id = await _submit_once(client, request_id)
            early = await _pull(workers)
            await db(world, "backup", str(backup))
            await _release(workers, early)
            late = await _pull(workers)
            cursor = await _cursor(client)
        server.send(signal.SIGTERM)
        assert await server.wait(30) == 0
    await db(world, "restore", str(backup))
    await world.serving()

    async with grpc.aio.insecure_channel(f"unix:{world.socket}") as channel:
        workers = worker_service_pb2_grpc.WorkerServiceStub(channel)  # type: ignore[no-untyped-call]
        async with world.client() as client:
            stub: Any = client.stub
            told = await refused(stub.WatchJobs(pb.WatchJobsRequest(after=cursor)))
            assert (told.code, told.reason) == (Code.OUT_OF_RANGE, "STORE_EPOCH_CHANGED")

            for assignment in (early, late):
                done = wpb.CompleteJobRequest(lease_token=assignment.lease_token, result=jpb.Payload(text='"late"'))
                lost = await refused(workers.CompleteJob(done, timeout=CALL_SECONDS))
                assert (lost.code, lost.reason) == (Code.FAILED_PRECONDITION, "LEASE_LOST")

            assert await _submit_once(client, request_id) == job_id, "a repeated submit finds the job"
            again = await _pull(workers)
            assert (again.job_id, again.attempt) == (job_id, 2)
            assert again.fence > max(early.fence, late.fence)
            for assignment in (early, late):
                done = wpb.CompleteJobRequest(lease_token=assignment.lease_token, result=jpb.Payload(text='"late"'))
                assert (await refused(workers.CompleteJob(done, timeout=CALL_SECONDS))).reason == "LEASE_LOST"
            mine = wpb.CompleteJobRequest(lease_token=again.lease_token, result=jpb.Payload(text='"mine"'))
            await workers.CompleteJob(mine, timeout=CALL_SECONDS)
            assert (await client.get(job_id)).status.state == jpb.JOB_STATE_COMPLETED


async def test_who_waits_for_a_job_across_a_restore_gets_the_result_that_stands(world: World) -> None:
    """What it has seen last is newer than anything in the backup."""
    backup = world.folder / "backup.db"
    server = await world.serving()
    async with AsyncClient(f"unix:{world.socket}") as sdk:
        job = await sdk.submit("elsewhere")
        await db(world, "backup", str(backup))
        await asyncio.wait([asyncio.create_task(sdk.submit("echo", "x")) for _ in range(30)])
        updates = job.watch()
        async with grpc.aio.insecure_channel(f"unix:{world.socket}") as channel:
            await _pull(worker_service_pb2_grpc.WorkerServiceStub(channel))  # type: ignore[no-untyped-call]
            async for update in updates:
                seen = update.status.revision
                if update.state == "PROCESSING":
                    break
        result = asyncio.create_task(job.result())
        server.send(signal.SIGTERM)
        assert await server.wait(30) == 0
        await db(world, "restore", str(backup))
        await world.serving()

        async with grpc.aio.insecure_channel(f"unix:{world.socket}") as channel:
            workers: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)  # type: ignore[no-untyped-call]
            again = await _pull(workers)
            mine = jpb.Payload(text='"mine"', content_type="application/json")
            await workers.CompleteJob(wpb.CompleteJobRequest(lease_token=again.lease_token, result=mine))
        assert await result == "mine"
        told = [update.status async for update in updates]
        assert told[-1].state == "COMPLETED"
        assert told[-1].revision > seen


async def test_a_backup_that_is_killed_leaves_nothing_under_its_name(world: World) -> None:
    backup = world.folder / "backup.db"
    await world.serving()
    async with world.client() as client:
        job_id = await client.submit("echo", '"x"')
        await client.reaches(job_id, jpb.JOB_STATE_COMPLETED)

        code = await ended_in_the_middle(world, signal.SIGKILL, "backup", str(backup))

        assert code == -signal.SIGKILL
        assert not backup.exists()
        assert (await db(world, "check"))["sound"]
        await client.submit("echo")
    await db(world, "backup", str(backup))
    assert (await db(world, "check", store=backup))["sound"]


async def test_a_backup_that_is_told_to_stop_leaves_nothing_at_all(world: World) -> None:
    await world.serving()
    before = {path.name for path in world.folder.iterdir()}

    code = await ended_in_the_middle(world, signal.SIGTERM, "backup", str(world.folder / "backup.db"))

    assert code == 143
    assert {path.name for path in world.folder.iterdir()} == before


async def test_a_restore_that_is_killed_leaves_the_store_that_was_there(world: World) -> None:
    backup = world.folder / "backup.db"
    server = await world.serving()
    async with world.client() as client:
        await db(world, "backup", str(backup))
        job_id = await client.submit("echo", '"x"')
        await client.reaches(job_id, jpb.JOB_STATE_COMPLETED)
    server.send(signal.SIGKILL)
    await server.wait(20)
    epoch = (await db(world, "status"))["epoch"]

    code = await ended_in_the_middle(world, signal.SIGKILL, "restore", str(backup))

    assert code == -signal.SIGKILL
    await world.serving()
    async with world.client() as client:
        assert (await client.get(job_id)).status.state == jpb.JOB_STATE_COMPLETED
    assert (await db(world, "status"))["epoch"] == epoch


async def test_a_store_is_not_restored_or_migrated_under_a_living_server(world: World) -> None:
    backup = world.folder / "backup.db"
    server = await world.serving()
    await db(world, "backup", str(backup))
    for command, *arguments in (("restore", str(backup)), ("migrate",)):
        with pytest.raises(Ended) as caught:
            await db(world, command, *arguments)
        assert caught.value.args[0] == 7
        assert json.loads(caught.value.args[1])["error"]["code"] == "STORE_IN_USE"
    assert (await db(world, "status"))["server_pid"] == server.pid


async def _submit_once(client: Client, request_id: str) -> str:
    stub: Any = client.stub
    spec = jpb.JobSpec(type="elsewhere", retry_policy=jpb.RetryPolicy(max_attempts=5))
    response = await stub.SubmitJob(pb.SubmitJobRequest(spec=spec, request_id=request_id), timeout=CALL_SECONDS)
    return str(response.job.job_id)


async def _pull(workers: Any) -> wpb.Assignment:
    request = wpb.PullJobsRequest(
        worker_id="w", queues=[wpb.QueueSubscription(queue="default")], types=["elsewhere"],
        wait_timeout={"seconds": 10}, lease_duration={"seconds": 600},
    )  # fmt: skip
    [assignment] = (await workers.PullJobs(request, timeout=CALL_SECONDS)).assignments
    return assignment


async def _release(workers: Any, assignment: wpb.Assignment) -> None:
    outcome = wpb.Outcome(lease_token=assignment.lease_token, release=wpb.Release())
    await workers.ReportOutcomes(wpb.ReportOutcomesRequest(outcomes=[outcome]), timeout=CALL_SECONDS)


async def _cursor(client: Client) -> pb.WatchCursor:
    stub: Any = client.stub
    watch = stub.WatchJobs(pb.WatchJobsRequest())
    first = await watch.read()
    watch.cancel()
    return first.cursor
