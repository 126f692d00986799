"""The watch of many jobs, one promise at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from jobwire_server.domain.errors import (
    JobwireError,
    RevisionCompacted,
    RevisionInFuture,
    StoreEpochChanged,
    StoreUnavailable,
)
from jobwire_server.domain.job import DEFAULT_TENANT, State
from jobwire_server.store.base import EventKind, JobEvent, JobFilter, Position, Store
from jobwire_server.watch.feed import MAX_PENDING
from jobwire_server.watch.requests import Batch, Cursor, Detail
from tests.helpers.clock import ManualClock
from tests.helpers.factories import new_job
from tests.watch.world import World, next_with_events, revisions, take, turn_clock, write_at_random

pytestmark = pytest.mark.asyncio


# --- opening ------------------------------------------------------------------------------------------------------


async def test_the_first_batch_comes_at_once_with_the_cursor() -> None:
    async with World() as world, aclosing(world.watch()) as batches:
        await world.stores.add()
        first = await anext(batches)

        assert first.entries == ()
        assert first.cursor == await world.cursor()


async def test_a_watch_from_now_shows_only_what_follows() -> None:
    async with World() as world, aclosing(world.watch()) as batches:
        await world.stores.add()
        await anext(batches)
        job_id = await world.stores.add()

        [entry] = (await next_with_events(batches)).entries
        assert (entry.event.job_id, entry.event.kind) == (job_id, EventKind.CREATED)


@pytest.mark.parametrize(
    ("after", "error"),
    [
        (Cursor("another-store", 0), StoreEpochChanged),
        (Cursor("", 99), RevisionInFuture),
        (Cursor("", 1), RevisionCompacted),
    ],
)
async def test_a_cursor_that_cannot_be_used_is_refused(after: Cursor, error: type[JobwireError]) -> None:
    async with World(around=CompactedTo(3)) as world:
        for _ in range(5):
            await world.stores.add()
        position = await world.store.position()
        after = after if after.epoch else Cursor(position.epoch, after.revision)

        with pytest.raises(error) as caught:
            await anext(world.watch(after=after))

        assert caught.value.facts["current_revision"] == str(position.revision)
        assert caught.value.facts["epoch"] == position.epoch


async def test_the_newest_revision_is_a_valid_cursor() -> None:
    async with World() as world:
        await world.stores.add()
        cursor = await world.cursor()

        async with aclosing(world.watch(after=cursor)) as batches:
            assert (await anext(batches)).cursor == cursor


class CompactedTo:
    """Makes a store that says its log begins after a revision."""

    def __init__(self, revision: int) -> None:
        self.revision = revision

    def __call__(self, inner: Store) -> Store:
        self._inner = inner
        return self  # type: ignore[return-value]

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def position(self) -> Position:
        return (await self._inner.position())._replace(compacted=self.revision)


async def test_a_running_watch_that_falls_below_the_floor_is_told_so() -> None:
    compacted = CompactedTo(0)
    async with World(around=compacted) as world:
        job_id = await world.stores.add()
        start = await world.cursor()
        async with aclosing(world.watch(after=start, job_ids=(job_id,))) as batches:
            await anext(batches)
            await world.store.cancel(DEFAULT_TENANT, job_id)
            for feed in tuple(world.hub._desk.watchers):
                feed.lost()  # type: ignore[attr-defined]
            compacted.revision = 100
            world.hub._tail._ring.restart(100)

            with pytest.raises(RevisionCompacted):
                await next_with_events(batches)


async def test_a_tail_that_falls_below_the_floor_lets_the_watchers_find_out_for_themselves() -> None:
    store: list[LosingLog] = []

    def losing(inner: Store) -> Store:
        store.append(LosingLog(inner))
        return store[0]  # type: ignore[return-value]

    async with World(around=losing) as world, aclosing(world.watch()) as batches:
        await anext(batches)
        first = await world.stores.add()
        assert [entry.event.job_id for entry in (await next_with_events(batches)).entries] == [first]

        store[0].losses = 1
        second = await world.stores.add()

        assert [entry.event.job_id for entry in (await next_with_events(batches)).entries] == [second]


class LosingLog(CompactedTo):
    """Refuses the next reads of the tail, as a log does that has been cut in the meantime."""

    def __init__(self, inner: Store) -> None:
        super().__init__(0)
        self._inner = inner
        self.losses = 0

    async def events(self, **arguments: Any) -> list[JobEvent]:
        if self.losses and "tenant" not in arguments:
            self.losses -= 1
            raise RevisionCompacted("gone")
        return await self._inner.events(**arguments)


# --- running ------------------------------------------------------------------------------------------------------


async def test_a_watcher_of_a_state_sees_jobs_come_and_leave() -> None:
    async with World() as world:
        wanted = JobFilter(states=(State.PROCESSING,))
        async with aclosing(world.watch(filter=wanted)) as batches:
            await anext(batches)
            job_id = await world.stores.job_in(State.COMPLETED)

            seen = [entry.event for entry in (await next_with_events(batches)).entries]
            while len(seen) < 2:
                seen += [entry.event for entry in (await next_with_events(batches)).entries]

        assert [(e.job_id, e.previous_state, e.state) for e in seen] == [
            (job_id, State.PENDING, State.PROCESSING),
            (job_id, State.PROCESSING, State.COMPLETED),
        ]


async def test_a_removed_job_is_the_last_event() -> None:
    async with World() as world:
        job_id = await world.stores.job_in(State.CANCELLED)
        async with aclosing(world.watch(job_ids=(job_id,))) as batches:
            await anext(batches)
            await world.store.delete(DEFAULT_TENANT, job_id)

            [entry] = (await next_with_events(batches)).entries
            assert entry.event.kind is EventKind.DELETED


async def test_other_tenants_are_never_seen() -> None:
    async with World() as world, aclosing(world.watch()) as batches:
        await anext(batches)
        await world.stores.add(tenant="somebody-else")
        ours = await world.stores.add()

        assert [e.event.job_id for e in (await next_with_events(batches)).entries] == [ours]


async def test_a_slow_watcher_keeps_nothing_and_misses_nothing() -> None:
    """Beyond the bound it leaves the index, and reads the log by itself when it comes back."""
    async with World() as world, aclosing(world.watch()) as batches:
        await anext(batches)
        await world.stores.add()
        start = (await next_with_events(batches)).cursor
        [feed] = world.hub._desk.watchers
        assert feed._live  # type: ignore[attr-defined]
        for _ in range(3):
            await world.stores.submit(*[new_job() for _ in range(MAX_PENDING)])
        end = await world.cursor()
        while world.hub._tail.revision < end.revision:
            await world.store.position()

        assert len(feed._pending) <= MAX_PENDING  # type: ignore[attr-defined]
        assert not feed._live  # type: ignore[attr-defined]
        seen = await _take_until(batches, end)

        assert revisions(seen) == list(range(start.revision + 1, end.revision + 1))


async def _take_until(batches: AsyncGenerator[Batch, None], cursor: Cursor) -> list[Batch]:
    seen = [await anext(batches)]
    while seen[-1].cursor.revision < cursor.revision:
        seen.append(await anext(batches))
    return seen


async def test_a_watcher_that_nothing_concerned_for_long_need_not_read_about_it_when_it_gets_slow() -> None:
    """While it is idle its cursor stands where the tail stands; what is compacted behind it does not matter."""
    async with World() as world, aclosing(world.watch(filter=JobFilter(queues=("mail",)))) as batches:
        await anext(batches)
        await world.stores.add(queue="mail")
        await next_with_events(batches)
        [feed] = world.hub._desk.watchers
        for _ in range(50):
            await world.stores.add()
        await world.stores.add(queue="mail")
        end = await world.cursor()
        while world.hub._tail.revision < end.revision:
            await world.store.position()

        assert feed._revision == end.revision - 1  # type: ignore[attr-defined]


async def test_bookmarks_come_when_nothing_else_does_and_carry_the_cursor_on() -> None:
    clock = ManualClock()
    async with World(clock=clock) as world:
        wanted = JobFilter(queues=("quiet",))
        async with aclosing(world.watch(filter=wanted, bookmark_seconds=15.0)) as batches:
            first = await anext(batches)
            waiting = asyncio.create_task(anext(batches))
            await turn_clock(clock, waiting, seconds=1)
            await world.stores.add()
            await _until_tail(world, clock)
            assert not waiting.done()

            await turn_clock(clock, waiting, seconds=15)

            bookmark = await waiting
            assert not bookmark.entries
            assert bookmark.cursor.revision == first.cursor.revision + 1


async def _until_tail(world: World, clock: ManualClock) -> None:
    end = await world.cursor()
    while world.hub._tail.revision < end.revision:
        clock.advance(0.01)
        await world.store.position()


async def test_conflation_keeps_the_newest_event_of_each_job() -> None:
    async with World() as world:
        start = await world.cursor()
        first, second = await world.stores.job_in(State.COMPLETED), await world.stores.job_in(State.FAILED)

        async with aclosing(world.watch(after=start, conflate=True)) as batches:
            events = [entry.event for entry in (await next_with_events(batches)).entries]

        assert [(event.job_id, event.state) for event in events] == [
            (first, State.COMPLETED),
            (second, State.FAILED),
        ]


async def test_jobs_themselves_come_along_when_asked_for() -> None:
    async with World() as world:
        start = await world.cursor()
        job_id = await world.stores.job_in(State.COMPLETED)
        gone = await world.stores.job_in(State.CANCELLED)
        await world.store.delete(DEFAULT_TENANT, gone)

        for detail in (Detail.BASIC, Detail.FULL):
            jobs = {}
            async with aclosing(world.watch(after=start, detail=detail)) as batches:
                end = await world.cursor()
                for batch in await _take_until(batches, end):
                    jobs.update(batch.jobs)

            assert set(jobs) == {job_id}
            assert (jobs[job_id].status.result is not None) == (detail is Detail.FULL)


# --- initial state ------------------------------------------------------------------------------------------------


async def test_the_initial_state_of_nothing_is_complete_at_once() -> None:
    async with World() as world, aclosing(world.watch(send_initial_state=True)) as batches:
        first = await anext(batches)

        assert first.initial_state_complete
        assert first.cursor == await world.cursor()


async def test_the_initial_state_comes_first_and_then_what_follows() -> None:
    async with World() as world:
        ids = [await world.stores.job_in(state) for state in (State.PENDING, State.COMPLETED, State.FAILED)]
        async with aclosing(world.watch(send_initial_state=True)) as batches:
            page, complete = await take(batches, 2)
            later = await world.stores.add()
            events = (await next_with_events(batches)).entries

        assert {job.job_id for job in page.snapshots} == set(ids)
        assert (page.initial_state_complete, complete.initial_state_complete) == (False, True)
        assert [entry.event.job_id for entry in events] == [later]


async def test_the_initial_state_of_named_jobs_leaves_out_those_that_do_not_exist() -> None:
    async with World() as world:
        job_id = await world.stores.add()
        await world.stores.add()
        watch = world.watch(send_initial_state=True, job_ids=(job_id, "nobody"))
        async with aclosing(watch) as batches:
            page = await anext(batches)

        assert [job.job_id for job in page.snapshots] == [job_id]


@pytest.mark.parametrize("seed", range(3))
async def test_what_changes_while_the_initial_state_is_sent_is_neither_lost_nor_told_twice(seed: int) -> None:
    """Folded together, snapshots and events give the same picture as the store, at the marker and at the end."""
    chance = random.Random(seed)
    async with World() as world:
        await write_at_random(world, chance, 60)
        picture: dict[str, tuple[int, State]] = {}
        seen: set[int] = set()
        async with asyncio.TaskGroup() as group:
            group.create_task(write_at_random(world, chance, 60))
            async with aclosing(world.watch(send_initial_state=True, bookmark_seconds=0.05)) as batches:
                async for batch in batches:
                    _fold(picture, seen, batch)
                    if batch.initial_state_complete:
                        break
                    await asyncio.sleep(0)
        at_marker = batch.cursor
        log = await world.log()
        states: dict[str, tuple[int, State]] = {}
        for event in log:
            if event.revision <= at_marker.revision:
                states[event.job_id] = (event.revision, event.state)
                if event.kind is EventKind.DELETED:
                    del states[event.job_id]

        assert picture == states


def _fold(picture: dict[str, tuple[int, State]], seen: set[int], batch: Batch) -> None:
    for job in batch.snapshots:
        assert job.job_id not in picture
        assert job.status.revision not in seen
        seen.add(job.status.revision)
        picture[job.job_id] = (job.status.revision, job.status.state)
    for entry in batch.entries:
        assert entry.revision not in seen
        seen.add(entry.revision)
        picture[entry.event.job_id] = (entry.revision, entry.event.state)
        if entry.event.kind is EventKind.DELETED:
            picture.pop(entry.event.job_id)


async def test_the_initial_state_is_complete_even_if_the_tail_is_late() -> None:
    """What changed while it was read is read from the store then: the tail may be seconds behind."""
    stores: list[GrowingStore] = []

    def growing(inner: Store) -> Store:
        stores.append(GrowingStore(inner))
        return stores[0]  # type: ignore[return-value]

    async with World(clock=ManualClock(), around=growing) as world:
        job_id = await world.stores.add()
        stores[0].change = lambda: world.stores.store.cancel(DEFAULT_TENANT, job_id)
        watch = world.watch(job_ids=(job_id,), send_initial_state=True)
        async with aclosing(watch) as batches:
            seen: list[Batch] = []
            while not seen or not seen[-1].initial_state_complete:
                seen.append(await anext(batches))

        assert [entry.event.state for batch in seen for entry in batch.entries] == [State.CANCELLED]


class GrowingStore(CompactedTo):
    """Changes in the middle of a read, and keeps it from its tail."""

    def __init__(self, inner: Store) -> None:
        super().__init__(0)
        self._inner = inner
        self.change: Callable[[], Awaitable[object]] | None = None

    async def get(self, *arguments: Any, **more: Any) -> Any:
        change, self.change = self.change, None
        if change is not None:
            await change()
        return await self._inner.get(*arguments, **more)

    async def events(self, **arguments: Any) -> list[JobEvent]:
        if "tenant" not in arguments:
            raise StoreUnavailable("the tail is late")
        return await self._inner.events(**arguments)
