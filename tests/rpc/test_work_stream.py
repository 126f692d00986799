"""The Work stream, frame by frame: what a worker in any language may rely on."""

from __future__ import annotations

import pytest

from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire.v1 import worker_service_pb2 as wpb
from tests.helpers.clock import ManualClock
from tests.rpc.remote_worker import RemoteWorker, failure, success
from tests.rpc.rig import RpcRig, request_of

pytestmark = pytest.mark.asyncio

RECORDED = wpb.OUTCOME_CODE_RECORDED
DUPLICATE = wpb.OUTCOME_CODE_DUPLICATE
LEASE_LOST = wpb.OUTCOME_CODE_LEASE_LOST
INVALID = wpb.OUTCOME_CODE_INVALID


# --- assignments ------------------------------------------------------------------------------------------------------


async def test_a_submitted_job_comes_with_all_that_its_handler_may_want(rig: RpcRig) -> None:
    async with RemoteWorker(rig) as worker:
        job = await rig.submit(
            payload=jpb.Payload(data=b"\x00\x01", content_type="application/x-thing", content_encoding="gzip"),
            headers={"traceparent": "00-1"},
            labels={"customer": "42"},
            attempt_timeout={"seconds": 20},
            retry_policy=jpb.RetryPolicy(max_attempts=7),
        )

        [assignment] = await worker.jobs(1)

    assert (assignment.job_id, assignment.type, assignment.queue) == (job.job_id, "work", "default")
    assert (assignment.attempt, assignment.max_attempts, assignment.fence) == (1, 7, 1)
    assert assignment.payload == jpb.Payload(
        data=b"\x00\x01", content_type="application/x-thing", content_encoding="gzip"
    )
    assert dict(assignment.headers) == {"traceparent": "00-1"}
    assert dict(assignment.labels) == {"customer": "42"}
    assert assignment.create_time == job.create_time
    assert assignment.lease_remaining.seconds == 25, "the attempt may last 20 s, and its report 5 s more"
    assert assignment.attempt_deadline.seconds <= assignment.lease_expire_time.seconds - 5
    assert not assignment.HasField("checkpoint")


async def test_a_payload_of_text_and_one_of_the_largest_size_arrive_as_they_were(rig: RpcRig) -> None:
    large = jpb.Payload(data=bytes(rig.jobs.limits.payload_bytes))
    async with RemoteWorker(rig) as worker:
        await rig.submit(payload=jpb.Payload(text="grüße"))
        await rig.submit(payload=large)
        await rig.submit(payload=jpb.Payload(text=""))

        first, second, third = await worker.jobs(3)

    assert first.payload == jpb.Payload(text="grüße")
    assert second.payload == large
    assert third.payload.HasField("text")


async def test_the_lease_is_on_disk_before_the_worker_hears_of_it(rig: RpcRig) -> None:
    job = await rig.submit()
    async with RemoteWorker(rig) as worker:
        [assignment] = await worker.jobs(1)
        status = (await rig.get(job.job_id)).status

    assert (status.state, status.attempt, status.worker_id) == (jpb.JOB_STATE_PROCESSING, 1, "w1")
    [(transport, instance)] = rig.stores.sql("SELECT transport, instance_id FROM job")
    assert (transport, instance) == (1, "i1")
    assert assignment.lease_token


async def test_never_more_than_the_window_is_out_and_credits_come_back_with_the_acks(rig: RpcRig) -> None:
    for _ in range(25):
        await rig.submit()
    async with RemoteWorker(rig, max_in_flight=4) as worker:
        done = 0
        while done < 25:
            await worker.jobs(min(done + 4, 25))
            assert len(worker.assigned) - done <= 4
            [ack] = await worker.report(success(worker.assigned[done].lease_token))
            assert ack.code == RECORDED
            done += 1
    assert len({each.job_id for each in worker.assigned}) == 25


async def test_a_window_of_nothing_brings_nothing_until_it_is_opened(rig: RpcRig) -> None:
    await rig.submit()
    async with RemoteWorker(rig, max_in_flight=0) as worker:
        await rig.submit()
        assert worker.assigned == []

        await worker.send(max_in_flight=1)
        await worker.jobs(1)
        assert len(worker.assigned) == 1


async def test_a_window_of_bytes_holds_back_what_goes_beyond_it_but_lets_one_job_through(rig: RpcRig) -> None:
    for _ in range(3):
        await rig.submit(payload=jpb.Payload(data=bytes(3000)))
    async with RemoteWorker(rig, max_in_flight_bytes=1000) as worker:
        for done in range(3):
            await worker.jobs(done + 1)
            assert len(worker.assigned) == done + 1
            await worker.report(success(worker.assigned[done].lease_token))


async def test_a_worker_gets_only_types_and_queues_that_it_named(rig: RpcRig) -> None:
    await rig.submit(type="other")
    await rig.submit(queue="elsewhere")
    wanted = await rig.submit(queue="mail")
    queues = [wpb.QueueSubscription(queue="mail")]
    async with RemoteWorker(rig, queues=queues) as worker:
        await worker.jobs(1)
        late = await rig.submit(queue="mail")
        await worker.jobs(2)
    assert [each.job_id for each in worker.assigned] == [wanted.job_id, late.job_id]


async def test_a_worker_that_names_no_type_gets_jobs_of_any(rig: RpcRig) -> None:
    await rig.submit(type="one")
    async with RemoteWorker(rig, types=[]) as worker:
        await worker.jobs(1)
        await rig.submit(type="two", queue="elsewhere")
        await worker.jobs(2)
    assert [each.type for each in worker.assigned] == ["one", "two"]


async def test_queues_share_the_worker_by_their_weights_and_priority_rules_inside_each(rig: RpcRig) -> None:
    for number in range(60):
        await rig.submit(queue="gold", priority=number % 2)
        await rig.submit(queue="lead")
    queues = [wpb.QueueSubscription(queue="gold", weight=3), wpb.QueueSubscription(queue="lead", weight=1)]
    async with RemoteWorker(rig, queues=queues, max_in_flight=1) as worker:
        for done in range(40):
            await worker.jobs(done + 1)
            await worker.report(success(worker.assigned[done].lease_token))

    served = [each.queue for each in worker.assigned[:40]]
    assert served.count("gold") == 30
    assert all("lead" in served[start : start + 5] for start in range(36)), "nobody waits for more than one round"
    keys = {each.job_id: number for number, each in enumerate(worker.assigned)}
    rows = rig.stores.sql("SELECT id, priority FROM job WHERE queue = 'gold' AND state = 5")
    ranks = [priority for _, priority in sorted((keys[job_id], priority) for job_id, priority in rows)]
    assert ranks == sorted(ranks, reverse=True)


async def test_a_queue_with_a_bound_of_its_own_never_has_more_in_flight(rig: RpcRig) -> None:
    for _ in range(6):
        await rig.submit(queue="gpu")
        await rig.submit(queue="cpu")
    queues = [wpb.QueueSubscription(queue="gpu", max_in_flight=1), wpb.QueueSubscription(queue="*")]
    async with RemoteWorker(rig, queues=queues, max_in_flight=10) as worker:
        await worker.jobs(7)
        out: dict[str, wpb.Assignment] = {each.job_id: each for each in worker.assigned}
        while sum(each.queue == "gpu" for each in worker.assigned) < 6:
            running = [each for each in out.values() if each.queue == "gpu"]
            assert len(running) == 1
            seen = len(worker.assigned)
            await worker.report(success(out.pop(running[0].job_id).lease_token))
            await worker.jobs(seen + 1)
            out.update((each.job_id, each) for each in worker.assigned[seen:])


async def test_a_flood_arrives_in_frames_of_bounded_size(rig: RpcRig) -> None:
    payload = jpb.Payload(data=bytes(1000))
    spec = jpb.JobSpec(type="work", payload=payload)
    batch = [pb.SubmitJobRequest(spec=spec) for _ in range(1000)]
    await rig.api.BatchSubmitJobs(pb.BatchSubmitJobsRequest(requests=batch))
    async with RemoteWorker(rig, max_in_flight=1000) as worker:
        await worker.jobs(1000)
    assert len({each.job_id for each in worker.assigned}) == 1000
    assert max(len(frame.assignments) for frame in worker.frames) <= 256
    assert max(frame.ByteSize() for frame in worker.frames) <= (1 << 20) + 4096


# --- outcomes ---------------------------------------------------------------------------------------------------------


async def test_every_kind_of_outcome_does_to_the_job_what_it_says(rig: RpcRig) -> None:
    jobs = [await rig.submit() for _ in range(7)]
    async with RemoteWorker(rig) as worker:
        await worker.jobs(7)
        await worker.send(max_in_flight=0)
        tokens = {each.job_id: each.lease_token for each in worker.assigned}
        t = [tokens[job.job_id] for job in jobs]
        acks = await worker.report(
            success(t[0]),
            failure(t[1]),
            failure(t[2], retryable=False),
            wpb.Outcome(lease_token=t[3], release=wpb.Release(reason="not today")),
            wpb.Outcome(lease_token=t[4], release=wpb.Release(delay={"seconds": 60})),
            wpb.Outcome(lease_token=t[5], stopped=wpb.Stopped(reason="enough", result=jpb.Payload(text="half"))),
            wpb.Outcome(lease_token=t[6], abandoned=wpb.Abandoned(reason="the child died")),
        )

    assert [ack.code for ack in acks] == [RECORDED] * 7
    states = [ack.state for ack in acks]
    assert states == [
        jpb.JOB_STATE_COMPLETED,
        jpb.JOB_STATE_RETRYING,
        jpb.JOB_STATE_FAILED,
        jpb.JOB_STATE_PENDING,
        jpb.JOB_STATE_SCHEDULED,
        jpb.JOB_STATE_CANCELLED,
        jpb.JOB_STATE_RETRYING,
    ]
    now = [await rig.get(job.job_id) for job in jobs]
    assert [job.status.state for job in now] == states
    assert [job.status.attempt for job in now] == [1, 1, 1, 0, 0, 1, 1]
    assert now[0].status.result.text == '"done"'
    assert now[5].status.result.text == "half"
    assert now[6].status.last_error.type == "LEASE_LOST"


async def test_an_outcome_sent_again_is_known_and_a_stranger_is_told_that_the_lease_is_lost(rig: RpcRig) -> None:
    job = await rig.submit()
    async with RemoteWorker(rig) as worker:
        [assignment] = await worker.jobs(1)
        [first] = await worker.report(success(assignment.lease_token))
        before = rig.stores.dump()
        [again] = await worker.report(success(assignment.lease_token, '"other"'))
        [late] = await worker.report(failure(assignment.lease_token))
        assert rig.stores.dump() == before

    assert [first.code, again.code, late.code] == [RECORDED, DUPLICATE, LEASE_LOST]
    assert (await rig.get(job.job_id)).status.result.text == '"done"'


async def test_one_bad_outcome_is_answered_alone_and_its_lease_stands(rig: RpcRig) -> None:
    await rig.submit()
    await rig.submit()
    async with RemoteWorker(rig) as worker:
        one, two = await worker.jobs(2)
        huge = jpb.Payload(data=bytes(rig.jobs.limits.payload_bytes + 1))
        forged = bytes([*two.lease_token[:-1], two.lease_token[-1] ^ 1])
        acks = await worker.report(
            wpb.Outcome(lease_token=one.lease_token, success=wpb.Success(result=huge)),
            success(forged),
            wpb.Outcome(lease_token=two.lease_token),
        )
        assert [ack.code for ack in acks] == [INVALID] * 3
        assert "1048577 bytes" in acks[0].message
        assert "LEASE_TOKEN_MALFORMED" in acks[1].message

        acks = await worker.report(success(one.lease_token), success(two.lease_token))
        assert [ack.code for ack in acks] == [RECORDED] * 2


async def test_follow_ups_are_there_with_the_success_or_not_at_all(rig: RpcRig) -> None:
    parent = await rig.submit()
    async with RemoteWorker(rig) as worker:
        [assignment] = await worker.jobs(1)
        await worker.send(max_in_flight=0)
        bad = [request_of(type="child"), request_of(type="")]
        [refused] = await worker.report(success(assignment.lease_token, follow_ups=bad))
        assert refused.code == INVALID
        assert "follow_ups[1].spec.type" in refused.message
        assert (await rig.get(parent.job_id)).status.state == jpb.JOB_STATE_PROCESSING

        good = [request_of(type="child", job_id=f"child-{n}") for n in range(3)]
        [recorded] = await worker.report(success(assignment.lease_token, follow_ups=good))
        assert recorded.code == RECORDED
        [again] = await worker.report(success(assignment.lease_token, follow_ups=good))
        assert again.code == DUPLICATE

    listed = await rig.api.ListJobs(pb.ListJobsRequest(filter=jpb.JobFilter(types=["child"])))
    assert sorted(job.job_id for job in listed.jobs) == ["child-0", "child-1", "child-2"]


async def test_a_checkpoint_in_the_frame_of_the_failure_reaches_the_next_attempt(rig: RpcRig) -> None:
    await rig.submit(retry_policy=jpb.RetryPolicy(initial_backoff={"nanos": 1000}, jitter=0))
    async with RemoteWorker(rig) as worker:
        [assignment] = await worker.jobs(1)
        token = assignment.lease_token
        saved = jpb.Payload(text='{"i": 7}', content_type="application/json")
        await worker.send(
            lease_updates=[wpb.LeaseUpdate(lease_token=token, checkpoint=saved)], outcomes=[failure(token)]
        )
        await worker.until(lambda: bool(worker.acks))
        rig.stores.clock.advance(1)
        await rig.store.promote_due(limit=10)
        second = (await worker.jobs(2))[1]

    assert second.attempt == 2
    assert second.checkpoint == saved


# --- heartbeats and cancels -------------------------------------------------------------------------------------------


async def test_heartbeats_extend_the_lease_and_progress_reaches_a_watcher(rig: RpcRig) -> None:
    job = await rig.submit()
    watch = rig.api.WatchJob(pb.WatchJobRequest(job_id=job.job_id))
    assert (await watch.read()).status.state == jpb.JOB_STATE_PENDING
    async with RemoteWorker(rig) as worker:
        [assignment] = await worker.jobs(1)
        while (update := await watch.read()).status.state != jpb.JOB_STATE_PROCESSING:
            pass
        rig.stores.clock.advance(20)
        token = assignment.lease_token
        [state] = await worker.beat(
            wpb.LeaseUpdate(lease_token=token, progress_percent=40.0, progress_message="almost half")
        )
        assert state.valid
        assert state.remaining.seconds == 30
        update = await watch.read()
    watch.cancel()
    assert (update.status.progress_percent, update.status.progress_message) == (40.0, "almost half")


async def test_a_lease_that_is_lost_is_said_to_be(rig: RpcRig) -> None:
    job = await rig.submit()
    async with RemoteWorker(rig) as worker:
        [assignment] = await worker.jobs(1)
        rig.stores.clock.advance(31)
        await rig.store.expire_leases(limit=10)

        [state] = await worker.beat(wpb.LeaseUpdate(lease_token=assignment.lease_token))
        [ack] = await worker.report(success(assignment.lease_token))

    assert not state.valid
    assert ack.code == LEASE_LOST
    assert (await rig.get(job.job_id)).status.last_error.type == "LEASE_LOST"


async def test_a_cancel_reaches_the_worker_and_its_word_is_the_end(rig: RpcRig) -> None:
    job = await rig.submit()
    async with RemoteWorker(rig) as worker:
        [assignment] = await worker.jobs(1)
        await rig.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
        await worker.until(lambda: bool(worker.cancels))
        [order] = worker.cancels
        assert (order.lease_token, order.job_id, order.grace.seconds) == (assignment.lease_token, job.job_id, 10)

        [ack] = await worker.report(wpb.Outcome(lease_token=order.lease_token, stopped=wpb.Stopped(reason="as asked")))
    assert (ack.code, ack.state) == (RECORDED, jpb.JOB_STATE_CANCELLED)


async def test_who_ignores_a_cancel_loses_the_lease_when_the_grace_is_over() -> None:
    clock = ManualClock()
    async with RpcRig(clock=clock) as rig:
        job = await rig.submit()
        async with RemoteWorker(rig) as worker:
            [assignment] = await worker.jobs(1)
            await rig.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id))
            await worker.until(lambda: bool(worker.cancels))
            clock.advance(10.1)
            await worker.until(lambda: bool(worker.states))
            assert (worker.states[0].lease_token, worker.states[0].valid) == (assignment.lease_token, False)
            [ack] = await worker.report(success(assignment.lease_token))
        assert ack.code == LEASE_LOST
        assert (await rig.get(job.job_id)).status.state == jpb.JOB_STATE_CANCELLED
