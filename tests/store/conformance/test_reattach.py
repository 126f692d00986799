"""Clauses of `Store.reattach` and `Store.held_by`: a worker process that comes back."""

from __future__ import annotations

import pytest

from jobwire_server.domain.job import Content, State
from jobwire_server.domain.outcome import Released, Succeeded
from jobwire_server.store.base import Lease, LeaseState, Owner, Reattached, ReportCode, Transport
from tests.helpers.factories import new_job
from tests.helpers.stores import REMOTE, SECOND_US, US, WORK, StoreRig

pytestmark = pytest.mark.asyncio

LOST = LeaseState(valid=False, cancel_requested=False, remaining_us=0)
LARGE = Content(bytes(range(256)) * 100, "a/b")


async def _leased(rig: StoreRig, count: int, *, owner: Owner = REMOTE, lease_s: float = 30) -> list[Lease]:
    await rig.submit(*(new_job() for _ in range(count)))
    return await rig.lease(count, owner=owner, lease_s=lease_s)


async def _reattach(rig: StoreRig, *held: Lease, owner: Owner = REMOTE) -> Reattached:
    return await rig.store.reattach(owner, [(lease.key, lease.fence) for lease in held])


async def test_leases_that_are_named_stand_and_their_time_is_not_changed(rig: StoreRig) -> None:
    leases = await _leased(rig, 3)
    rig.clock.advance(10)
    before = rig.dump()
    found = await _reattach(rig, *reversed(leases))
    assert found.states == [LeaseState(True, False, 20 * SECOND_US)] * 3
    assert [lease.key for lease in found.leases] == [lease.key for lease in reversed(leases)]
    assert found.returned == 0
    assert rig.dump() == before


async def test_a_lease_that_stands_says_everything_but_payload_and_checkpoint(rig: StoreRig) -> None:
    await rig.add(labels={"k": "v"}, headers={"h": "w"}, attempt_timeout_us=60 * SECOND_US)
    lease = await rig.lease_one(owner=REMOTE)
    await rig.extend(lease, checkpoint=Content(b"half"))
    [again] = (await _reattach(rig, lease)).leases
    assert again == lease._replace(payload=None)


async def test_leases_that_are_not_named_were_never_received_and_cost_no_attempt(rig: StoreRig) -> None:
    kept, lost = await _leased(rig, 2)
    notices = len(rig.notices)
    assert (await _reattach(rig, kept)).returned == 1
    status = (await rig.job(lost.job_id)).status
    assert (status.state, status.attempt) == (State.PENDING, 0)
    assert WORK in rig.notices[notices].pending
    assert (await rig.job(lost.job_id)).attempts == ()
    assert await rig.state(kept.job_id) is State.PROCESSING


async def test_a_lease_that_ran_out_is_lost_and_not_taken_for_one_that_was_never_received(rig: StoreRig) -> None:
    [lease] = await _leased(rig, 1)
    rig.clock.advance(31)
    assert (await _reattach(rig)).returned == 0
    assert await rig.state(lease.job_id) is State.PROCESSING
    assert (await rig.store.expire_leases(limit=10)).changed == 1
    status = (await rig.job(lease.job_id)).status
    assert (status.state, status.attempt) == (State.RETRYING, 1)


async def test_a_worker_that_names_nothing_has_nothing(rig: StoreRig) -> None:
    await _leased(rig, 3)
    assert await _reattach(rig) == Reattached([], [], 3)
    assert (await rig.store.counts()).by_state == {State.PENDING: 3}


async def test_twice_in_a_row_changes_nothing(rig: StoreRig) -> None:
    kept, _, _ = await _leased(rig, 3)
    first = await _reattach(rig, kept)
    before, position = rig.dump(), await rig.store.position()
    second = await _reattach(rig, kept)
    assert second == first._replace(returned=0)
    assert (rig.dump(), await rig.store.position()) == (before, position)


async def test_leases_of_other_instances_are_left_alone(rig: StoreRig) -> None:
    await _leased(rig, 2, owner=US)
    await _leased(rig, 2, owner=REMOTE._replace(instance_id="another"))
    assert (await _reattach(rig)).returned == 0
    assert (await rig.store.counts()).by_state == {State.PROCESSING: 4}


async def test_a_lease_that_came_another_way_is_the_owners_from_now_on(rig: StoreRig) -> None:
    pulled = Owner("w", "pulled", Transport.UNARY)
    [lease] = await _leased(rig, 1, owner=pulled)
    assert (await _reattach(rig, lease)).states[0].valid
    assert [one.key for one in await rig.store.held_by(REMOTE.instance_id, limit=9)] == [lease.key]
    assert await rig.store.held_by("pulled", limit=9) == []
    assert (await rig.job(lease.job_id)).status.worker_id == REMOTE.worker_id
    assert (await _reattach(rig, owner=pulled)).returned == 0
    assert await rig.state(lease.job_id) is State.PROCESSING


async def test_taking_over_a_lease_is_no_event(rig: StoreRig) -> None:
    [lease] = await _leased(rig, 1, owner=US)
    before = await rig.store.position(), await rig.events()
    await _reattach(rig, lease)
    assert (await rig.store.position(), await rig.events()) == before


async def test_a_lease_of_a_direct_owner_that_a_remote_one_took_over_survives_recovery(rig: StoreRig) -> None:
    [lease] = await _leased(rig, 1, owner=US)
    await _reattach(rig, lease)
    assert (await rig.store.recover(instance_id="another", limit=10)).returned == 0
    assert await rig.state(lease.job_id) is State.PROCESSING


async def test_leases_that_are_over_are_told_so(rig: StoreRig) -> None:
    done, stale, forced, held = await _leased(rig, 4)
    await rig.report(done, Succeeded())
    await rig.report(stale, Released())
    await rig.lease_one()
    await rig.store.cancel("default", forced.job_id, force=True)
    unknown = held._replace(key=10**9)
    found = await _reattach(rig, done, stale, forced, unknown, held)
    assert found.states == [LOST, LOST, LOST, LOST, LeaseState(True, False, 30 * SECOND_US)]
    assert [lease.key for lease in found.leases] == [held.key]
    assert [lease.key for lease in await rig.store.held_by(US.instance_id, limit=9)] == [stale.key]


async def test_a_stale_fence_of_a_lease_that_this_very_instance_holds_does_not_name_it(rig: StoreRig) -> None:
    [old] = await _leased(rig, 1)
    await rig.report(old, Released())
    await rig.lease_one(owner=REMOTE)
    found = await _reattach(rig, old)
    assert (found.states, found.leases, found.returned) == ([LOST], [], 1)
    assert await rig.state(old.job_id) is State.PENDING


async def test_a_cancel_wish_is_told_and_a_lease_that_was_not_received_is_cancelled_by_it(rig: StoreRig) -> None:
    kept, lost = await _leased(rig, 2)
    for lease in (kept, lost):
        await rig.store.cancel("default", lease.job_id)
    found = await _reattach(rig, kept)
    assert found.states == [LeaseState(True, True, 30 * SECOND_US)]
    assert await rig.state(lost.job_id) is State.CANCELLED


async def test_a_lease_that_is_named_twice_is_one_lease(rig: StoreRig) -> None:
    [lease] = await _leased(rig, 1)
    found = await _reattach(rig, lease, lease)
    assert ([state.valid for state in found.states], len(found.leases)) == ([True, True], 1)


async def test_a_lease_whose_time_is_over_but_that_nobody_took_stands_and_can_be_extended(rig: StoreRig) -> None:
    [lease] = await _leased(rig, 1, lease_s=1)
    rig.clock.advance(2)
    [state] = (await _reattach(rig, lease)).states
    assert state == LeaseState(True, False, 0)
    assert (await rig.extend(lease, 30)).valid
    assert (await rig.report(lease, Succeeded())).code is ReportCode.RECORDED


async def test_a_reattach_is_durable(durable_rig: StoreRig) -> None:
    rig = durable_rig
    kept, lost = await _leased(rig, 2, owner=US)
    await _reattach(rig, kept, owner=REMOTE)
    await _reattach(rig, owner=US)
    await rig.crash()
    assert (await rig.state(kept.job_id), await rig.state(lost.job_id)) == (State.PROCESSING, State.PENDING)


# --- held_by ------------------------------------------------------------------------------------------------------


async def test_what_an_instance_holds_is_read_as_it_was_leased(rig: StoreRig) -> None:
    await rig.submit(new_job(labels={"k": "v"}), new_job(payload=LARGE), new_job(payload=None))
    leases = await rig.lease(3, owner=REMOTE)
    await _leased(rig, 2, owner=US)
    before = rig.dump()
    assert await rig.store.held_by(REMOTE.instance_id, limit=9) == leases
    assert rig.dump() == before


async def test_what_is_held_comes_with_its_checkpoint(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one(owner=REMOTE)
    await rig.extend(lease, checkpoint=LARGE)
    [held] = await rig.store.held_by(REMOTE.instance_id, limit=1)
    assert held == lease._replace(checkpoint=LARGE)


async def test_the_oldest_leases_come_first_up_to_the_limit(rig: StoreRig) -> None:
    young, old = await rig.add(priority=1), await rig.add(priority=9)
    for _ in range(2):
        await rig.lease_one(owner=REMOTE)
        rig.clock.advance(1)
    assert [lease.job_id for lease in await rig.store.held_by(REMOTE.instance_id, limit=9)] == [old, young]
    assert [lease.job_id for lease in await rig.store.held_by(REMOTE.instance_id, limit=1)] == [old]


async def test_a_lease_that_is_over_is_not_held_any_more(rig: StoreRig) -> None:
    [short] = await _leased(rig, 1, lease_s=5)
    done, stopped, held = await _leased(rig, 3)
    await rig.report(done, Succeeded())
    await rig.store.cancel("default", stopped.job_id, force=True)
    rig.clock.advance(5)
    assert await rig.state(short.job_id) is State.PROCESSING
    assert [lease.key for lease in await rig.store.held_by(REMOTE.instance_id, limit=9)] == [held.key]
    assert await rig.store.held_by("nobody", limit=9) == []


async def test_what_is_held_says_how_much_time_is_left(rig: StoreRig) -> None:
    await _leased(rig, 1, lease_s=30)
    rig.clock.advance(12)
    [lease] = await rig.store.held_by(REMOTE.instance_id, limit=9)
    assert lease.lease_us == 18 * SECOND_US
