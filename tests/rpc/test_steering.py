"""CancelJob, RetryJob, DeleteJob and GetServerInfo, seen from outside."""

from __future__ import annotations

import pytest

from jobwire.v1 import admin_service_pb2 as apb
from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire.v1 import worker_service_pb2 as wpb
from jobwire_server.domain.job import State
from tests.rpc.remote_worker import RemoteWorker
from tests.rpc.rig import Code, RpcRig, refused

pytestmark = pytest.mark.asyncio


async def test_a_waiting_job_is_cancelled_at_once(rig: RpcRig) -> None:
    job = await rig.submit()

    answer = await rig.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id, reason="changed my mind"))

    assert answer.job.status.state == jpb.JOB_STATE_CANCELLED
    again = await rig.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
    assert again.job.status.revision == answer.job.status.revision


async def test_a_running_job_is_asked_to_stop_unless_forced(rig: RpcRig) -> None:
    asked = await rig.stores.job_in(State.PROCESSING)
    forced = await rig.stores.job_in(State.PROCESSING)

    first = await rig.api.CancelJob(pb.CancelJobRequest(job_id=asked))
    second = await rig.api.CancelJob(pb.CancelJobRequest(job_id=forced, force=True))

    assert first.job.status.state == jpb.JOB_STATE_PROCESSING
    assert first.job.status.HasField("cancel_request_time")
    assert second.job.status.state == jpb.JOB_STATE_CANCELLED


async def test_a_job_that_has_ended_cannot_be_cancelled(rig: RpcRig) -> None:
    job_id = await rig.stores.job_in(State.COMPLETED)

    refusal = await refused(rig.api.CancelJob(pb.CancelJobRequest(job_id=job_id)))

    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "JOB_TERMINAL")
    assert refusal.facts["state"] == "COMPLETED"


async def test_a_failed_job_is_put_back(rig: RpcRig) -> None:
    job_id = await rig.stores.job_in(State.FAILED)

    answer = await rig.api.RetryJob(pb.RetryJobRequest(job_id=job_id, additional_attempts=3))

    assert answer.job.status.state == jpb.JOB_STATE_PENDING
    assert answer.job.status.max_attempts == answer.job.status.attempt + 3


async def test_a_retry_may_wait_for_its_time(rig: RpcRig) -> None:
    job_id = await rig.stores.job_in(State.CANCELLED)
    request = pb.RetryJobRequest(job_id=job_id)
    request.schedule_time.FromMicroseconds(rig.stores.clock.wall_us() + 3_600_000_000)

    answer = await rig.api.RetryJob(request)

    assert answer.job.status.state == jpb.JOB_STATE_SCHEDULED
    assert answer.job.status.next_attempt_time == request.schedule_time


@pytest.mark.parametrize(
    ("state", "reason"),
    [(State.PENDING, "JOB_NOT_TERMINAL"), (State.PROCESSING, "JOB_NOT_TERMINAL"), (State.COMPLETED, "JOB_SUCCEEDED")],
)
async def test_only_what_ended_badly_is_retried(rig: RpcRig, state: State, reason: str) -> None:
    job_id = await rig.stores.job_in(state)

    refusal = await refused(rig.api.RetryJob(pb.RetryJobRequest(job_id=job_id)))

    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, reason)


async def test_a_terminal_job_is_removed_for_good(rig: RpcRig) -> None:
    job_id = await rig.stores.job_in(State.FAILED)

    await rig.api.DeleteJob(pb.DeleteJobRequest(job_id=job_id))

    assert (await refused(rig.api.GetJob(pb.GetJobRequest(job_id=job_id)))).reason == "JOB_NOT_FOUND"
    assert (await refused(rig.api.DeleteJob(pb.DeleteJobRequest(job_id=job_id)))).reason == "JOB_NOT_FOUND"
    await rig.api.DeleteJob(pb.DeleteJobRequest(job_id=job_id, allow_missing=True))


async def test_a_job_that_lives_is_not_removed(rig: RpcRig) -> None:
    job = await rig.submit()

    refusal = await refused(rig.api.DeleteJob(pb.DeleteJobRequest(job_id=job.job_id)))

    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "JOB_NOT_TERMINAL")


@pytest.mark.parametrize("method", ["CancelJob", "RetryJob", "DeleteJob"])
async def test_steering_an_unknown_job_is_not_found(rig: RpcRig, method: str) -> None:
    request = getattr(pb, f"{method}Request")(job_id="nobody")

    refusal = await refused(getattr(rig.api, method)(request))

    assert (refusal.code, refusal.reason) == (Code.NOT_FOUND, "JOB_NOT_FOUND")
    assert refusal.details["ResourceInfo"].resource_name == "nobody"


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("CancelJob", pb.CancelJobRequest(), "job_id"),
        ("CancelJob", pb.CancelJobRequest(job_id="a", reason="x" * 1025), "reason"),
        ("RetryJob", pb.RetryJobRequest(job_id="a b"), "job_id"),
        ("RetryJob", pb.RetryJobRequest(job_id="a", additional_attempts=-1), "additional_attempts"),
        ("RetryJob", pb.RetryJobRequest(job_id="a", schedule_time={"nanos": -1}), "schedule_time"),  # type: ignore[arg-type]
        ("DeleteJob", pb.DeleteJobRequest(job_id="é"), "job_id"),
    ],
)
async def test_steering_that_makes_no_sense_is_refused(rig: RpcRig, method: str, request_: object, field: str) -> None:
    refusal = await refused(getattr(rig.api, method)(request_))

    assert (refusal.code, refusal.reason, refusal.fields) == (Code.INVALID_ARGUMENT, "FIELD_INVALID", [field])


async def test_the_server_tells_which_types_are_served_by_workers_that_are_here(rig: RpcRig) -> None:
    async def types() -> list[str]:
        return list((await rig.admin.GetServerInfo(apb.GetServerInfoRequest())).server_info.capabilities)

    assert await types() == []
    async with RemoteWorker(rig, types=["mail", "thumb"]) as worker:
        assert await types() == ["type:mail", "type:thumb"]
        pull = wpb.PullJobsRequest(worker_id="puller", types=["pulled"], queues=[wpb.QueueSubscription(queue="*")])
        await rig.work.PullJobs(pull)
        assert await types() == ["type:mail", "type:pulled", "type:thumb"]
        await worker.hang_up()
        await worker.end()
    assert await types() == ["type:pulled"], "a worker by calls is here for a minute after each"


@pytest.mark.parametrize("wanted", [[], [f"t{number}" for number in range(201)]], ids=["any", "too many"])
async def test_types_are_not_listed_when_the_list_would_mislead(rig: RpcRig, wanted: list[str]) -> None:
    async with RemoteWorker(rig), RemoteWorker(rig, worker_id="w2", instance_id="i2", types=wanted):
        info = (await rig.admin.GetServerInfo(apb.GetServerInfoRequest())).server_info

    assert not info.capabilities


async def test_the_server_tells_what_it_is_and_what_it_takes(rig: RpcRig) -> None:
    job = await rig.submit()

    info = (await rig.admin.GetServerInfo(apb.GetServerInfoRequest())).server_info

    assert (info.version, info.store) == ("1.2.3", "sqlite")
    assert (info.max_message_bytes, info.max_payload_bytes, info.max_batch_size) == (4 << 20, 1 << 20, 1000)
    assert info.current.revision == job.status.revision
    assert info.current.epoch == info.compacted.epoch != ""
