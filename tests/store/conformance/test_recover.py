"""Clauses of `Store.recover`: what a restart does to leases."""

from __future__ import annotations

import pytest

from jobwire_server.domain.job import TERMINAL_STATES, Content, RetryPolicy, State
from jobwire_server.domain.outcome import Released, Succeeded
from jobwire_server.store.base import Owner, RecoveryBatch, ReportCode, Transport
from tests.helpers.factories import new_job
from tests.helpers.stores import REMOTE, US, WORK, StoreRig

pytestmark = pytest.mark.asyncio

NEXT = "incarnation-9"


async def _recover(rig: StoreRig, limit: int = 1000) -> RecoveryBatch:
    return await rig.store.recover(instance_id=NEXT, limit=limit)


async def test_the_jobs_of_a_dead_pool_are_pending_again_at_once_with_a_new_fence(rig: StoreRig) -> None:
    job_id = await rig.add()
    lease = await rig.lease_one()
    assert await _recover(rig) == RecoveryBatch(returned=1, failed=0, cancelled=0, more=False)
    job = await rig.job(job_id)
    assert (job.status.state, job.status.attempt, job.fence) == (State.PENDING, 1, lease.fence + 1)
    assert job.status.last_error is not None
    assert job.status.last_error.type == "LEASE_LOST"
    assert rig.notices[-1].pending == {WORK}
    again = await rig.lease_one()
    assert (again.attempt, again.fence) == (2, lease.fence + 2)


async def test_the_lost_attempt_is_listed_with_its_reason(rig: StoreRig) -> None:
    job_id = await rig.add()
    await rig.lease_one()
    await _recover(rig)
    [attempt] = (await rig.job(job_id)).attempts
    assert (attempt.number, attempt.worker_id) == (1, US.worker_id)
    assert attempt.error is not None
    assert attempt.error.type == "LEASE_LOST"


async def test_a_remote_worker_keeps_the_job_it_holds_under_an_unexpired_lease(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one(owner=REMOTE)
    before = rig.dump()
    assert (await _recover(rig)).returned == 0
    assert rig.dump() == before
    assert (await rig.report(lease, Succeeded())).code is ReportCode.RECORDED


@pytest.mark.parametrize("transport", list(Transport))
async def test_an_expired_lease_of_anybody_goes_back(rig: StoreRig, transport: Transport) -> None:
    job_id = await rig.add()
    await rig.lease_one(owner=Owner("w", NEXT, transport), lease_s=5)
    rig.clock.advance(5)
    assert (await _recover(rig)).returned == 1
    assert await rig.state(job_id) is State.PENDING


async def test_the_own_leases_of_this_incarnation_stay(rig: StoreRig) -> None:
    await rig.add()
    await rig.lease_one(owner=US._replace(instance_id=NEXT))
    assert (await _recover(rig)).returned == 0


async def test_one_attempt_allowed_means_never_twice(rig: StoreRig) -> None:
    job_id = await rig.add(retry_policy=RetryPolicy(max_attempts=1))
    await rig.lease_one()
    assert await _recover(rig) == RecoveryBatch(returned=0, failed=1, cancelled=0, more=False)
    status = (await rig.job(job_id)).status
    assert status.last_error is not None
    assert (status.state, status.last_error.type) == (State.FAILED, "LEASE_LOST")


async def test_a_job_that_nobody_wanted_any_more_ends(rig: StoreRig) -> None:
    cancelled = await rig.add()
    expired = await rig.add(expire_time_us=rig.clock.wall_us() + 1_000_000)
    await rig.lease(2)
    await rig.store.cancel("default", cancelled)
    rig.clock.advance(1)
    assert await _recover(rig) == RecoveryBatch(returned=0, failed=0, cancelled=2, more=False)
    assert [await rig.state(cancelled), await rig.state(expired)] == [State.CANCELLED, State.EXPIRED]


async def test_losses_by_restarts_never_make_a_job_poisoned(rig: StoreRig) -> None:
    job_id = await rig.add()
    for number in range(10):
        await rig.lease_one(owner=US._replace(instance_id=f"boot-{number}"))
        assert (await _recover(rig)).returned == 1
    assert (await rig.job(job_id)).status.attempt == 10


async def test_recovery_is_bounded_and_says_when_there_is_more(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(7)))
    await rig.lease(7)
    batches = [await _recover(rig, limit=3) for _ in range(3)]
    assert [(batch.returned, batch.more) for batch in batches] == [(3, True), (3, True), (1, False)]


async def test_the_bound_holds_over_dead_and_expired_leases_together(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(6)))
    await rig.lease(3)
    await rig.lease(3, owner=REMOTE, lease_s=1)
    rig.clock.advance(1)
    returned = 0
    for _ in range(10):
        batch = await _recover(rig, limit=2)
        assert batch.returned <= 2
        returned += batch.returned
        if not batch.more:
            break
    assert returned == 6


async def test_recovering_twice_changes_nothing_the_second_time(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(5)))
    await rig.lease(3)
    await _recover(rig)
    before = rig.dump()
    assert await _recover(rig) == RecoveryBatch(0, 0, 0, more=False)
    assert rig.dump() == before


async def test_everything_but_the_lost_leases_keeps_every_byte(rig: StoreRig) -> None:
    large = Content(bytes(50_000))
    for state in (State.SCHEDULED, State.PENDING, State.RETRYING, *TERMINAL_STATES):
        await rig.job_in(state, labels={"k": "v"}, payload=large)
    before = rig.dump()
    await rig.add(type="lost")
    await rig.lease_one(lanes=[WORK._replace(type="lost")])
    assert (await _recover(rig)).returned == 1
    after = rig.dump()
    assert [row for row in after["job"] if row in before["job"]] == before["job"]
    for table in ("content", "label", "attempt", "event"):
        assert set(before[table]) <= set(after[table])


async def test_a_crash_between_batches_is_recovered_by_the_next_start(durable_rig: StoreRig) -> None:
    rig = durable_rig
    await rig.submit(*(new_job() for _ in range(5)))
    await rig.lease(5)
    await _recover(rig, limit=2)
    await rig.crash()
    batch = await _recover(rig)
    assert (batch.returned, batch.more) == (3, False)
    assert (await rig.store.counts()).by_state == {State.PENDING: 5}


async def test_a_crash_inside_a_batch_leaves_all_of_it_to_the_next(durable_rig: StoreRig) -> None:
    rig = durable_rig
    await rig.submit(*(new_job() for _ in range(3)))
    await rig.lease(3)
    await rig.close()

    def fail(name: str) -> None:
        if name == "recover.before_commit":
            raise RuntimeError(name)

    rig.failpoint = fail
    await rig.open()
    before = rig.dump()
    with pytest.raises(RuntimeError):
        await _recover(rig)
    assert rig.dump() == before
    rig.failpoint = lambda name: None
    await rig.reopen()
    assert (await _recover(rig)).returned == 3


async def test_a_row_that_cannot_be_reset_fails_with_the_reason_and_stops_nobody(rig: StoreRig) -> None:
    ids = [await rig.add() for _ in range(5)]
    await rig.lease(5)
    rig.forbid(f"NEW.state = 2 AND OLD.state = 3 AND NEW.id = '{ids[2]}'")
    assert await _recover(rig) == RecoveryBatch(returned=4, failed=1, cancelled=0, more=False)
    status = (await rig.job(ids[2])).status
    assert status.last_error is not None
    assert (status.state, status.last_error.type) == (State.FAILED, "RECOVERY_FAILED")


async def test_a_row_that_can_be_neither_reset_nor_failed_stops_nobody_and_ends_the_recovery(rig: StoreRig) -> None:
    ids = [await rig.add() for _ in range(5)]
    await rig.lease(5)
    rig.forbid(f"NEW.id = '{ids[0]}'")
    returned = 0
    for _ in range(10):
        batch = await _recover(rig, limit=2)
        returned += batch.returned
        if not batch.more:
            break
    else:
        pytest.fail("recovery never ends")
    assert returned == 4
    assert await rig.state(ids[0]) is State.PROCESSING


async def test_a_row_whose_policy_is_unreadable_stops_nobody(rig: StoreRig) -> None:
    ids = [await rig.add(retry_policy=RetryPolicy()) for _ in range(3)]
    await rig.lease(3)
    rig.tamper(f"UPDATE job SET retry = '[20' WHERE id = '{ids[1]}'")
    await _recover(rig)
    assert [await rig.state(ids[0]), await rig.state(ids[2])] == [State.PENDING, State.PENDING]
    rig.tampered = True
    [row] = rig.sql("SELECT state FROM job WHERE id = ?", (ids[1],))
    assert row[0] in {State.PENDING, State.FAILED}


async def test_a_released_job_is_not_touched(rig: StoreRig) -> None:
    await rig.add()
    await rig.report(await rig.lease_one(), Released())
    before = rig.dump()
    assert (await _recover(rig)).returned == 0
    assert rig.dump() == before
