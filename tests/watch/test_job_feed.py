"""The watch of one job, one promise at a time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from jobwire_server.domain.errors import Draining, JobNotFound, RevisionInFuture
from jobwire_server.domain.job import DEFAULT_TENANT, State
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.store.base import ProgressNote
from jobwire_server.watch.hub import JobWatch
from tests.helpers.stores import RESULT
from tests.watch.test_jobs_feed import CompactedTo
from tests.watch.world import World

pytestmark = pytest.mark.asyncio


def watch_of(job_id: str, **fields: object) -> JobWatch:
    return JobWatch(DEFAULT_TENANT, job_id, **fields)  # type: ignore[arg-type]


async def test_the_current_status_comes_first_and_the_terminal_one_last() -> None:
    async with World() as world:
        job_id = await world.stores.add()
        async with aclosing(world.hub.watch_job(watch_of(job_id)).updates()) as updates:
            first = await anext(updates)
            lease = await world.stores.lease_one()
            second = await anext(updates)
            await world.stores.report(lease, Succeeded(RESULT))
            rest = [update async for update in updates]

    assert [first.status.state, second.status.state] == [State.PENDING, State.PROCESSING]
    assert [update.status.state for update in rest] == [State.COMPLETED]
    assert rest[0].status.result is None


async def test_a_full_watch_brings_the_result_with_the_terminal_status() -> None:
    async with World() as world:
        done = await world.stores.job_in(State.COMPLETED)
        running = await world.stores.add()
        before = [update async for update in world.hub.watch_job(watch_of(done, full=True)).updates()]
        async with aclosing(world.hub.watch_job(watch_of(running, full=True)).updates()) as updates:
            await anext(updates)
            lease = await world.stores.lease_one()
            await world.stores.report(lease, Succeeded(RESULT))
            live = [update async for update in updates]

    assert [update.status.result for update in before] == [RESULT]
    assert live[-1].status.result == RESULT


async def test_a_status_that_was_seen_is_not_sent_again() -> None:
    async with World() as world:
        job_id = await world.stores.add()
        seen = (await world.cursor()).revision
        async with aclosing(world.hub.watch_job(watch_of(job_id, after_revision=seen)).updates()) as updates:
            waiting = asyncio.ensure_future(anext(updates))
            await world.store.position()
            await world.store.cancel(DEFAULT_TENANT, job_id)

            assert (await waiting).status.state is State.CANCELLED


async def test_a_terminal_status_is_sent_even_if_it_was_seen() -> None:
    """A watch never ends well without it."""
    async with World() as world:
        job_id = await world.stores.job_in(State.FAILED)
        seen = (await world.cursor()).revision

        updates = [u async for u in world.hub.watch_job(watch_of(job_id, after_revision=seen)).updates()]

        assert [update.status.state for update in updates] == [State.FAILED]


async def test_a_terminal_status_is_not_skipped_when_the_job_goes_on() -> None:
    async with World() as world:
        job_id = await world.stores.add()
        async with aclosing(world.hub.watch_job(watch_of(job_id)).updates()) as updates:
            await anext(updates)
            for _ in range(3):
                await world.store.cancel(DEFAULT_TENANT, job_id)
                await world.store.retry(DEFAULT_TENANT, job_id)

            rest = [update async for update in updates]

    assert rest[-1].status.state is State.CANCELLED


async def test_a_job_that_does_not_exist_is_not_found() -> None:
    async with World() as world:
        with pytest.raises(JobNotFound):
            await anext(world.hub.watch_job(watch_of("nobody")).updates())


async def test_a_job_that_goes_away_is_not_found_after_its_last_status() -> None:
    async with World() as world:
        job_id = await world.stores.job_in(State.PROCESSING)
        async with aclosing(world.hub.watch_job(watch_of(job_id)).updates()) as updates:
            await anext(updates)
            await world.store.cancel(DEFAULT_TENANT, job_id, force=True)
            await world.store.delete(DEFAULT_TENANT, job_id)

            try:
                rest = [update async for update in updates]
                assert rest[-1].status.state is State.CANCELLED
            except JobNotFound:
                pass  # it was gone before anybody looked


async def test_a_revision_of_the_future_is_refused() -> None:
    async with World() as world:
        job_id = await world.stores.add()

        with pytest.raises(RevisionInFuture):
            await anext(world.hub.watch_job(watch_of(job_id, after_revision=99)).updates())


async def test_a_compacted_log_never_fails_the_watch_of_one_job() -> None:
    async with World(around=CompactedTo(2)) as world:
        job_id = await world.stores.job_in(State.COMPLETED)

        [update] = [u async for u in world.hub.watch_job(watch_of(job_id, after_revision=1)).updates()]

        assert update.skipped
        assert update.status.state is State.COMPLETED


async def test_a_watch_that_is_told_to_end_raises_the_reason() -> None:
    async with World() as world:
        job_id = await world.stores.add()
        feed = world.hub.watch_job(watch_of(job_id))
        async with aclosing(feed.updates()) as updates:
            await anext(updates)
            feed.end(Draining("bye"))

            with pytest.raises(Draining):
                await anext(updates)


async def test_progress_is_part_of_the_status() -> None:
    async with World() as world:
        job_id = await world.stores.add()
        lease = await world.stores.lease_one()
        async with aclosing(world.hub.watch_job(watch_of(job_id)).updates()) as updates:
            await anext(updates)
            await world.stores.extend(lease, progress_percent=40.0, progress_message="two of five")
            world.hub.progress(
                ProgressNote(DEFAULT_TENANT, lease.key, job_id, "default", "work", 1, 40.0, "two of five")
            )

            update = await anext(updates)

    assert (update.status.progress_percent, update.status.progress_message) == (40.0, "two of five")
    assert update.status.state is State.PROCESSING


async def test_every_job_of_many_is_told_to_its_own_watcher() -> None:
    async with World() as world:
        ids = [await world.stores.add() for _ in range(300)]

        async def follow(job_id: str) -> State:
            return [u.status.state async for u in world.hub.watch_job(watch_of(job_id)).updates()][-1]

        async with asyncio.TaskGroup() as group:
            followers = [group.create_task(follow(job_id)) for job_id in ids]
            for job_id in ids:
                await world.store.cancel(DEFAULT_TENANT, job_id)

        assert {task.result() for task in followers} == {State.CANCELLED}
