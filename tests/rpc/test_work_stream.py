"""The Work stream, frame by frame: what a worker in any language may rely on."""

from __future__ import annotations

import asyncio

import pytest

from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire.v1 import worker_service_pb2 as wpb
from jobwire_server.dispatch.roster import ABSENT_SECONDS
from jobwire_server.rpc.server import RpcSettings
from tests.helpers.clock import ManualClock
from tests.rpc.remote_worker import RemoteWorker, failure, hello, success
from tests.rpc.rig import Code, Refusal, RpcRig, request_of, until

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


# --- coming back ------------------------------------------------------------------------------------------------------


async def test_after_a_cut_held_leases_go_on_and_what_was_never_received_comes_back_at_no_cost(rig: RpcRig) -> None:
    kept, lost = await rig.submit(), await rig.submit()
    async with RemoteWorker(rig, max_in_flight=2) as worker:
        await worker.jobs(2)
        tokens = {each.job_id: each.lease_token for each in worker.assigned}
    async with RemoteWorker(rig, max_in_flight=0, held_lease_tokens=[tokens[kept.job_id]]) as back:
        [state] = back.welcome.leases
        assert (state.lease_token, state.valid) == (tokens[kept.job_id], True)
        returned = (await rig.get(lost.job_id)).status
        assert (returned.state, returned.attempt) == (jpb.JOB_STATE_PENDING, 0)

        await back.send(max_in_flight=2)
        [again] = await back.jobs(1)
        assert (again.job_id, again.attempt, again.fence) == (lost.job_id, 1, 2)
        [ack] = await back.report(success(tokens[kept.job_id]))
        assert ack.code == RECORDED
    assert (await rig.get(kept.job_id)).status.attempt == 1


async def test_a_token_of_a_lost_lease_or_of_nobody_is_not_valid_after_a_cut(rig: RpcRig) -> None:
    await rig.submit()
    async with RemoteWorker(rig) as worker:
        [assignment] = await worker.jobs(1)
    rig.stores.clock.advance(31)
    await rig.store.expire_leases(limit=10)
    async with RemoteWorker(rig, held_lease_tokens=[b"forged", assignment.lease_token], max_in_flight=0) as back:
        assert [state.valid for state in back.welcome.leases] == [False, False]
        assert [state.lease_token for state in back.welcome.leases] == [b"forged", assignment.lease_token]


async def test_a_second_stream_of_the_same_process_replaces_the_first(rig: RpcRig) -> None:
    async with RemoteWorker(rig) as first:
        await rig.submit()
        [assignment] = await first.jobs(1)
        async with RemoteWorker(rig, held_lease_tokens=[assignment.lease_token]) as second:
            await first.end()
            assert await first.code() == Code.OK
            assert [notice.reason for notice in first.drains] == ["REPLACED"]
            [ack] = await second.report(success(assignment.lease_token))
            assert ack.code == RECORDED
            await rig.submit()
            await second.jobs(1)


async def test_what_a_restarted_worker_never_spoke_of_is_lost_at_once_since_it_may_be_what_ended_it(
    rig: RpcRig,
) -> None:
    spoken, silent = await rig.submit(), await rig.submit()
    async with RemoteWorker(rig, max_in_flight=2) as old:
        await old.jobs(2)
        tokens = {each.job_id: each.lease_token for each in old.assigned}
        await old.beat(wpb.LeaseUpdate(lease_token=tokens[spoken.job_id]))
        async with RemoteWorker(rig, instance_id="i2", max_in_flight=0):
            await old.end()
            back = (await rig.get(silent.job_id)).status
            stays = (await rig.get(spoken.job_id)).status
    assert (back.state, back.attempt) == (jpb.JOB_STATE_RETRYING, 1)
    assert (stays.state, stays.attempt) == (jpb.JOB_STATE_PROCESSING, 1)


async def test_a_worker_that_stays_away_loses_what_it_never_spoke_of_soon_and_the_rest_with_its_lease() -> None:
    clock = ManualClock()
    async with RpcRig(clock=clock) as rig:
        spoken, silent = await rig.submit(), await rig.submit()
        async with RemoteWorker(rig, max_in_flight=2) as worker:
            await worker.jobs(2)
            tokens = {each.job_id: each.lease_token for each in worker.assigned}
            await worker.beat(wpb.LeaseUpdate(lease_token=tokens[spoken.job_id]))
        await until(lambda: not any(each.connected for each in rig.engine.roster.workers()))

        clock.advance(ABSENT_SECONDS - 2)
        assert (await rig.get(silent.job_id)).status.state == jpb.JOB_STATE_PROCESSING
        clock.advance(3)
        while (await rig.get(silent.job_id)).status.state == jpb.JOB_STATE_PROCESSING:
            clock.advance(0.5)
        assert (await rig.get(silent.job_id)).status.attempt == 1
        assert (await rig.get(spoken.job_id)).status.state == jpb.JOB_STATE_PROCESSING


async def test_a_job_that_ends_its_worker_before_its_first_heartbeat_is_poisoned_by_the_third_time(rig: RpcRig) -> None:
    job = await rig.submit(retry_policy=jpb.RetryPolicy(max_attempts=10, initial_backoff={"nanos": 1_000_000}))
    for number in range(3):
        async with RemoteWorker(rig, instance_id=f"i{number}") as worker:
            await worker.jobs(1)
        async with RemoteWorker(rig, instance_id=f"i{number} again", max_in_flight=0):
            pass
        rig.stores.clock.advance(1)
        await rig.store.promote_due(limit=10)
    status = (await rig.get(job.job_id)).status
    assert (status.state, status.attempt, status.last_error.type) == (jpb.JOB_STATE_FAILED, 3, "POISONED")


async def test_a_job_that_may_run_once_is_not_begun_again_when_its_worker_vanished_without_a_word(rig: RpcRig) -> None:
    job = await rig.submit(retry_policy=jpb.RetryPolicy(max_attempts=1))
    async with RemoteWorker(rig, instance_id="i1") as worker:
        await worker.jobs(1)
    async with RemoteWorker(rig, instance_id="i2", max_in_flight=0):
        assert (await rig.get(job.job_id)).status.state == jpb.JOB_STATE_FAILED


# --- the protocol itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"worker_id": ""}, "hello.worker_id"),
        ({"instance_id": ""}, "hello.instance_id"),
        ({"queues": []}, "hello.queues"),
        ({"queues": [wpb.QueueSubscription(queue="NO")]}, "hello.queues[0].queue"),
        ({"queues": [wpb.QueueSubscription(queue="a", weight=-1)]}, "hello.queues[0].weight"),
        ({"max_in_flight": 10_001}, "hello.max_in_flight"),
        ({"lease_duration": {"seconds": -1}}, "hello.lease_duration"),
        ({"types": ["x" * 201]}, "hello.types[0]"),
    ],
)
async def test_a_bad_hello_is_refused_with_its_field(rig: RpcRig, fields: dict[str, object], field: str) -> None:
    async with RemoteWorker(rig, **fields) as worker:
        await worker.end()
    assert worker.ended is not None
    refusal = Refusal(worker.ended)
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, [field])


async def test_a_first_frame_without_hello_and_a_second_hello_are_violations(rig: RpcRig) -> None:
    call = rig.work.Work()
    await call.write(wpb.WorkRequest(max_in_flight=1))
    refusal = await _refused(call)
    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "PROTOCOL_VIOLATION")

    async with RemoteWorker(rig) as worker:
        await worker.send(hello=hello())
        await worker.end()
        assert worker.ended is not None
        assert Refusal(worker.ended).reason == "PROTOCOL_VIOLATION"


async def _refused(call: object) -> Refusal:
    from tests.rpc.rig import refused  # noqa: PLC0415

    return await refused(call)


async def test_a_frame_with_too_many_items_is_a_violation(rig: RpcRig) -> None:
    async with RemoteWorker(rig) as worker:
        await worker.send(outcomes=[success(b"x") for _ in range(257)])
        await worker.end()
    assert worker.ended is not None
    assert Refusal(worker.ended).reason == "PROTOCOL_VIOLATION"


async def test_who_does_not_say_hello_within_ten_seconds_is_sent_away() -> None:
    clock = ManualClock()
    async with RpcRig(clock=clock) as rig:
        call = rig.work.Work()
        await call.initial_metadata()
        refusing = asyncio.create_task(_refused(call))
        while not refusing.done():
            clock.advance(1)
            await asyncio.sleep(0.001)
        refusal = refusing.result()
    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "PROTOCOL_VIOLATION")


async def test_pings_grow_and_silence_ends_the_stream_but_not_the_lease() -> None:
    clock = ManualClock()
    async with RpcRig(clock=clock) as rig:
        job = await rig.submit()
        async with RemoteWorker(rig) as worker:
            await worker.jobs(1)
            for ping in (1, 2, 3):
                clock.advance(10)
                await worker.until(lambda ping=ping: worker.pings == list(range(1, ping + 1)))
                await worker.send(pong_id=ping)
            await worker.beat(wpb.LeaseUpdate(lease_token=worker.assigned[0].lease_token))
            while not worker.over:
                clock.advance(5)
                await asyncio.sleep(0.001)
            assert worker.ended is not None
            refusal = Refusal(worker.ended)
        assert (refusal.code, refusal.reason) == (Code.UNAVAILABLE, "WORKER_SILENT")
        assert (await rig.get(job.job_id)).status.state == jpb.JOB_STATE_PROCESSING


async def test_a_worker_leaves_in_order_everything_it_said_is_answered_and_the_end_is_ok(rig: RpcRig) -> None:
    for _ in range(3):
        await rig.submit()
    async with RemoteWorker(rig, max_in_flight=3) as worker:
        one, two, three = await worker.jobs(3)
        await worker.send(
            max_in_flight=0,
            outcomes=[
                success(one.lease_token),
                wpb.Outcome(lease_token=two.lease_token, release=wpb.Release()),
                wpb.Outcome(lease_token=three.lease_token, release=wpb.Release()),
            ],
        )
        await worker.hang_up()
        await worker.end()
        assert await worker.code() == Code.OK
        assert len(worker.acks) == 3


async def test_a_draining_server_sends_idle_workers_away_and_lets_busy_ones_report(rig: RpcRig) -> None:
    async with RemoteWorker(rig, worker_id="busy", instance_id="b", max_in_flight=1) as busy:
        job = await rig.submit()
        [assignment] = await busy.jobs(1)
        async with RemoteWorker(rig, worker_id="idle", instance_id="i") as idle:
            await rig.server.drain()
            await idle.end()
            assert idle.ended is not None
            assert Refusal(idle.ended).reason == "DRAINING"
        assert [notice.reason for notice in idle.drains] == ["DRAINING"]
        await busy.until(lambda: bool(busy.drains))

        [ack] = await busy.report(success(assignment.lease_token))
        assert ack.code == RECORDED
        await busy.end()
        assert await busy.code() == Code.UNAVAILABLE
    assert (await rig.store.get("default", [job.job_id], full=False))[0] is not None


async def test_a_server_that_stops_does_not_wait_for_jobs_of_remote_workers(rig: RpcRig) -> None:
    await rig.submit()
    async with RemoteWorker(rig) as worker:
        await worker.jobs(1)
        await rig.server.stop(60)
        await worker.end()
        assert worker.ended is not None
        assert Refusal(worker.ended).reason == "DRAINING"


async def test_an_old_stream_is_asked_to_be_opened_again_and_cut_in_the_end() -> None:
    clock = ManualClock()
    settings = RpcSettings(max_stream_age_seconds=60, stream_age_jitter=0)
    async with RpcRig(clock=clock, settings=settings) as rig:
        await rig.submit()
        async with RemoteWorker(rig, lease_duration={"seconds": 600}) as worker:
            (assignment,) = await worker.jobs(1)

            clock.advance(10)
            await worker.until(lambda: bool(worker.pings))
            clock.advance(51)
            await worker.until(lambda: bool(worker.drains))
            assert worker.drains[0].reason == "STREAM_AGE"

            # It stays for a farewell: what is still running there is reported there.
            clock.advance(5)
            await asyncio.sleep(0)
            await worker.send(outcomes=[success(assignment.lease_token)])
            await worker.until(lambda: bool(worker.acks) or worker.over)
            assert [ack.code for ack in worker.acks] == [RECORDED]

            while not worker.over:
                clock.advance(5)
                await asyncio.sleep(0.001)
            assert worker.ended is not None
            assert Refusal(worker.ended).reason == "STREAM_AGE"
