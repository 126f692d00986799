"""Clauses of `Store.events` and `Store.position`: one event per change, in commit order."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Failed, Released, Succeeded
from jobwire_server.store.base import EventKind, Lane
from tests.helpers.factories import new_job
from tests.helpers.stores import ERROR, RESULT, US, StoreRig

pytestmark = pytest.mark.asyncio


async def test_a_whole_life_is_told_once_in_order_and_without_gap(rig: StoreRig) -> None:
    job_id = await rig.add(labels={"k": "v"})
    await rig.report(await rig.lease_one(), Failed(ERROR, retry_delay_us=0))
    await rig.store.promote_due(limit=1)
    await rig.report(await rig.lease_one(), Succeeded(RESULT))
    await rig.store.delete("default", job_id)
    events = await rig.events()
    assert [event.state for event in events] == [
        *(State.PENDING, State.PROCESSING, State.RETRYING, State.PENDING, State.PROCESSING),
        *(State.COMPLETED, State.COMPLETED),
    ]
    assert [event.previous_state for event in events[:-1]] == [None, *(event.state for event in events[:-2])]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.kind for event in events] == [EventKind.CREATED, *[EventKind.UPDATED] * 5, EventKind.DELETED]
    assert [(event.attempt, event.fence) for event in events] == [
        *((0, 0), (1, 1), (1, 1), (1, 1), (2, 2), (2, 2), (2, 2))
    ]
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions))


async def test_an_event_carries_the_status_and_what_filters_need(rig: StoreRig) -> None:
    await rig.submit(new_job(queue="mail", type="send", labels={"k": "v"}), tenant="red", atomic=True, batch_id="b")
    rig.clock.advance(1)
    lease = await rig.lease_one(lanes=[Lane("mail", "send")], lease_s=30)
    rig.clock.advance(1)
    await rig.report(lease, Failed(ERROR))
    created, leased, failed = await rig.events()
    job = await rig.job(lease.job_id, tenant="red")
    for event in (created, leased, failed):
        assert (event.tenant, event.job_id, event.key) == ("red", lease.job_id, lease.key)
        assert (event.queue, event.type, event.batch_id, event.labels) == ("mail", "send", "b", {"k": "v"})
        assert (event.create_time_us, event.max_attempts) == (job.create_time_us, 20)
    assert (leased.worker_id, leased.start_time_us) == (US.worker_id, leased.time_us)
    assert leased.lease_expire_time_us == leased.time_us + 30_000_000
    assert (failed.last_error, failed.lease_expire_time_us) == (ERROR, None)
    assert failed.next_attempt_time_us == job.status.next_attempt_time_us
    assert failed.time_us == rig.clock.wall_us()
    assert failed.revision == job.status.revision


async def test_a_page_of_the_log_is_bounded_and_goes_on_after_its_last_revision(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(10)))
    seen: list[int] = []
    cursor = 0
    while page := await rig.store.events(after=cursor, limit=3):
        assert len(page) <= 3
        cursor = page[-1].revision
        seen += [event.revision for event in page]
    assert seen == [event.revision for event in await rig.events()]


async def test_a_cursor_at_or_beyond_the_end_sees_nothing_yet(rig: StoreRig) -> None:
    await rig.add()
    newest = (await rig.store.position()).revision
    assert await rig.events(after=newest) == []
    assert await rig.events(after=newest + 1000) == []


async def test_the_log_of_one_tenant_holds_only_its_events(rig: StoreRig) -> None:
    for tenant in ("red", "blue", "red"):
        await rig.add(tenant=tenant)
    events = await rig.store.events(after=0, limit=10, tenant="red")
    assert [event.tenant for event in events] == ["red", "red"]
    assert await rig.store.events(after=events[0].revision, limit=10, tenant="red") == events[1:]
    assert await rig.store.events(after=0, limit=1, tenant="red") == events[:1]


async def test_the_log_of_some_jobs_holds_only_theirs_in_revision_order(rig: StoreRig) -> None:
    one, two, other = [await rig.add() for _ in range(3)]
    for job_id in (two, other, one):
        await rig.store.cancel("default", job_id)
    events = await rig.events(one, two, "nobody")
    assert [(event.job_id, event.sequence) for event in events] == [(one, 1), (two, 1), (two, 2), (one, 2)]
    assert await rig.events(one, two, after=events[1].revision) == events[2:]
    assert await rig.store.events(after=0, limit=3, tenant="default", job_ids=[one, two]) == events[:3]


async def test_the_jobs_of_another_tenant_have_no_log(rig: StoreRig) -> None:
    job_id = await rig.add(tenant="red")
    assert await rig.events(job_id, tenant="blue") == []


async def test_the_log_of_a_job_that_is_gone_still_ends_with_its_deletion(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.CANCELLED)
    await rig.store.delete("default", job_id)
    assert [event.kind for event in await rig.events(job_id)] == [
        *(EventKind.CREATED, EventKind.UPDATED, EventKind.DELETED)
    ]


async def test_the_position_is_the_newest_committed_revision(rig: StoreRig) -> None:
    assert (await rig.store.position()).revision == 0
    receipt = await rig.submit(new_job(), new_job())
    assert await rig.store.position() == receipt.position


async def test_notices_come_in_commit_order_with_rising_revisions(rig: StoreRig) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(rig.submit(new_job()))
    revisions = [notice.revision for notice in rig.notices]
    assert revisions == sorted(set(revisions))
    assert revisions[-1] == (await rig.store.position()).revision


async def test_a_reader_that_follows_the_log_beside_busy_writers_misses_and_repeats_nothing(rig: StoreRig) -> None:
    seen: list[int] = []

    async def write(number: int) -> None:
        for _ in range(10):
            await rig.add(type=f"t{number}")
            lease = await rig.lease_one(lanes=[Lane("default", f"t{number}")])
            await rig.report(lease, Released())
            await rig.store.cancel("default", lease.job_id)

    async def follow(writers: list[asyncio.Task[None]]) -> None:
        cursor = 0
        while True:
            ended = all(writer.done() for writer in writers)
            page = await rig.store.events(after=cursor, limit=7)
            seen.extend(event.revision for event in page)
            cursor = seen[-1] if seen else 0
            if ended and not page:
                return

    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(write(number)) for number in range(5)]
        group.create_task(follow(writers))
    assert seen == [event.revision for event in await rig.events()]
    assert len(seen) == 5 * 10 * 4
