"""WatchJob and WatchJobs over the wire: refusals, the size of responses, and where each of them may be resumed."""

from __future__ import annotations

import random

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.domain.job import State
from jobwire_server.rpc.convert.events import batch_responses
from jobwire_server.rpc.convert.records import RESPONSE_LIMIT
from jobwire_server.watch.requests import Batch, Cursor, Detail
from jobwire_server.watch.ring import Entry
from tests.rpc.rig import Code, RpcRig, refused
from tests.watch.test_parts import event

pytestmark = pytest.mark.asyncio


async def responses_until(
    call: aio.UnaryStreamCall[pb.WatchJobsRequest, pb.WatchJobsResponse], revision: int
) -> list[pb.WatchJobsResponse]:
    seen: list[pb.WatchJobsResponse] = []
    while not seen or seen[-1].cursor.revision < revision:
        response = await call.read()
        assert isinstance(response, pb.WatchJobsResponse)
        seen.append(response)
    return seen


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.WatchJobsRequest(job_ids=["a"], filter=jpb.JobFilter(queues=["q"])), "job_ids"),
        (pb.WatchJobsRequest(job_ids=["not ok"]), "job_ids[0]"),
        (pb.WatchJobsRequest(job_ids=["a"] * 1001), "job_ids"),
        (pb.WatchJobsRequest(after=pb.WatchCursor(revision=-1)), "after.revision"),
        (pb.WatchJobsRequest(after=pb.WatchCursor(), send_initial_state=True), "after"),
        (pb.WatchJobsRequest(until_all_terminal=True), "until_all_terminal"),
        (pb.WatchJobsRequest(view=9), "view"),  # type: ignore[arg-type]
        (pb.WatchJobsRequest(filter=jpb.JobFilter(states=[77])), "filter.states"),  # type: ignore[list-item]
        (pb.WatchJobsRequest(bookmark_interval=Duration(seconds=1, nanos=-1)), "bookmark_interval"),
    ],
)
async def test_a_watch_that_makes_no_sense_is_refused(rig: RpcRig, request_: pb.WatchJobsRequest, field: str) -> None:
    refusal = await refused(rig.api.WatchJobs(request_))

    assert (refusal.code, refusal.reason, refusal.fields) == (Code.INVALID_ARGUMENT, "FIELD_INVALID", [field])


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.WatchJobRequest(), "job_id"),
        (pb.WatchJobRequest(job_id="a", after_revision=-1), "after_revision"),
        (pb.WatchJobRequest(job_id="a", view=9), "view"),  # type: ignore[arg-type]
    ],
)
async def test_a_watch_of_one_job_that_makes_no_sense_is_refused(
    rig: RpcRig, request_: pb.WatchJobRequest, field: str
) -> None:
    refusal = await refused(rig.api.WatchJob(request_))

    assert (refusal.code, refusal.reason, refusal.fields) == (Code.INVALID_ARGUMENT, "FIELD_INVALID", [field])


async def test_a_place_that_is_not_usable_is_told_with_the_facts(rig: RpcRig) -> None:
    job = await rig.submit()
    epoch = (await rig.api.ListJobs(pb.ListJobsRequest())).cursor.epoch

    ahead = await refused(rig.api.WatchJobs(pb.WatchJobsRequest(after=pb.WatchCursor(epoch=epoch, revision=99))))
    foreign = await refused(rig.api.WatchJobs(pb.WatchJobsRequest(after=pb.WatchCursor(epoch="x", revision=1))))
    one = await refused(rig.api.WatchJob(pb.WatchJobRequest(job_id=job.job_id, after_revision=99)))

    assert (ahead.code, ahead.reason) == (one.code, one.reason) == (Code.OUT_OF_RANGE, "REVISION_IN_FUTURE")
    assert (foreign.code, foreign.reason) == (Code.OUT_OF_RANGE, "STORE_EPOCH_CHANGED")
    for refusal in (ahead, foreign, one):
        assert (refusal.facts["current_revision"], refusal.facts["epoch"]) == ("1", epoch)


async def test_an_event_says_what_happened_to_which_job(rig: RpcRig) -> None:
    job_id = await rig.stores.job_in(State.FAILED, queue="mail")
    epoch = (await rig.api.ListJobs(pb.ListJobsRequest())).cursor.epoch
    call = rig.api.WatchJobs(
        pb.WatchJobsRequest(after=pb.WatchCursor(epoch=epoch), job_ids=[job_id], view=jpb.JOB_VIEW_FULL)
    )

    responses = await responses_until(call, 3)
    call.cancel()

    created, started, failed = [event for response in responses for event in response.events]
    assert [e.revision for e in (created, started, failed)] == [1, 2, 3]
    assert created.event_type == pb.JOB_EVENT_TYPE_CREATED
    assert (failed.event_type, failed.job_id, failed.queue) == (pb.JOB_EVENT_TYPE_UPDATED, job_id, "mail")
    assert failed.status.last_error.type == "Fatal"
    assert failed.status.revision == failed.revision
    assert failed.job == await rig.get(job_id)


async def test_the_responses_of_a_full_watch_stay_below_the_limit(rig: RpcRig) -> None:
    for _ in range(10):
        await rig.submit(payload=jpb.Payload(data=b"x" * 1_000_000))
    call = rig.api.WatchJobs(pb.WatchJobsRequest(send_initial_state=True, view=jpb.JOB_VIEW_FULL))

    responses = []
    while not responses or not responses[-1].initial_state_complete:
        response = await call.read()
        assert isinstance(response, pb.WatchJobsResponse)
        responses.append(response)
    call.cancel()

    assert all(response.ByteSize() <= RESPONSE_LIMIT for response in responses)
    snapshots = [event for response in responses for event in response.events]
    assert {event.event_type for event in snapshots} == {pb.JOB_EVENT_TYPE_SNAPSHOT}
    assert len(snapshots) == 10


@pytest.mark.parametrize("seed", range(5))
async def test_a_step_that_needs_several_responses_can_be_resumed_at_each(seed: int) -> None:
    chance = random.Random(seed)
    entries = [
        Entry(event(3 * number + 1, worker_id="w" * chance.choice((10, 60_000, 300_000)))) for number in range(40)
    ]
    batch = Batch(Cursor("epoch", 200), entries, draining=True)

    raw = list(batch_responses(batch, Detail.NONE))

    responses = [pb.WatchJobsResponse.FromString(each) for each in raw]
    assert len(responses) > 2
    assert [e.revision for response in responses for e in response.events] == [entry.revision for entry in entries]
    for response in responses[:-1]:
        assert response.cursor.revision == response.events[-1].revision
        assert not response.draining
    assert responses[-1].cursor == pb.WatchCursor(epoch="epoch", revision=200)
    assert responses[-1].draining
    assert list(batch_responses(batch, Detail.NONE)) == raw


async def test_an_event_is_encoded_once_for_all(rig: RpcRig) -> None:
    calls = [rig.api.WatchJobs(pb.WatchJobsRequest()) for _ in range(5)]
    for call in calls:
        await call.read()

    await rig.submit()
    for call in calls:
        await responses_until(call, 1)

    [entry] = rig.hub._tail._ring._entries
    assert entry.wire is not None
    for call in calls:
        call.cancel()
