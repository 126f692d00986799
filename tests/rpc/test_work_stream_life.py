"""The Work stream as a whole: how it begins, breaks off, comes back and ends."""

from __future__ import annotations

import asyncio

import pytest

from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import worker_service_pb2 as wpb
from jobwire_server.dispatch.roster import ABSENT_SECONDS
from jobwire_server.rpc.server import RpcSettings
from tests.helpers.clock import ManualClock
from tests.rpc.remote_worker import RemoteWorker, hello, success
from tests.rpc.rig import Code, Refusal, RpcRig, until

pytestmark = pytest.mark.asyncio

RECORDED = wpb.OUTCOME_CODE_RECORDED
DUPLICATE = wpb.OUTCOME_CODE_DUPLICATE
LEASE_LOST = wpb.OUTCOME_CODE_LEASE_LOST
INVALID = wpb.OUTCOME_CODE_INVALID


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


async def test_a_worker_that_came_back_to_another_server_keeps_what_it_never_spoke_of_here() -> None:
    clock = ManualClock()
    async with RpcRig(clock=clock) as here, RpcRig(beside=here) as there:
        first, second = await here.submit(), await here.submit()
        async with RemoteWorker(here, max_in_flight=2) as worker:
            await worker.jobs(2)
            tokens = {each.job_id: each.lease_token for each in worker.assigned}
        async with RemoteWorker(here, worker_id="w2", instance_id="i2") as other:
            unspoken = await here.submit()
            await other.jobs(1)
        await until(lambda: not any(each.connected for each in here.engine.roster.workers()))
        here.stores.clock.advance(1)
        async with RemoteWorker(there, max_in_flight=0, held_lease_tokens=list(tokens.values())) as back:
            assert [state.valid for state in back.welcome.leases] == [True, True]
            clock.advance(ABSENT_SECONDS + 1)
            while (await here.get(unspoken.job_id)).status.state == jpb.JOB_STATE_PROCESSING:
                clock.advance(0.5)
            for job in (first, second):
                assert (await here.get(job.job_id)).status.state == jpb.JOB_STATE_PROCESSING


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
