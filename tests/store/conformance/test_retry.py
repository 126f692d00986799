"""Clauses of `Store.retry`: the only way out of a terminal state."""

from __future__ import annotations

import pytest

from jobwire_server.domain.errors import JobNotFound, JobNotTerminal, JobSucceeded, QueueFull
from jobwire_server.domain.job import RetryPolicy, State
from jobwire_server.domain.outcome import Failed, LeaseLost
from tests.helpers.stores import ERROR, SECOND_US, WORK, StoreRig

pytestmark = pytest.mark.asyncio

RETRYABLE = [State.FAILED, State.CANCELLED, State.EXPIRED]


@pytest.mark.parametrize("state", RETRYABLE)
async def test_a_job_that_ended_without_success_is_pending_again(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state)
    before = await rig.job(job_id)
    job = await rig.store.retry("default", job_id)
    assert job.status.state is State.PENDING
    assert job.status.finish_time_us is job.status.last_error is job.status.cancel_request_time_us is None
    assert job.spec.expire_time_us is None, "an expiry that has passed is cleared"
    assert (job.status.attempt, job.fence) == (before.status.attempt, before.fence)
    last = (await rig.events(job_id))[-1]
    assert (last.previous_state, last.state, last.revision) == (state, State.PENDING, job.status.revision)
    lane = WORK._replace(type=job.spec.type)
    assert rig.notices[-1].pending == {lane}
    assert (await rig.lease_one(lanes=[lane])).attempt == before.status.attempt + 1


@pytest.mark.parametrize("state", RETRYABLE)
async def test_a_job_can_be_retried_at_a_later_time(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state)
    due_us = rig.clock.wall_us() + 60 * SECOND_US
    job = await rig.store.retry("default", job_id, schedule_time_us=due_us)
    assert (job.status.state, job.status.next_attempt_time_us) == (State.SCHEDULED, due_us)
    assert rig.notices[-1].due_in_us == 60 * SECOND_US


async def test_a_time_that_has_passed_means_now(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.FAILED)
    job = await rig.store.retry("default", job_id, schedule_time_us=rig.clock.wall_us())
    assert job.status.state is State.PENDING


@pytest.mark.parametrize(("additional", "allowed"), [(0, 4), (1, 3), (7, 9)])
async def test_attempts_are_granted_on_top_of_those_used(rig: StoreRig, additional: int, allowed: int) -> None:
    job_id = await rig.add(retry_policy=RetryPolicy(max_attempts=2))
    for _ in range(2):
        await rig.report(await rig.lease_one(), Failed(ERROR, retry_delay_us=0))
        await rig.store.promote_due(limit=1)
    assert await rig.state(job_id) is State.FAILED
    job = await rig.store.retry("default", job_id, additional_attempts=additional)
    assert (job.status.attempt, job.status.max_attempts) == (2, allowed)


async def test_a_retry_forgets_result_progress_error_and_lost_leases(rig: StoreRig) -> None:
    job_id = await rig.add()
    for _ in range(3):
        lease = await rig.lease_one(lease_s=1)
        await rig.extend(lease, lease_s=1, progress_percent=9.0, progress_message="on the way")
        rig.clock.advance(2)
        await rig.store.expire_leases(limit=1)
        rig.clock.advance(3600)
        await rig.store.promote_due(limit=1)
    status = (await rig.job(job_id)).status
    assert status.last_error is not None
    assert status.last_error.type == "POISONED"
    await rig.store.retry("default", job_id)
    status = (await rig.job(job_id)).status
    assert (status.progress_percent, status.progress_message, status.last_error) == (None, "", None)
    assert LeaseLost() == LeaseLost(at_startup=False)
    lease = await rig.lease_one(lease_s=1)
    rig.clock.advance(2)
    await rig.store.expire_leases(limit=1)
    assert await rig.state(job_id) is State.RETRYING, "the count of lost leases began anew"


async def test_an_expiry_that_lies_ahead_stays(rig: StoreRig) -> None:
    expire_us = rig.clock.wall_us() + 60 * SECOND_US
    job_id = await rig.job_in(State.FAILED, expire_time_us=expire_us)
    assert (await rig.store.retry("default", job_id)).spec.expire_time_us == expire_us


async def test_a_cancel_wish_of_the_last_life_does_not_haunt_the_next(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.store.cancel("default", lease.job_id)
    await rig.report(lease, Failed(ERROR))
    await rig.store.retry("default", lease.job_id)
    again = await rig.lease_one()
    assert not (await rig.extend(again)).cancel_requested
    assert (await rig.report(again, Failed(ERROR))).state is State.RETRYING


async def test_a_completed_job_is_never_run_again(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.COMPLETED)
    before = rig.dump()
    with pytest.raises(JobSucceeded):
        await rig.store.retry("default", job_id)
    assert rig.dump() == before


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.PROCESSING, State.RETRYING])
async def test_a_job_that_has_not_ended_is_refused(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state)
    before = rig.dump()
    with pytest.raises(JobNotTerminal, match=state.name):
        await rig.store.retry("default", job_id, additional_attempts=5)
    assert rig.dump() == before


async def test_a_job_that_is_not_there_or_somebody_elses_is_not_found(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.CANCELLED)
    for tenant, name in (("default", "nobody"), ("blue", job_id)):
        with pytest.raises(JobNotFound):
            await rig.store.retry(tenant, name)


async def test_a_retried_job_lives_beyond_its_old_retention(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.FAILED, retention_us=SECOND_US)
    await rig.store.retry("default", job_id)
    rig.clock.advance(3600)
    await rig.store.purge(limit=100)
    assert await rig.state(job_id) is State.PENDING


async def test_a_retry_counts_against_the_depth(rig: StoreRig) -> None:
    await rig.configure(max_depth=1)
    job_id = await rig.job_in(State.FAILED)
    await rig.add()
    with pytest.raises(QueueFull):
        await rig.store.retry("default", job_id)
    assert await rig.state(job_id) is State.FAILED
