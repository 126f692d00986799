"""How watches of many jobs end, and what they tell of progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

import pytest

from jobwire_server.domain.errors import (
    Draining,
    StreamAge,
)
from jobwire_server.domain.job import DEFAULT_TENANT, TERMINAL_STATES, State
from jobwire_server.store.base import JobFilter, ProgressNote, Store
from jobwire_server.watch.requests import Batch
from tests.helpers.clock import ManualClock
from tests.helpers.factories import new_job
from tests.watch.world import World, jobs_watch, revisions, take, turn_clock

pytestmark = pytest.mark.asyncio


# --- endings ------------------------------------------------------------------------------------------------------


async def test_a_watch_of_jobs_that_have_all_ended_ends_at_once() -> None:
    async with World() as world:
        ids = (await world.stores.job_in(State.COMPLETED), await world.stores.job_in(State.EXPIRED), "nobody")

        seen = [batch async for batch in world.watch(job_ids=ids, until_all_terminal=True)]

        assert revisions(seen) == []
        assert len(seen) == 1


async def test_a_watch_until_all_are_terminal_ends_after_the_last_one() -> None:
    async with World() as world:
        first, second = await world.stores.add(), await world.stores.add()
        watch = world.watch(job_ids=(first, second), until_all_terminal=True, send_initial_state=True)
        seen: list[Batch] = []
        async with aclosing(watch) as batches:
            seen += await take(batches, 2)
            await world.store.cancel(DEFAULT_TENANT, first)
            await world.store.retry(DEFAULT_TENANT, first)
            await world.store.cancel(DEFAULT_TENANT, second)
            await world.store.cancel(DEFAULT_TENANT, first)
            seen += [batch async for batch in batches]

        last = [(entry.event.job_id, entry.event.state) for batch in seen for entry in batch.entries][-1]
        assert last == (first, State.CANCELLED)


async def test_the_initial_state_of_jobs_that_have_ended_is_the_whole_watch() -> None:
    """It ends with its marker; were it to wait for something to happen, this clock would let it wait for ever."""
    async with World(clock=ManualClock()) as world:
        job_id = await world.stores.job_in(State.COMPLETED)
        watch = world.watch(job_ids=(job_id,), until_all_terminal=True, send_initial_state=True)

        seen = [batch async for batch in watch]

        assert [job.job_id for batch in seen for job in batch.snapshots] == [job_id]
        assert seen[-1].initial_state_complete


class EndsWhenRead:
    """A store one of whose jobs ends right after anybody has read it for the first time."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def get(self, tenant: str, job_ids: Sequence[str], *, full: bool) -> Any:
        found = await self._inner.get(tenant, job_ids, full=full)
        for job in found:
            if job is not None and job.status.state not in TERMINAL_STATES:
                await self._inner.cancel(tenant, job.job_id)
        return found


async def test_a_job_that_ends_while_its_initial_state_is_read_keeps_nobody_waiting() -> None:
    """Were its end overlooked, this clock would let the watch wait for ever."""
    async with World(clock=ManualClock(), around=lambda store: cast("Store", EndsWhenRead(store))) as world:
        job_id = await world.stores.add()
        watch = world.watch(job_ids=(job_id,), until_all_terminal=True, send_initial_state=True)

        seen = [batch async for batch in watch]

        states = [job.status.state for batch in seen for job in batch.snapshots]
        states += [entry.event.state for batch in seen for entry in batch.entries]
        assert states[-1] is State.CANCELLED


async def test_a_removed_job_counts_as_ended() -> None:
    async with World() as world:
        job_id = await world.stores.job_in(State.CANCELLED)
        await world.store.retry(DEFAULT_TENANT, job_id)
        async with aclosing(world.watch(job_ids=(job_id,), until_all_terminal=True, conflate=True)) as batches:
            await anext(batches)
            await world.store.cancel(DEFAULT_TENANT, job_id)
            await world.store.delete(DEFAULT_TENANT, job_id)

            rest = [batch async for batch in batches]

        assert rest


async def test_a_resumed_watch_until_all_are_terminal_first_tells_what_was_missed() -> None:
    async with World() as world:
        start = await world.cursor()
        job_id = await world.stores.job_in(State.COMPLETED)

        watch = world.watch(after=start, job_ids=(job_id,), until_all_terminal=True)
        seen = [batch async for batch in watch]

        states = [entry.event.state for batch in seen for entry in batch.entries]
        assert states == [State.PENDING, State.PROCESSING, State.COMPLETED]


@pytest.mark.parametrize("reason", [Draining("bye"), StreamAge("old")])
async def test_a_watch_that_is_told_to_end_says_so_and_leaves_a_good_cursor(reason: Draining | StreamAge) -> None:
    async with World() as world:
        feed = world.hub.watch_jobs(jobs_watch())
        batches = feed.batches()
        await anext(batches)
        job_id = await world.stores.add()
        feed.end(reason)

        last = await anext(batches)
        with pytest.raises(type(reason)):
            await anext(batches)

        assert last.draining
        seen = [entry.event.job_id for entry in last.entries]
        async with aclosing(world.watch(after=last.cursor, bookmark_seconds=0.05)) as resumed:
            while job_id not in seen:
                seen += [entry.event.job_id for entry in (await anext(resumed)).entries]
        assert seen == [job_id]


async def test_a_watch_that_begins_while_the_hub_drains_ends_at_once() -> None:
    async with World() as world:
        world.hub.drain(Draining("bye"))
        batches = world.watch()

        seen = await take(batches, 2)
        with pytest.raises(Draining):
            await anext(batches)

        assert seen[-1].draining


async def test_a_watcher_that_leaves_leaves_nothing_behind() -> None:
    async with World() as world:
        for watch in (jobs_watch(), jobs_watch(job_ids=("a", "b"), include_progress=True)):
            async with aclosing(world.hub.watch_jobs(watch).batches()) as batches:
                await anext(batches)
                await world.stores.add()
                waiting = asyncio.create_task(_ignore(batches))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])

        desk, index = world.hub._desk, world.hub._index
        assert not desk.watchers
        assert not desk.anybody.is_set()
        assert [index._by_id, index._interests, index._buckets, index._noting] == [{}, {}, {}, {}]


async def _ignore(batches: AsyncGenerator[Batch, None]) -> None:
    async for _ in batches:
        pass


# --- progress -----------------------------------------------------------------------------------------------------


def note(job_id: str, percent: float) -> ProgressNote:
    return ProgressNote(DEFAULT_TENANT, 1, job_id, "default", "work", 1, percent, "")


async def test_progress_is_told_once_per_interval_as_it_is_then() -> None:
    clock = ManualClock()
    async with World(clock=clock) as world:
        job_id = await world.stores.add()
        lease = await world.stores.lease_one()
        watch = world.watch(include_progress=True, bookmark_seconds=1.0)
        async with aclosing(watch) as batches:
            await anext(batches)
            waiting = asyncio.ensure_future(anext(batches))
            await turn_clock(clock, waiting, 0.25)
            await world.stores.extend(lease, progress_percent=10.0)
            world.hub.progress(note(job_id, 10.0))
            first = await waiting
            waiting = asyncio.ensure_future(anext(batches))
            for percent in (20.0, 30.0, 40.0):
                await world.stores.extend(lease, progress_percent=percent)
                world.hub.progress(note(job_id, percent))
            await turn_clock(clock, waiting, 0.5)
            assert not waiting.done()
            for _ in range(20):
                await turn_clock(clock, waiting, 0.25)
                await world.store.position()
                if waiting.done():
                    break
            second = await waiting

    assert [job.status.progress_percent for job in first.progress] == [10.0]
    assert [job.status.progress_percent for job in second.progress] == [40.0]


async def test_progress_reaches_only_those_who_asked_and_whose_filter_fits() -> None:
    async with World() as world:
        batch_id = "group-9"
        await world.stores.submit(new_job(job_id="mine"), atomic=True, batch_id=batch_id)
        other = await world.stores.add()
        await world.stores.lease(2)
        wishes = [
            jobs_watch(filter=JobFilter(batch_id=batch_id), include_progress=True, bookmark_seconds=0.05),
            jobs_watch(filter=JobFilter(queues=("mail",)), include_progress=True, bookmark_seconds=0.05),
            jobs_watch(bookmark_seconds=0.05),
        ]
        told: list[list[str]] = []
        for wish in wishes:
            async with aclosing(world.hub.watch_jobs(wish).batches()) as batches:
                await take(batches, 2)
                world.hub.progress(note(other, 1.0))
                world.hub.progress(note("mine", 1.0))
                seen = await take(batches, 3)
            told.append([job.job_id for batch in seen for job in batch.progress])

    assert told == [["mine"], [], []]
