"""Clauses of `Store.lease`."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.domain.job import Content, State
from jobwire_server.domain.outcome import Failed, Released
from jobwire_server.store.base import Lane, LeaseRequest
from tests.helpers.factories import new_job
from tests.helpers.stores import ERROR, REMOTE, SECOND_US, US, WORK, StoreRig

pytestmark = pytest.mark.asyncio


async def test_a_lease_says_everything_that_a_worker_needs(rig: StoreRig) -> None:
    now_us = rig.clock.wall_us()
    job_id = await rig.add(
        tenant="acme",
        headers={"traceparent": "00"},
        labels={"team": "blue"},
        priority=7,
        attempt_timeout_us=60 * SECOND_US,
        expire_time_us=now_us + 90 * SECOND_US,
    )
    rig.clock.advance(10)
    lease = await rig.lease_one(lease_s=30)
    job = await rig.job(job_id, tenant="acme")
    assert (lease.key, lease.tenant, lease.job_id, lease.queue, lease.type) == (job.key, "acme", job_id, *WORK)
    assert (lease.attempt, lease.max_attempts, lease.fence, lease.priority) == (1, 20, 1, 7)
    assert (lease.payload, lease.headers) == (job.spec.payload, {"traceparent": "00"})
    assert (lease.labels, lease.checkpoint, lease.losses) == ({"team": "blue"}, None, 0)
    assert (lease.lease_us, lease.attempt_timeout_us) == (30 * SECOND_US, 60 * SECOND_US)
    assert (lease.expire_in_us, lease.create_time_us) == (80 * SECOND_US, now_us)


async def test_a_leased_job_is_processing_with_its_owner_and_lease_end(rig: StoreRig) -> None:
    job_id = await rig.add()
    rig.clock.advance(1)
    await rig.lease_one(owner=REMOTE, lease_s=30)
    status = (await rig.job(job_id)).status
    now_us = rig.clock.wall_us()
    assert (status.state, status.attempt, status.worker_id) == (State.PROCESSING, 1, REMOTE.worker_id)
    assert (status.start_time_us, status.lease_expire_time_us) == (now_us, now_us + 30 * SECOND_US)


async def test_the_running_attempt_is_listed(rig: StoreRig) -> None:
    job_id = await rig.add()
    await rig.lease_one()
    [attempt] = (await rig.job(job_id)).attempts
    assert (attempt.number, attempt.worker_id, attempt.finish_time_us) == (1, US.worker_id, None)


async def test_jobs_come_by_priority_then_due_time_then_age(rig: StoreRig) -> None:
    now_us = rig.clock.wall_us()
    later = await rig.add(schedule_time_us=now_us + 5 * SECOND_US)
    sooner = await rig.add(schedule_time_us=now_us + 2 * SECOND_US)
    first = await rig.add()
    second = await rig.add()
    urgent = await rig.add(priority=9)
    idle = await rig.add(priority=0)
    rig.clock.advance(10)
    await rig.store.promote_due(limit=10)
    newest = await rig.add()
    leased = [lease.job_id for lease in await rig.lease(100)]
    assert leased == [urgent, first, second, sooner, later, newest, idle]


async def test_the_order_holds_over_several_lanes(rig: StoreRig) -> None:
    ids = [
        await rig.add(queue=queue, priority=priority) for queue, priority in (("a", 1), ("b", 9), ("a", 5), ("b", 5))
    ]
    leased = await rig.lease(3, lanes=[Lane("a", "work"), Lane("b", "work")])
    assert [lease.job_id for lease in leased] == [ids[1], ids[2], ids[3]]
    assert await rig.state(ids[0]) is State.PENDING


async def test_a_past_schedule_time_counts_as_due_when_submitted(rig: StoreRig) -> None:
    first = await rig.add()
    rig.clock.advance(1)
    await rig.add(schedule_time_us=rig.clock.wall_us() - 3600 * SECOND_US)
    assert (await rig.lease_one()).job_id == first


async def test_only_the_lanes_that_were_asked_for_are_leased(rig: StoreRig) -> None:
    await rig.add(queue="other")
    await rig.add(type="other")
    wanted = await rig.add()
    assert [lease.job_id for lease in await rig.lease(10)] == [wanted]
    assert await rig.lease(10, lanes=[]) == []
    assert await rig.lease(10, lanes=[Lane("default", "unknown")]) == []


async def test_a_lane_that_is_named_twice_counts_once(rig: StoreRig) -> None:
    ids = [await rig.add() for _ in range(3)]
    assert [lease.job_id for lease in await rig.lease(10, lanes=[WORK, WORK])] == ids


async def test_leases_act_for_all_tenants(rig: StoreRig) -> None:
    for tenant in ("red", "blue"):
        await rig.add(tenant=tenant)
    assert [lease.tenant for lease in await rig.lease(10)] == ["red", "blue"]


@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_never_more_than_the_limit(rig: StoreRig, limit: int) -> None:
    await rig.submit(*(new_job() for _ in range(5)))
    assert len(await rig.lease(limit)) == min(limit, 5)


async def test_payloads_end_a_lease_early_but_one_job_always_comes(rig: StoreRig) -> None:
    for size in (700, 700, 10):
        await rig.add(payload=Content(bytes(size)))
    request = LeaseRequest(US, [WORK], limit=10, lease_us=SECOND_US, max_bytes=1000)
    assert [len(await rig.store.lease(request)) for _ in range(3)] == [1, 2, 0]
    await rig.add(payload=Content(bytes(5000)))
    assert len(await rig.store.lease(request)) == 1


@pytest.mark.parametrize("state", [state for state in State if state not in (State.PENDING, State.BLOCKED)])
async def test_only_pending_jobs_are_leased(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state, type="work")
    assert await rig.lease(10) == []
    assert await rig.state(job_id) is state


async def test_a_job_past_its_expiry_is_not_handed_out(rig: StoreRig) -> None:
    expired = await rig.add(expire_time_us=rig.clock.wall_us() + 5 * SECOND_US)
    rig.clock.advance(5)
    wanted = await rig.add()
    assert [lease.job_id for lease in await rig.lease(10)] == [wanted]
    assert await rig.state(expired) in {State.PENDING, State.EXPIRED}


async def test_each_lease_raises_attempt_and_fence_by_one(rig: StoreRig) -> None:
    await rig.add()
    for number in (1, 2, 3):
        lease = await rig.lease_one()
        assert (lease.attempt, lease.fence) == (1, number)
        await rig.report(lease, Released())


async def test_a_lease_says_how_many_leases_in_a_row_were_lost_before_it(rig: StoreRig) -> None:
    await rig.add()
    for losses in (0, 1, 2):
        assert (await rig.lease_one(lease_s=1)).losses == losses
        rig.clock.advance(3600)
        await rig.store.expire_leases(limit=1)
        rig.clock.advance(3600)
        await rig.store.promote_due(limit=1)


async def test_losses_do_not_count_any_more_after_an_attempt_that_ended_otherwise(rig: StoreRig) -> None:
    await rig.add()
    await rig.lease_one(lease_s=1)
    rig.clock.advance(3600)
    await rig.store.expire_leases(limit=1)
    rig.clock.advance(3600)
    await rig.store.promote_due(limit=1)
    await rig.report(await rig.lease_one(), Failed(ERROR, retry_delay_us=0))
    await rig.store.promote_due(limit=1)
    assert (await rig.lease_one()).losses == 0


async def test_a_lease_is_no_longer_than_the_attempt_may_run_and_be_reported(rig: StoreRig) -> None:
    await rig.add(attempt_timeout_us=10 * SECOND_US)
    assert (await rig.lease_one(lease_s=600)).lease_us == 10 * SECOND_US + rig.settings.report_grace_us


async def test_concurrent_owners_never_get_the_same_job(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(100)))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(rig.lease(7, owner=US._replace(instance_id=f"owner-{number}"))) for number in range(20)
        ]
    leased = [lease.key for task in tasks for lease in task.result()]
    assert len(leased) == len(set(leased)) == 100
    assert all(len(task.result()) <= 7 for task in tasks)


async def test_a_lease_is_durable_before_it_is_handed_out(durable_rig: StoreRig) -> None:
    rig = durable_rig
    await rig.add()
    lease = await rig.lease_one()
    await rig.crash()
    job = await rig.job(lease.job_id)
    assert (job.status.state, job.status.attempt, job.fence) == (State.PROCESSING, 1, lease.fence)


async def test_leasing_nothing_changes_nothing(rig: StoreRig) -> None:
    await rig.add(type="other")
    before = rig.dump()
    assert await rig.lease(10) == []
    assert rig.dump() == before
