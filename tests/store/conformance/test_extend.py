"""Clauses of `Store.extend`."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Released, Succeeded
from jobwire_server.store.base import Lane, LeaseEnd, LeaseState, LeaseUpdate, RunName
from tests.helpers.factories import new_job
from tests.helpers.stores import SECOND_US, WORK, StoreRig

pytestmark = pytest.mark.asyncio

LOST = LeaseState(valid=False, cancel_requested=False, remaining_us=0)


async def test_a_heartbeat_moves_the_end_of_the_lease(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one(lease_s=30)
    rig.clock.advance(20)
    assert await rig.extend(lease, 30) == LeaseState(True, False, 30 * SECOND_US)
    rig.clock.advance(20)
    assert (await rig.store.expire_leases(limit=10)).changed == 0
    assert (await rig.job(lease.job_id)).status.lease_expire_time_us == rig.clock.wall_us() + 10 * SECOND_US


async def test_the_end_of_a_lease_is_what_the_lease_said_until_somebody_extends_it(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one(lease_s=30)
    rig.clock.advance(10)
    run = (lease.key, lease.fence)
    assert await rig.store.lease_ends([run]) == [LeaseEnd(lease.lease_expire_us, 20 * SECOND_US)]
    await rig.extend(lease, 30)
    assert await rig.store.lease_ends([run]) == [LeaseEnd(lease.lease_expire_us + 10 * SECOND_US, 30 * SECOND_US)]


async def test_a_lease_that_is_over_has_no_end(rig: StoreRig) -> None:
    await rig.add(), await rig.add(), await rig.add()
    done, late, stands = await rig.lease(3, lease_s=30)
    await rig.report(done, Succeeded())
    await rig.extend(stands, 60)
    rig.clock.advance(30)
    asked = [(done.key, done.fence), (late.key, late.fence), (stands.key, stands.fence + 1), (stands.key, stands.fence)]
    *over, end = await rig.store.lease_ends(asked)
    assert over == [None, None, None]
    assert end is not None
    assert end.remaining_us == 30 * SECOND_US
    assert await rig.store.lease_ends([]) == []


async def test_a_heartbeat_writes_no_event_and_no_revision(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    before, notices = await rig.store.position(), len(rig.notices)
    events = rig.sql("SELECT * FROM event")
    await rig.extend(lease, progress_percent=50.0)
    assert await rig.store.position() == before
    assert rig.sql("SELECT * FROM event") == events
    assert len(rig.notices) == notices


async def test_progress_is_kept_with_the_job_and_each_part_only_when_given(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.extend(lease, progress_percent=12.5, progress_message="half of a quarter")
    await rig.extend(lease, progress_percent=50.0)
    await rig.extend(lease)
    status = (await rig.job(lease.job_id)).status
    assert (status.progress_percent, status.progress_message) == (50.0, "half of a quarter")
    await rig.extend(lease, progress_message="")
    assert (await rig.job(lease.job_id)).status.progress_message == ""


async def test_a_new_attempt_begins_without_progress(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.extend(lease, progress_percent=12.5, progress_message="begun")
    await rig.report(lease, Released())
    again = await rig.lease_one()
    status = (await rig.job(again.job_id)).status
    assert (status.progress_percent, status.progress_message) == (None, "")


async def test_a_heartbeat_tells_that_a_cancel_was_asked_for(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.store.cancel("default", lease.job_id)
    assert await rig.extend(lease, 30) == LeaseState(True, True, 10 * SECOND_US)


async def test_no_heartbeat_keeps_a_cancelled_job_alive_beyond_its_grace(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.store.cancel("default", lease.job_id)
    rig.clock.advance(7)
    assert (await rig.extend(lease, 30)).remaining_us == 3 * SECOND_US
    rig.clock.advance(3)
    await rig.extend(lease, 30)
    await rig.store.expire_leases(limit=10)
    assert await rig.state(lease.job_id) is State.CANCELLED


async def test_only_a_heartbeat_with_progress_is_told_whose_it_is(rig: StoreRig) -> None:
    await rig.submit(new_job(job_id="a", queue="mail"), new_job(job_id="b"))
    one, two = await rig.lease(2, lanes=[Lane("mail", "work"), WORK])
    beats = [
        LeaseUpdate(two.key, two.fence, SECOND_US, 50.0),
        LeaseUpdate(one.key, one.fence + 1, SECOND_US, 50.0),
        LeaseUpdate(one.key, one.fence, SECOND_US, None, "on its way"),
        LeaseUpdate(one.key, one.fence, SECOND_US),
    ]
    states = await rig.store.extend(beats)
    names = {lease.job_id: RunName("default", lease.job_id, lease.queue, "work", 1) for lease in (one, two)}
    assert [state.name for state in states] == [names[two.job_id], None, names[one.job_id], None]


async def test_a_heartbeat_without_a_current_lease_changes_not_one_byte(rig: StoreRig) -> None:
    await rig.submit(new_job(), new_job())
    done, stale = await rig.lease(2)
    await rig.report(done, Succeeded())
    await rig.report(stale, Released())
    await rig.lease_one()
    before = rig.dump()
    for lease in (done, stale, stale._replace(fence=99), stale._replace(key=10**9)):
        assert await rig.extend(lease, progress_percent=1.0, progress_message="late") == LOST
    assert rig.dump() == before


async def test_heartbeats_are_judged_each_on_its_own_in_order(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(3)))
    leases = await rig.lease(3)
    await rig.report(leases[1], Succeeded())
    states = await rig.store.extend([LeaseUpdate(lease.key, lease.fence, 7 * SECOND_US) for lease in leases])
    assert states == [LeaseState(True, False, 7 * SECOND_US), LOST, LeaseState(True, False, 7 * SECOND_US)]
    assert await rig.store.extend([]) == []


async def test_a_lease_is_never_extended_beyond_the_attempts_timeout_and_its_grace(rig: StoreRig) -> None:
    await rig.add(attempt_timeout_us=10 * SECOND_US)
    lease = await rig.lease_one(lease_s=5)
    end_us = rig.clock.wall_us() + 10 * SECOND_US + rig.settings.report_grace_us
    rig.clock.advance(4)
    assert (await rig.extend(lease, 3)).remaining_us == 3 * SECOND_US
    state = await rig.extend(lease, 3600)
    assert state.remaining_us == end_us - rig.clock.wall_us()
    assert (await rig.job(lease.job_id)).status.lease_expire_time_us == end_us


async def test_one_heartbeat_that_fails_unexpectedly_takes_nobody_with_it(rig: StoreRig) -> None:
    await rig.submit(new_job(), new_job())
    bad, good = await rig.lease(2)
    async with asyncio.TaskGroup() as group:
        failing = group.create_task(_outcome(rig, LeaseUpdate(bad.key, bad.fence, 1, object())))  # type: ignore[arg-type]
        extending = group.create_task(rig.extend(good))
    assert isinstance(failing.result(), Exception)
    assert extending.result().valid


async def _outcome(rig: StoreRig, update: LeaseUpdate) -> object:
    try:
        return await rig.store.extend([update])
    except Exception as error:  # noqa: BLE001 - whichever it is
        return error
