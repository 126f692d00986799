"""Clauses of `Store.extend` and its neighbours on checkpoints."""

from __future__ import annotations

import pytest

from jobwire_server.domain.job import Content, JobError, RetryPolicy, State
from jobwire_server.domain.outcome import Failed, Outcome, Released, Snoozed, Stopped, Succeeded
from jobwire_server.store.base import LeaseUpdate
from tests.helpers.factories import new_job
from tests.helpers.stores import ERROR, RESULT, SECOND_US, StoreRig

pytestmark = pytest.mark.asyncio

HALF = Content(b"\x00half\xff", "application/octet-stream", "zstd")
FATAL = JobError(type="Fatal", retryable=False)


def _stored(rig: StoreRig) -> list[tuple[object, ...]]:
    return rig.sql("SELECT key, data FROM checkpoint ORDER BY key")


@pytest.mark.parametrize(
    "checkpoint", [HALF, Content(b""), Content("Ада".encode(), is_text=True), Content(bytes(100_000))]
)
async def test_a_checkpoint_goes_to_the_next_attempt_byte_for_byte(rig: StoreRig, checkpoint: Content) -> None:
    await rig.add()
    lease = await rig.lease_one()
    assert lease.checkpoint is None
    assert (await rig.extend(lease, checkpoint=checkpoint)).valid
    await rig.report(lease, Released())
    assert (await rig.lease_one()).checkpoint == checkpoint


async def test_the_newest_checkpoint_replaces_the_one_before(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.extend(lease, checkpoint=Content(b"first, and longer", "a/b", "c"))
    await rig.extend(lease, checkpoint=Content(b"second"))
    await rig.extend(lease, progress_percent=50.0)
    await rig.report(lease, Released())
    assert (await rig.lease_one()).checkpoint == Content(b"second")


async def test_of_several_updates_of_one_lease_in_a_call_each_part_counts_in_order(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    update = LeaseUpdate(lease.key, lease.fence, 9 * SECOND_US)
    states = await rig.store.extend(
        [
            update._replace(checkpoint=Content(b"first"), progress_percent=1.0),
            update._replace(checkpoint=Content(b"second"), progress_message="on"),
            update._replace(lease_us=5 * SECOND_US),
        ]
    )
    assert [state.remaining_us for state in states] == [5 * SECOND_US] * 3
    status = (await rig.job(lease.job_id)).status
    assert (status.progress_percent, status.progress_message) == (1.0, "on")
    await rig.report(lease, Released())
    assert (await rig.lease_one()).checkpoint == Content(b"second")


@pytest.mark.parametrize("how", ["lease lost", "failure", "release", "snooze", "recovery", "retry"])
async def test_a_checkpoint_outlives(rig: StoreRig, how: str) -> None:
    await rig.add(retry_policy=RetryPolicy(max_attempts=3))
    lease = await rig.lease_one(lease_s=1)
    await rig.extend(lease, 1, checkpoint=HALF)
    if how == "lease lost":
        rig.clock.advance(2)
        await rig.store.expire_leases(limit=1)
    elif how == "recovery":
        await rig.store.recover(instance_id="another", limit=1)
    elif how == "retry":
        await rig.report(lease, Failed(FATAL))
        await rig.store.retry("default", lease.job_id)
    else:
        outcomes: dict[str, Outcome] = {"failure": Failed(ERROR), "release": Released(), "snooze": Snoozed(1)}
        await rig.report(lease, outcomes[how])
    rig.clock.advance(3600)
    await rig.store.promote_due(limit=10)
    assert (await rig.lease_one()).checkpoint == HALF


async def test_a_checkpoint_of_many_attempts_ago_is_still_there(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.extend(lease, checkpoint=HALF)
    for _ in range(3):
        await rig.report(lease, Released())
        lease = await rig.lease_one()
    assert lease.checkpoint == HALF


@pytest.mark.parametrize("result", [None, RESULT])
async def test_a_checkpoint_goes_with_the_success(rig: StoreRig, result: Content | None) -> None:
    await rig.submit(new_job(), new_job())
    done, other = await rig.lease(2)
    for lease in (done, other):
        await rig.extend(lease, checkpoint=HALF)
    await rig.report(done, Succeeded(result))
    assert _stored(rig) == [(other.key, HALF.data)]


@pytest.mark.parametrize("how", ["delete", "purge"])
async def test_a_checkpoint_goes_with_its_job(rig: StoreRig, how: str) -> None:
    await rig.add(retention_us=1)
    lease = await rig.lease_one()
    await rig.extend(lease, checkpoint=HALF)
    await rig.report(lease, Stopped())
    assert _stored(rig) == [(lease.key, HALF.data)]
    rig.clock.advance(1)
    if how == "delete":
        await rig.store.delete("default", lease.job_id)
    else:
        await rig.store.purge(limit=10)
    assert _stored(rig) == []


async def test_a_checkpoint_without_a_current_lease_changes_not_one_byte(rig: StoreRig) -> None:
    await rig.submit(new_job(), new_job())
    done, stale = await rig.lease(2)
    await rig.extend(stale, checkpoint=HALF)
    await rig.report(done, Succeeded())
    await rig.report(stale, Released())
    await rig.lease_one()
    before = rig.dump()
    for lease in (done, stale, stale._replace(fence=99), stale._replace(key=10**9)):
        assert not (await rig.extend(lease, checkpoint=Content(b"late"))).valid
    assert rig.dump() == before


async def test_a_checkpoint_writes_no_event(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    before = await rig.store.position(), await rig.events()
    await rig.extend(lease, checkpoint=HALF)
    assert (await rig.store.position(), await rig.events()) == before


async def test_a_checkpoint_is_durable_when_the_heartbeat_is_answered(durable_rig: StoreRig) -> None:
    rig = durable_rig
    await rig.add()
    lease = await rig.lease_one()
    await rig.extend(lease, checkpoint=HALF)
    await rig.crash()
    await rig.store.recover(instance_id="another", limit=10)
    assert (await rig.lease_one()).checkpoint == HALF


async def test_a_job_without_a_checkpoint_is_never_given_that_of_another(rig: StoreRig) -> None:
    await rig.submit(new_job(), new_job())
    first, second = await rig.lease(2)
    await rig.extend(second, checkpoint=HALF)
    for lease in (first, second):
        await rig.report(lease, Released())
    assert [lease.checkpoint for lease in await rig.lease(2)] == [None, HALF]
    assert await rig.state(first.job_id) is State.PROCESSING
