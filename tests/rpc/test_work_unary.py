"""The unary twins of the Work stream: a worker with nothing but calls, grpcurl for instance."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobwire.v1 import admin_service_pb2 as apb
from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire.v1 import worker_service_pb2 as wpb
from tests.helpers.clock import ManualClock
from tests.rpc.remote_worker import RemoteWorker, failure, success
from tests.rpc.rig import Code, RpcRig, refused, request_of, until

pytestmark = pytest.mark.asyncio


def pull_request(**fields: Any) -> wpb.PullJobsRequest:
    own: dict[str, Any] = {
        "worker_id": "u1", "queues": [wpb.QueueSubscription(queue="default")], "types": ["work"],
    }  # fmt: skip
    return wpb.PullJobsRequest(**{**own, **fields})


async def pull(rig: RpcRig, timeout: float = 20, **fields: Any) -> list[wpb.Assignment]:
    return list((await rig.work.PullJobs(pull_request(**fields), timeout=timeout)).assignments)


async def waiting(rig: RpcRig) -> None:
    """Until a pull waits in the dispatcher."""
    await until(lambda: any(session.window for session in rig.engine.dispatcher._sessions))


async def test_a_pull_of_nothing_answers_at_once_and_is_no_error(rig: RpcRig) -> None:
    response = await rig.work.PullJobs(pull_request())
    assert response == wpb.PullJobsResponse()


async def test_a_pull_takes_what_is_there_in_order_and_no_more_than_it_asked_for(rig: RpcRig) -> None:
    low, high = await rig.submit(priority=1), await rig.submit(priority=9)
    last = await rig.submit(priority=0)

    got = await pull(rig, max_jobs=2)

    assert [each.job_id for each in got] == [high.job_id, low.job_id]
    assert (await rig.get(last.job_id)).status.attempt == 0


async def test_a_waiting_pull_is_answered_by_the_submit_itself(rig: RpcRig) -> None:
    pulling = asyncio.create_task(pull(rig, wait_timeout={"seconds": 15}))
    await waiting(rig)

    job = await rig.submit()

    [assignment] = await pulling
    assert assignment.job_id == job.job_id
    assert rig.stores.sql("SELECT transport FROM job") == [(2,)]


async def test_a_wait_ends_empty_when_its_time_is_over() -> None:
    clock = ManualClock()
    async with RpcRig(clock=clock) as rig:
        pulling = asyncio.create_task(pull(rig, wait_timeout={"seconds": 15}))
        await waiting(rig)
        clock.advance(14)
        assert not pulling.done()
        while not pulling.done():
            clock.advance(0.5)
            await asyncio.sleep(0.001)
        assert pulling.result() == []


async def test_success_and_failure_are_recorded_and_safe_to_repeat(rig: RpcRig) -> None:
    jobs = [await rig.submit() for _ in range(2)]
    one, two = await pull(rig, max_jobs=2)
    done = wpb.CompleteJobRequest(lease_token=one.lease_token, result=jpb.Payload(text="1"))
    assert await rig.work.CompleteJob(done) == wpb.CompleteJobResponse()
    assert await rig.work.CompleteJob(done) == wpb.CompleteJobResponse(duplicate=True)

    error = jpb.JobError(type="Boom", retryable=True)
    failed = await rig.work.FailJob(
        wpb.FailJobRequest(lease_token=two.lease_token, error=error, retry_delay={"seconds": 5})
    )
    assert (failed.duplicate, failed.state) == (False, jpb.JOB_STATE_RETRYING)
    assert failed.HasField("next_attempt_time")
    again = await rig.work.FailJob(wpb.FailJobRequest(lease_token=two.lease_token, error=error))
    assert (again.duplicate, again.state) == (True, jpb.JOB_STATE_RETRYING)
    assert [(await rig.get(job.job_id)).status.state for job in jobs] == [
        jpb.JOB_STATE_COMPLETED,
        jpb.JOB_STATE_RETRYING,
    ]


async def test_a_late_report_is_refused_and_changes_nothing(rig: RpcRig) -> None:
    await rig.submit()
    [assignment] = await pull(rig)
    rig.stores.clock.advance(31)
    await rig.store.expire_leases(limit=10)
    before = rig.stores.dump()

    refusal = await refused(rig.work.CompleteJob(wpb.CompleteJobRequest(lease_token=assignment.lease_token)))

    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "LEASE_LOST")
    assert refusal.facts == {"state": "RETRYING", "fence": "1"}
    assert rig.stores.dump() == before


@pytest.mark.parametrize("token", [b"", b"x" * 29, b"\x01" + b"\x00" * 28])
async def test_a_token_that_this_store_did_not_make_is_malformed(rig: RpcRig, token: bytes) -> None:
    refusal = await refused(rig.work.CompleteJob(wpb.CompleteJobRequest(lease_token=token)))
    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "LEASE_TOKEN_MALFORMED")


async def test_no_single_changed_bit_makes_another_valid_token(rig: RpcRig) -> None:
    await rig.submit()
    [assignment] = await pull(rig)
    token = assignment.lease_token
    for position in range(len(token) * 8):
        forged = bytearray(token)
        forged[position // 8] ^= 1 << position % 8
        refusal = await refused(rig.work.CompleteJob(wpb.CompleteJobRequest(lease_token=bytes(forged))))
        assert refusal.reason == "LEASE_TOKEN_MALFORMED"


async def test_the_same_request_id_finds_the_same_leases_and_another_worker_does_not(rig: RpcRig) -> None:
    for _ in range(3):
        await rig.submit(payload=jpb.Payload(text="x"))
    first = await pull(rig, max_jobs=2, request_id="r1")
    again = await pull(rig, max_jobs=2, request_id="r1")
    assert [each.lease_token for each in again] == [each.lease_token for each in first]
    assert [each.payload for each in again] == [each.payload for each in first]

    other = await pull(rig, worker_id="u2", max_jobs=2, request_id="r1")
    assert len(other) == 1
    assert other[0].job_id not in {each.job_id for each in first}


async def test_a_pull_whose_caller_vanishes_costs_no_attempt(rig: RpcRig) -> None:
    call = rig.work.PullJobs(pull_request(wait_timeout={"seconds": 15}))
    await waiting(rig)
    call.cancel()
    await until(lambda: not any(session.window for session in rig.engine.dispatcher._sessions))

    job = await rig.submit()

    status = (await rig.get(job.job_id)).status
    assert (status.state, status.attempt) == (jpb.JOB_STATE_PENDING, 0)
    assert [each.job_id for each in await pull(rig)] == [job.job_id]


async def test_leases_that_come_while_the_caller_vanishes_go_back(rig: RpcRig) -> None:
    """The dangerous moment: the lease is committed, and nobody is there any more to be told."""
    await rig.submit()
    really = rig.store.lease

    async def lease_and_vanish(request: Any) -> Any:
        leases = await really(request)
        call.cancel()
        await until(lambda: call.done() and not any(s.window for s in rig.engine.dispatcher._sessions))
        return leases

    rig.store.lease = lease_and_vanish  # type: ignore[method-assign]
    call = rig.work.PullJobs(pull_request())
    with pytest.raises(asyncio.CancelledError):
        await call
    rig.store.lease = really  # type: ignore[method-assign]

    while not (got := await pull(rig)):
        pass
    assert got[0].attempt == 1
    assert got[0].fence == 2, "it was leased, and given back"


async def test_heartbeats_keep_the_lease_and_tell_of_cancels(rig: RpcRig) -> None:
    job = await rig.submit()
    [assignment] = await pull(rig)
    token = assignment.lease_token
    rig.stores.clock.advance(20)
    beat = wpb.HeartbeatRequest(
        worker_id="u1",
        lease_updates=[
            wpb.LeaseUpdate(lease_token=token, progress_percent=50, checkpoint=jpb.Payload(text="half")),
            wpb.LeaseUpdate(lease_token=b"nonsense"),
        ],
    )
    first, second = (await rig.work.Heartbeat(beat)).lease_states
    assert (first.lease_token, first.valid, first.remaining.seconds) == (token, True, 30)
    assert (second.lease_token, second.valid) == (b"nonsense", False)
    assert (await rig.get(job.job_id)).status.progress_percent == 50

    await rig.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
    [state] = (
        await rig.work.Heartbeat(wpb.HeartbeatRequest(worker_id="u1", lease_updates=[beat.lease_updates[0]]))
    ).lease_states
    assert state.cancel_requested
    assert state.remaining.seconds <= 10, "no heartbeat keeps a cancelled job alive beyond its grace"


async def test_a_cancelled_job_whose_unary_worker_does_not_listen_is_fenced_after_the_grace() -> None:
    clock = ManualClock()
    async with RpcRig(clock=clock) as rig:
        job = await rig.submit()
        [assignment] = await pull(rig)
        await rig.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
        while (await rig.get(job.job_id)).status.state == jpb.JOB_STATE_PROCESSING:
            # In small steps: the grace of 10 s has to be noticed before the lease is over, which nobody sweeps here.
            clock.advance(0.05)
        refusal = await refused(rig.work.CompleteJob(wpb.CompleteJobRequest(lease_token=assignment.lease_token)))
        assert refusal.reason == "LEASE_LOST"
        assert (await rig.get(job.job_id)).status.state == jpb.JOB_STATE_CANCELLED


async def test_many_outcomes_in_one_call_are_answered_in_their_order(rig: RpcRig) -> None:
    for _ in range(3):
        await rig.submit()
    one, two, three = await pull(rig, max_jobs=3)
    response = await rig.work.ReportOutcomes(
        wpb.ReportOutcomesRequest(
            outcomes=[success(one.lease_token), success(b"?"), failure(two.lease_token), success(three.lease_token)]
        )
    )
    assert [(ack.lease_token, ack.code) for ack in response.outcome_acks] == [
        (one.lease_token, wpb.OUTCOME_CODE_RECORDED),
        (b"?", wpb.OUTCOME_CODE_INVALID),
        (two.lease_token, wpb.OUTCOME_CODE_RECORDED),
        (three.lease_token, wpb.OUTCOME_CODE_RECORDED),
    ]


async def test_follow_ups_of_complete_job_come_with_it_or_not_at_all(rig: RpcRig) -> None:
    await rig.submit()
    [assignment] = await pull(rig)
    bad = wpb.CompleteJobRequest(lease_token=assignment.lease_token, follow_ups=[request_of(type="")])
    refusal = await refused(rig.work.CompleteJob(bad))
    assert refusal.fields == ["follow_ups[0].spec.type"]

    good = [request_of(type="child", job_id="child")]
    await rig.work.CompleteJob(wpb.CompleteJobRequest(lease_token=assignment.lease_token, follow_ups=good))
    assert (await rig.get("child")).spec.type == "child"


async def test_a_job_from_the_stream_may_be_reported_by_a_call_and_its_credit_comes_back(rig: RpcRig) -> None:
    await rig.submit()
    async with RemoteWorker(rig, max_in_flight=1) as worker:
        [assignment] = await worker.jobs(1)
        await rig.work.CompleteJob(wpb.CompleteJobRequest(lease_token=assignment.lease_token))
        await rig.submit()
        await worker.jobs(2)


async def test_a_waiting_pull_is_told_that_the_server_drains(rig: RpcRig) -> None:
    pulling = asyncio.create_task(_response(rig, wait_timeout={"seconds": 15}))
    await waiting(rig)
    await rig.engine.dispatcher.stop_granting("the server stops")
    assert (await pulling).draining


async def _response(rig: RpcRig, **fields: Any) -> wpb.PullJobsResponse:
    response: wpb.PullJobsResponse = await rig.work.PullJobs(pull_request(**fields))
    return response


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("PullJobs", pull_request(worker_id=""), "worker_id"),
        ("PullJobs", pull_request(queues=[]), "queues"),
        ("PullJobs", pull_request(max_jobs=101), "max_jobs"),
        ("PullJobs", pull_request(request_id="\n"), "request_id"),
        ("Heartbeat", wpb.HeartbeatRequest(worker_id="u1"), "lease_updates"),
        ("Heartbeat", wpb.HeartbeatRequest(lease_updates=[wpb.LeaseUpdate()]), "worker_id"),
        ("ReportOutcomes", wpb.ReportOutcomesRequest(), "outcomes"),
    ],
)
async def test_what_is_wrong_is_named(rig: RpcRig, method: str, request_: Any, field: str) -> None:
    refusal = await refused(getattr(rig.work, method)(request_))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, [field])


async def test_a_failure_without_a_type_is_refused_and_the_lease_stands(rig: RpcRig) -> None:
    await rig.submit()
    [assignment] = await pull(rig)
    refusal = await refused(rig.work.FailJob(wpb.FailJobRequest(lease_token=assignment.lease_token)))
    assert refusal.fields == ["error.type"]
    assert not (await rig.work.CompleteJob(wpb.CompleteJobRequest(lease_token=assignment.lease_token))).duplicate


# --- who works here ---------------------------------------------------------------------------------------------------


async def test_workers_of_both_paths_are_listed_with_what_they_hold(rig: RpcRig) -> None:
    await rig.submit()
    await rig.submit()
    async with RemoteWorker(rig, worker_id="s1", max_in_flight=1, user_agent="test/1"):
        await pull(rig)
        listed = await rig.admin.ListWorkers(apb.ListWorkersRequest())
    stream, unary = listed.workers
    assert (stream.worker_id, stream.instance_id, stream.user_agent) == ("s1", "i1", "test/1")
    assert (stream.connected, stream.max_in_flight, stream.in_flight) == (True, 1, 1)
    assert (list(stream.queues), list(stream.types)) == (["*"], ["work"])
    assert (unary.worker_id, unary.connected, unary.in_flight) == ("u1", False, 1)
    assert unary.HasField("last_seen_time")


async def test_a_long_list_of_workers_comes_in_pages(rig: RpcRig) -> None:
    for number in range(5):
        await pull(rig, worker_id=f"u{number}")
    seen: list[str] = []
    token = ""
    while True:
        page = await rig.admin.ListWorkers(apb.ListWorkersRequest(page_size=2, page_token=token))
        seen += [worker.worker_id for worker in page.workers]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"u{number}" for number in range(5)]
    refusal = await refused(rig.admin.ListWorkers(apb.ListWorkersRequest(page_token="forged")))
    assert refusal.reason == "PAGE_TOKEN_INVALID"
