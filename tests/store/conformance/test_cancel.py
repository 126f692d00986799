"""Clauses of `Store.cancel`."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.domain.errors import JobNotFound, JobTerminal
from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.store.base import ReportCode
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.RETRYING])
@pytest.mark.parametrize("force", [False, True])
async def test_a_job_that_waits_is_cancelled_at_once(rig: StoreRig, state: State, force: bool) -> None:
    job_id = await rig.job_in(state)
    rig.clock.advance(1)
    job = await rig.store.cancel("default", job_id, reason="no longer needed", force=force)
    assert job.status.state is State.CANCELLED
    assert job.status.finish_time_us == job.status.cancel_request_time_us == rig.clock.wall_us()
    assert job.status.next_attempt_time_us is None
    assert job.spec.payload is None, "the answer is basic"
    last = (await rig.events(job_id))[-1]
    assert (last.previous_state, last.state, last.revision) == (state, State.CANCELLED, job.status.revision)
    assert await rig.lease(10) == []


async def test_a_running_job_is_asked_to_stop_and_goes_on(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    rig.clock.advance(1)
    job = await rig.store.cancel("default", lease.job_id)
    assert (job.status.state, job.fence) == (State.PROCESSING, lease.fence)
    assert job.status.cancel_request_time_us == rig.clock.wall_us()
    last = (await rig.events(lease.job_id))[-1]
    assert (last.previous_state, last.state) == (State.PROCESSING, State.PROCESSING)
    assert last.cancel_request_time_us == rig.clock.wall_us()
    assert rig.notices[-1].cancelled == ((lease.key, lease.fence),)


async def test_a_second_wish_changes_nothing(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    first = await rig.store.cancel("default", lease.job_id, reason="first")
    rig.clock.advance(1)
    before, notices = rig.dump(), len(rig.notices)
    assert await rig.store.cancel("default", lease.job_id, reason="second") == first
    assert rig.dump() == before
    assert len(rig.notices) == notices


@pytest.mark.parametrize("asked_before", [False, True])
async def test_force_fences_a_running_job_and_cancels_it_now(rig: StoreRig, asked_before: bool) -> None:
    await rig.add()
    lease = await rig.lease_one()
    if asked_before:
        await rig.store.cancel("default", lease.job_id)
    job = await rig.store.cancel("default", lease.job_id, force=True)
    assert (job.status.state, job.fence) == (State.CANCELLED, lease.fence + 1)
    assert rig.notices[-1].cancelled == ((lease.key, lease.fence),)
    assert (await rig.report(lease, Succeeded()))[:2] == (ReportCode.LEASE_LOST, State.CANCELLED)


async def test_a_cancelled_job_answers_ok_without_a_change(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.CANCELLED)
    before = rig.dump()
    job = await rig.store.cancel("default", job_id, force=True)
    assert job.status.state is State.CANCELLED
    assert rig.dump() == before


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.EXPIRED])
async def test_a_job_that_has_ended_otherwise_is_refused_and_keeps_every_byte(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state)
    before = rig.dump()
    with pytest.raises(JobTerminal, match=state.name):
        await rig.store.cancel("default", job_id, force=True)
    assert rig.dump() == before


async def test_a_job_that_is_not_there_is_not_found(rig: StoreRig) -> None:
    with pytest.raises(JobNotFound):
        await rig.store.cancel("default", "nobody")


async def test_the_job_of_another_tenant_is_not_found_either(rig: StoreRig) -> None:
    job_id = await rig.add(tenant="red")
    before = rig.dump()
    with pytest.raises(JobNotFound):
        await rig.store.cancel("blue", job_id)
    assert rig.dump() == before


async def test_a_cancel_and_a_success_in_flight_together_have_one_winner(rig: StoreRig) -> None:
    for _ in range(20):
        await rig.add()
        lease = await rig.lease_one()
        async with asyncio.TaskGroup() as group:
            success = group.create_task(rig.report(lease, Succeeded()))
            cancel = group.create_task(_cancelled(rig, lease.job_id))
        state = await rig.state(lease.job_id)
        assert (state is State.COMPLETED) == (success.result().code is ReportCode.RECORDED)
        assert (state is State.CANCELLED) == cancel.result()


async def _cancelled(rig: StoreRig, job_id: str) -> bool:
    try:
        return (await rig.store.cancel("default", job_id, force=True)).status.state is State.CANCELLED
    except JobTerminal:
        return False


async def test_a_wish_survives_a_crash(durable_rig: StoreRig) -> None:
    rig = durable_rig
    await rig.add()
    lease = await rig.lease_one()
    await rig.store.cancel("default", lease.job_id)
    await rig.crash()
    assert (await rig.extend(lease)).cancel_requested
