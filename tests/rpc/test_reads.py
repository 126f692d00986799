"""GetJob, BatchGetJobs and ListJobs, seen from outside."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable

import pytest
from google.protobuf.duration_pb2 import Duration

from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.domain.job import State
from jobwire_server.rpc.convert.records import RESPONSE_LIMIT
from tests.rpc.rig import Code, FastClock, RpcRig, refused, request_of

pytestmark = pytest.mark.asyncio


# --- GetJob -------------------------------------------------------------------------------------------------------


async def test_a_read_is_full_unless_told_otherwise(rig: RpcRig) -> None:
    job_id = await rig.stores.job_in(State.COMPLETED)

    full = await rig.get(job_id)
    basic = await rig.get(job_id, view=jpb.JOB_VIEW_BASIC)

    assert full.status.result.data == b'"done"'
    assert full.spec.HasField("payload")
    assert len(full.attempts) == 1
    assert not basic.status.HasField("result")
    assert not basic.spec.HasField("payload")
    assert not basic.attempts


@pytest.mark.parametrize("state", [state for state in State if state is not State.BLOCKED])
async def test_a_job_in_any_state_can_be_read(rig: RpcRig, state: State) -> None:
    job_id = await rig.stores.job_in(state)

    assert (await rig.get(job_id)).status.state == state


async def test_an_unknown_job_is_not_found(rig: RpcRig) -> None:
    refusal = await refused(rig.api.GetJob(pb.GetJobRequest(job_id="nobody")))

    assert (refusal.code, refusal.reason) == (Code.NOT_FOUND, "JOB_NOT_FOUND")
    assert refusal.details["ResourceInfo"].resource_name == "nobody"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GetJobRequest(), "job_id"),
        (pb.GetJobRequest(job_id="a b"), "job_id"),
        (pb.GetJobRequest(job_id="a", view=99), "view"),  # type: ignore[arg-type]
        (pb.GetJobRequest(job_id="a", wait_revision=-1), "wait_revision"),
        (pb.GetJobRequest(job_id="a", wait_revision=1, wait_timeout=Duration(seconds=-1)), "wait_timeout"),
        (pb.GetJobRequest(job_id="a", wait_timeout=Duration(seconds=1)), "wait_timeout"),
    ],
)
async def test_a_read_that_makes_no_sense_is_refused(rig: RpcRig, request_: pb.GetJobRequest, field: str) -> None:
    refusal = await refused(rig.api.GetJob(request_))

    assert (refusal.code, refusal.reason, refusal.fields) == (Code.INVALID_ARGUMENT, "FIELD_INVALID", [field])


async def test_a_long_poll_is_answered_when_the_job_changes(rig: RpcRig) -> None:
    job = await rig.submit()
    poll = asyncio.create_task(_call(rig.api.GetJob(_poll(job.job_id, job.status.revision))))
    await _until_watched(rig)

    await rig.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id))

    assert (await poll).job.status.state == jpb.JOB_STATE_CANCELLED


async def test_a_long_poll_for_an_older_revision_is_answered_at_once(rig: RpcRig) -> None:
    job = await rig.submit()

    assert (await rig.api.GetJob(_poll(job.job_id, job.status.revision - 1))).job.job_id == job.job_id


async def test_a_long_poll_for_a_job_that_has_ended_is_answered_at_once(rig: RpcRig) -> None:
    job_id = await rig.stores.job_in(State.COMPLETED)

    assert (await rig.api.GetJob(_poll(job_id, 2**60))).job.status.state == jpb.JOB_STATE_COMPLETED


async def test_a_long_poll_that_waited_in_vain_gets_the_current_state() -> None:
    async with RpcRig(clock=FastClock(100)) as rig:
        job = await rig.submit()

        answer = await rig.api.GetJob(_poll(job.job_id, job.status.revision, seconds=10))

        assert answer.job.status.revision == job.status.revision


async def test_a_long_poll_is_answered_before_the_callers_deadline(rig: RpcRig) -> None:
    job = await rig.submit()

    answer = await rig.api.GetJob(_poll(job.job_id, job.status.revision), timeout=1.0)

    assert answer.job.job_id == job.job_id


async def test_a_long_poll_for_a_job_that_goes_away_is_told_so(rig: RpcRig) -> None:
    job = await rig.submit()
    poll = asyncio.create_task(refused(rig.api.GetJob(_poll(job.job_id, 2**60))))
    await _until_watched(rig)
    await rig.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id))

    # The job is terminal now, so that the poll is answered, unless it was deleted first.
    try:
        await rig.api.DeleteJob(pb.DeleteJobRequest(job_id=job.job_id))
        assert (await poll).reason == "JOB_NOT_FOUND"
    except AssertionError as error:
        assert "was not refused" in str(error)  # noqa: PT017 - both answers are right


async def test_a_draining_server_answers_long_polls_at_once(rig: RpcRig) -> None:
    job = await rig.submit()
    poll = asyncio.create_task(_call(rig.api.GetJob(_poll(job.job_id, job.status.revision))))
    await _until_watched(rig)

    await rig.server.drain()

    assert (await poll).job.status.revision == job.status.revision


# --- BatchGetJobs -------------------------------------------------------------------------------------------------


async def test_many_jobs_are_read_in_the_order_they_were_asked_for(rig: RpcRig) -> None:
    ids = [(await rig.submit()).job_id for _ in range(5)]
    wanted = [ids[3], "nobody", ids[0], ids[4], "nor-me"]

    response = await rig.api.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=wanted))

    assert [job.job_id for job in response.jobs] == [ids[3], ids[0], ids[4]]
    assert list(response.missing_job_ids) == ["nobody", "nor-me"]
    assert not response.jobs[0].spec.HasField("payload")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.BatchGetJobsRequest(), "FIELD_INVALID"),
        (pb.BatchGetJobsRequest(job_ids=["ok", "not ok"]), "FIELD_INVALID"),
        (pb.BatchGetJobsRequest(job_ids=["a"], view=77), "FIELD_INVALID"),  # type: ignore[arg-type]
        (pb.BatchGetJobsRequest(job_ids=["a"] * 1001), "BATCH_TOO_LARGE"),
    ],
)
async def test_a_batch_read_that_makes_no_sense_is_refused(
    rig: RpcRig, request_: pb.BatchGetJobsRequest, reason: str
) -> None:
    refusal = await refused(rig.api.BatchGetJobs(request_))

    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, reason)


async def test_a_batch_read_ends_early_when_it_grows_too_big(rig: RpcRig) -> None:
    ids = [(await rig.submit(payload=jpb.Payload(data=b"x" * 900_000))).job_id for _ in range(9)]

    seen: list[str] = []
    calls = 0
    while len(seen) < len(ids):
        response = await rig.api.BatchGetJobs(
            pb.BatchGetJobsRequest(job_ids=[job_id for job_id in ids if job_id not in seen], view=jpb.JOB_VIEW_FULL)
        )
        assert response.ByteSize() <= RESPONSE_LIMIT
        assert response.jobs
        seen += [job.job_id for job in response.jobs]
        calls += 1

    assert seen == ids
    assert calls == 3


# --- ListJobs -----------------------------------------------------------------------------------------------------


async def pages_of(rig: RpcRig, **fields: object) -> list[pb.ListJobsResponse]:
    pages = [await rig.api.ListJobs(pb.ListJobsRequest(**fields))]  # type: ignore[arg-type]
    while pages[-1].next_page_token:
        token = pages[-1].next_page_token
        pages.append(await rig.api.ListJobs(pb.ListJobsRequest(page_token=token, **fields)))  # type: ignore[arg-type]
    return pages


def ids_of(pages: Iterable[pb.ListJobsResponse]) -> list[str]:
    return [job.job_id for page in pages for job in page.jobs]


async def test_a_list_goes_from_the_newest_to_the_oldest_page_by_page(rig: RpcRig) -> None:
    ids = [(await rig.submit()).job_id for _ in range(7)]

    pages = await pages_of(rig, page_size=3)

    assert ids_of(pages) == ids[::-1]
    assert [len(page.jobs) for page in pages] == [3, 3, 1]


async def test_every_page_has_the_cursor_of_the_first(rig: RpcRig) -> None:
    for _ in range(3):
        await rig.submit()
    first = await rig.api.ListJobs(pb.ListJobsRequest(page_size=1))
    await rig.submit()

    second = await rig.api.ListJobs(pb.ListJobsRequest(page_size=1, page_token=first.next_page_token))

    assert second.cursor == first.cursor
    assert second.cursor.revision == 3


async def test_a_list_holds_what_its_filter_says(rig: RpcRig) -> None:
    mail = await rig.submit(queue="mail", labels={"customer": "42"})
    await rig.submit(queue="mail")
    failed = await rig.stores.job_in(State.FAILED)

    def matching(**conditions: object) -> pb.ListJobsRequest:
        return pb.ListJobsRequest(filter=jpb.JobFilter(**conditions))  # type: ignore[arg-type]

    by_label = await rig.api.ListJobs(matching(labels={"customer": "42"}, queues=["mail", "other"]))
    by_state = await rig.api.ListJobs(matching(states=[jpb.JOB_STATE_FAILED]))

    assert ids_of([by_label]) == [mail.job_id]
    assert ids_of([by_state]) == [failed]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListJobsRequest(page_size=-1), "page_size"),
        (pb.ListJobsRequest(view=5), "view"),  # type: ignore[arg-type]
        (pb.ListJobsRequest(filter=jpb.JobFilter(states=[0])), "filter.states"),  # type: ignore[list-item]
        (pb.ListJobsRequest(filter=jpb.JobFilter(states=[99])), "filter.states"),  # type: ignore[list-item]
        (pb.ListJobsRequest(filter=jpb.JobFilter(queues=["NO"])), "filter.queues"),
        (pb.ListJobsRequest(filter=jpb.JobFilter(create_time_min={"nanos": -1})), "filter.create_time_min"),  # type: ignore[arg-type]
    ],
)
async def test_a_list_that_makes_no_sense_is_refused(rig: RpcRig, request_: pb.ListJobsRequest, field: str) -> None:
    refusal = await refused(rig.api.ListJobs(request_))

    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert refusal.fields == [field]


async def test_a_page_token_is_bound_to_its_query(rig: RpcRig) -> None:
    for _ in range(2):
        await rig.submit()
    token = (await rig.api.ListJobs(pb.ListJobsRequest(page_size=1))).next_page_token

    for other in (
        pb.ListJobsRequest(page_token=token, filter=jpb.JobFilter(queues=["mail"])),
        pb.ListJobsRequest(page_token=token, view=jpb.JOB_VIEW_FULL),
    ):
        refusal = await refused(rig.api.ListJobs(other))
        assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH")
    assert (await rig.api.ListJobs(pb.ListJobsRequest(page_token=token, page_size=7))).jobs


async def test_a_page_token_cannot_be_made_up_or_altered(rig: RpcRig) -> None:
    for _ in range(2):
        await rig.submit()
    token = (await rig.api.ListJobs(pb.ListJobsRequest(page_size=1))).next_page_token
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    forged = [
        base64.urlsafe_b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).decode().rstrip("=")
        for at in range(len(raw))
    ]

    for bad in (*forged, "x", "ä", "A" * 600, token + "A", token[:-4]):
        refusal = await refused(rig.api.ListJobs(pb.ListJobsRequest(page_token=bad)))
        assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"), bad


async def test_a_page_token_of_another_store_is_refused(rig: RpcRig) -> None:
    async with RpcRig() as other:
        for _ in range(2):
            await other.submit()
        token = (await other.api.ListJobs(pb.ListJobsRequest(page_size=1))).next_page_token

    assert (await refused(rig.api.ListJobs(pb.ListJobsRequest(page_token=token)))).reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("surplus", [-1, 0, 1])
async def test_a_page_is_as_big_as_it_may_be_and_not_a_byte_bigger(rig: RpcRig, surplus: int) -> None:
    await self_fitting_jobs(rig, RESPONSE_LIMIT + surplus)

    pages = await pages_of(rig, page_size=10, view=jpb.JOB_VIEW_FULL)

    sizes = [page.ByteSize() for page in pages]
    if surplus > 0:
        assert len(pages) == 2
        assert max(sizes) <= RESPONSE_LIMIT
    else:
        assert sizes == [RESPONSE_LIMIT + surplus]
    assert len(ids_of(pages)) == 5


async def test_a_page_leaves_room_for_its_token(rig: RpcRig) -> None:
    oldest = await rig.submit(job_id="oldest")
    await self_fitting_jobs(rig, RESPONSE_LIMIT + len(job_record(await rig.get(oldest.job_id))))

    pages = await pages_of(rig, page_size=10, view=jpb.JOB_VIEW_FULL)

    assert [len(page.jobs) for page in pages] == [4, 2]
    assert all(page.ByteSize() <= RESPONSE_LIMIT for page in pages)


def job_record(job: jpb.Job) -> bytes:
    return pb.ListJobsResponse(jobs=[job]).SerializeToString()


async def self_fitting_jobs(rig: RpcRig, total: int) -> None:
    """Submit five jobs whose full list has exactly `total` bytes."""
    for _ in range(4):
        await rig.submit(payload=jpb.Payload(data=b"x" * 950_000))
    last = await rig.submit(payload=jpb.Payload(data=b"x" * 200_000), job_id="probe")
    size = (await rig.api.ListJobs(pb.ListJobsRequest(view=jpb.JOB_VIEW_FULL))).ByteSize()
    await rig.api.CancelJob(pb.CancelJobRequest(job_id=last.job_id))
    await rig.api.DeleteJob(pb.DeleteJobRequest(job_id=last.job_id))
    missing = total - size
    # The cursor grew by the three events above, and stays below 128: no varint changes its length.
    await rig.submit(payload=jpb.Payload(data=b"x" * (200_000 + missing)), job_id="prob2")


async def test_a_full_page_of_a_thousand_jobs_stays_below_the_limit(rig: RpcRig) -> None:
    requests = [request_of(payload=jpb.Payload(data=b"x" * 3000)) for _ in range(1000)]
    for _ in range(2):
        await rig.api.BatchSubmitJobs(pb.BatchSubmitJobsRequest(requests=requests))

    pages = await pages_of(rig, page_size=5000, view=jpb.JOB_VIEW_FULL)

    assert [len(page.jobs) for page in pages] == [1000, 1000]
    assert all(page.ByteSize() <= RESPONSE_LIMIT for page in pages)


def _poll(job_id: str, revision: int, seconds: int = 30) -> pb.GetJobRequest:
    return pb.GetJobRequest(job_id=job_id, wait_revision=revision, wait_timeout=Duration(seconds=seconds))


async def _call(call: object) -> pb.GetJobResponse:
    return await call  # type: ignore[misc]


async def _until_watched(rig: RpcRig) -> None:
    """Wait until somebody has registered with the hub."""
    await rig.hub._desk.anybody.wait()
    await rig.store.position()
