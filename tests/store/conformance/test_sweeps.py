"""Clauses of `expire_leases`, `promote_due` and `expire_jobs`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from jobwire_server.domain.job import RetryPolicy, State
from jobwire_server.domain.outcome import Failed, Succeeded
from jobwire_server.store.base import Sweep
from tests.helpers.factories import new_job
from tests.helpers.stores import ERROR, REMOTE, SECOND_US, US, WORK, StoreRig

pytestmark = pytest.mark.asyncio


async def test_a_lease_ends_exactly_when_its_time_is_over(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one(lease_s=30)
    rig.clock.advance(29.999999)
    assert (await rig.store.expire_leases(limit=10)).changed == 0
    rig.clock.advance(0.000001)
    assert (await rig.store.expire_leases(limit=10)).changed == 1
    job = await rig.job(lease.job_id)
    assert (job.status.state, job.fence, job.status.attempt) == (State.RETRYING, lease.fence + 1, 1)
    # 2 s of backoff, half of a jitter of 0.2 taken away.
    assert job.status.next_attempt_time_us == rig.clock.wall_us() + 1_800_000


async def test_a_lease_ends_by_the_stores_clock_whatever_the_wall_clock_says(rig: StoreRig) -> None:
    await rig.add()
    await rig.lease_one(lease_s=30)
    rig.clock.jump_wall(3600)
    assert (await rig.store.expire_leases(limit=10)).changed == 0
    rig.clock.jump_wall(-7200)
    rig.clock.advance(30)
    assert (await rig.store.expire_leases(limit=10)).changed == 1


async def test_three_leases_lost_in_a_row_make_a_job_poisoned(rig: StoreRig) -> None:
    job_id = await rig.add()
    for expected in (State.RETRYING, State.RETRYING, State.FAILED):
        await rig.lease_one(lease_s=1)
        rig.clock.advance(1)
        await rig.store.expire_leases(limit=10)
        assert await rig.state(job_id) is expected
        rig.clock.advance(60)
        await rig.store.promote_due(limit=10)
    error = (await rig.job(job_id)).status.last_error
    assert error is not None
    assert (error.type, error.retryable) == ("POISONED", False)


async def test_a_word_of_the_worker_between_lost_leases_clears_the_suspicion(rig: StoreRig) -> None:
    job_id = await rig.add()
    for outcome in (None, None, Failed(ERROR), None, None):
        lease = await rig.lease_one(lease_s=1)
        rig.clock.advance(1)
        if outcome:
            await rig.report(lease, outcome)
        await rig.store.expire_leases(limit=10)
        assert await rig.state(job_id) is State.RETRYING
        rig.clock.advance(60)
        await rig.store.promote_due(limit=10)


async def test_a_lost_lease_under_a_cancel_wish_cancels_and_after_the_last_attempt_fails(rig: StoreRig) -> None:
    cancelled = await rig.add()
    failed = await rig.add(retry_policy=RetryPolicy(max_attempts=1))
    await rig.lease(2, lease_s=1)
    await rig.store.cancel("default", cancelled)
    rig.clock.advance(1)
    assert await rig.store.expire_leases(limit=10) == Sweep(2, False)
    assert [await rig.state(cancelled), await rig.state(failed)] == [State.CANCELLED, State.FAILED]


async def test_leases_of_every_kind_of_owner_expire(rig: StoreRig) -> None:
    for transport in (0, 1, 2):
        await rig.add()
        await rig.lease_one(owner=US._replace(transport=transport), lease_s=1)
    rig.clock.advance(1)
    assert (await rig.store.expire_leases(limit=10)).changed == 3


async def test_a_job_that_finished_in_time_is_not_taken_back(rig: StoreRig) -> None:
    lease = await rig.run(Succeeded())
    rig.clock.advance(3600)
    assert (await rig.store.expire_leases(limit=10)).changed == 0
    assert await rig.state(lease.job_id) is State.COMPLETED


async def test_what_is_due_becomes_pending_and_the_rest_says_when(rig: StoreRig) -> None:
    now_us = rig.clock.wall_us()
    soon = await rig.add(schedule_time_us=now_us + 5 * SECOND_US)
    await rig.add(schedule_time_us=now_us + 8 * SECOND_US)
    assert await rig.store.promote_due(limit=10) == Sweep(0, False, 5 * SECOND_US)
    rig.clock.advance(5)
    assert await rig.store.promote_due(limit=10) == Sweep(1, False, 3 * SECOND_US)
    assert await rig.state(soon) is State.PENDING
    assert rig.notices[-1].pending == {WORK}
    rig.clock.advance(100)
    assert await rig.store.promote_due(limit=10) == Sweep(1, False, None)


async def test_a_retry_is_promoted_when_its_backoff_is_over(rig: StoreRig) -> None:
    lease = await rig.run(Failed(ERROR, retry_delay_us=7))
    rig.clock.advance(0.000007)
    assert (await rig.store.promote_due(limit=10)).changed == 1
    assert (await rig.lease_one()).attempt == lease.attempt + 1


async def test_the_earliest_are_promoted_first(rig: StoreRig) -> None:
    now_us = rig.clock.wall_us()
    third, first, second = [await rig.add(schedule_time_us=now_us + delay) for delay in (9, 3, 6)]
    rig.clock.advance(1)
    sweep = await rig.store.promote_due(limit=2)
    assert (sweep.changed, sweep.more) == (2, True)
    assert [await rig.state(one) for one in (first, second, third)] == [
        *(State.PENDING, State.PENDING, State.SCHEDULED)
    ]


async def test_a_waiting_job_expires_exactly_at_its_time(rig: StoreRig) -> None:
    job_id = await rig.add(expire_time_us=rig.clock.wall_us() + 5 * SECOND_US)
    assert await rig.store.expire_jobs(limit=10) == Sweep(0, False, 5 * SECOND_US)
    rig.clock.advance(4.999999)
    assert (await rig.store.expire_jobs(limit=10)).changed == 0
    rig.clock.advance(0.000001)
    assert await rig.store.expire_jobs(limit=10) == Sweep(1, False, None)
    job = await rig.job(job_id)
    assert (job.status.state, job.status.finish_time_us) == (State.EXPIRED, rig.clock.wall_us())


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.RETRYING])
async def test_a_job_expires_in_whatever_state_it_waits(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state, expire_time_us=rig.clock.wall_us() + 4000 * SECOND_US)
    rig.clock.advance(4000)
    assert (await rig.store.expire_jobs(limit=10)).changed == 1
    assert await rig.state(job_id) is State.EXPIRED


@pytest.mark.parametrize("state", [State.PROCESSING, State.COMPLETED, State.FAILED, State.CANCELLED])
async def test_a_job_that_runs_or_has_ended_does_not_expire(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state, expire_time_us=rig.clock.wall_us() + SECOND_US)
    rig.clock.advance(1)
    assert await rig.store.expire_jobs(limit=10) == Sweep(0, False, None)
    assert await rig.state(job_id) is state


SWEEPS: dict[str, Callable[[StoreRig, int], Awaitable[Sweep]]] = {
    "expire_leases": lambda rig, limit: rig.store.expire_leases(limit=limit),
    "promote_due": lambda rig, limit: rig.store.promote_due(limit=limit),
    "expire_jobs": lambda rig, limit: rig.store.expire_jobs(limit=limit),
}
each_sweep = pytest.mark.parametrize("sweep", SWEEPS.values(), ids=SWEEPS.keys())


async def _due_for_everything(rig: StoreRig, count: int) -> None:
    now_us = rig.clock.wall_us()
    await rig.submit(*(new_job() for _ in range(count)))
    await rig.lease(count, owner=REMOTE, lease_s=1)
    await rig.submit(*(new_job(schedule_time_us=now_us + SECOND_US) for _ in range(count)))
    await rig.submit(*(new_job(expire_time_us=now_us + SECOND_US) for _ in range(count)))
    rig.clock.advance(1)


@each_sweep
async def test_each_step_is_bounded_and_says_when_work_was_left(
    rig: StoreRig, sweep: Callable[[StoreRig, int], Awaitable[Sweep]]
) -> None:
    await _due_for_everything(rig, 7)
    steps = [await sweep(rig, 3) for _ in range(4)]
    assert [step.changed for step in steps] == [3, 3, 1, 0]
    assert [step.more for step in steps] == [True, True, False, False]


@each_sweep
async def test_each_change_of_a_sweep_has_its_own_event(
    rig: StoreRig, sweep: Callable[[StoreRig, int], Awaitable[Sweep]]
) -> None:
    await _due_for_everything(rig, 3)
    before = (await rig.store.position()).revision
    assert (await sweep(rig, 100)).changed == 3
    events = await rig.events(after=before)
    assert len({event.job_id for event in events}) == len(events) == 3
    assert all(event.previous_state is not event.state for event in events)


@each_sweep
async def test_a_sweep_without_work_changes_nothing_and_sends_no_notice(
    rig: StoreRig, sweep: Callable[[StoreRig, int], Awaitable[Sweep]]
) -> None:
    await rig.job_in(State.COMPLETED)
    before, notices = rig.dump(), len(rig.notices)
    result = await sweep(rig, 100)
    assert (result.changed, result.more) == (0, False)
    assert rig.dump() == before
    assert len(rig.notices) == notices
