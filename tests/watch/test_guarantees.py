"""The six guarantees of a watch, each under its name, with random writers and random cuts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from jobwire_server.domain.job import State
from jobwire_server.store.base import JobEvent, JobFilter
from jobwire_server.watch.requests import Detail
from tests.watch.world import EVERYTHING, Reader, World, matches, write_at_random

pytestmark = pytest.mark.asyncio

SEEDS = range(4)
FILTERS = [
    EVERYTHING,
    JobFilter(queues=("mail", "thumbs")),
    JobFilter(types=("send",), states=(State.PENDING, State.FAILED)),
    JobFilter(states=(State.PROCESSING,)),
    JobFilter(labels={"customer": "42"}),
    JobFilter(batch_id="group-1", queues=("mail",)),
    JobFilter(queues=("nobody",)),
]


class Observed(NamedTuple):
    """What readers with every filter saw while writers wrote, and what the log says."""

    world: World
    readers: list[Reader]
    log: list[JobEvent]
    chance: random.Random


async def observe(world: World, seed: int, *, steps: int = 60, **watch: object) -> Observed:
    """Let writers write and readers read at the same time, until all is quiet and read."""
    chance = random.Random(seed)
    await write_at_random(world, chance, 20)
    start = await world.cursor()
    readers = [
        Reader(world, random.Random(f"{seed}/{n}"), start, filter=wanted, bookmark_seconds=0.05, **watch)
        for n, wanted in enumerate(FILTERS)
    ]
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(_follow(world, reader, done))
        async with asyncio.TaskGroup() as writers:
            for n in range(3):
                writers.create_task(write_at_random(world, random.Random(f"{seed}/writer/{n}"), steps))
        done.set()
    log = await world.log(start.revision)
    assert len(log) > 5 * steps
    return Observed(world, readers, log, chance)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=SEEDS)
async def seen(request: pytest.FixtureRequest) -> AsyncIterator[Observed]:
    """One observation per seed, shared by the tests: none of them changes it."""
    async with World() as world:
        yield await observe(world, request.param)


async def _follow(world: World, reader: Reader, done: asyncio.Event) -> None:
    while not done.is_set():
        await reader.read_until((await world.cursor()).revision)
        await asyncio.sleep(0)
    await reader.read_until((await world.cursor()).revision)


async def test_ordered(seen: Observed) -> None:
    """Revisions rise, within a response and from one to the next, and so does the cursor."""
    for reader in seen.readers:
        revisions = [event.revision for event in reader.seen]
        assert revisions == sorted(revisions)
        cursors = [batch.cursor.revision for batch in reader.batches]
        assert cursors == sorted(cursors)


async def test_unique(seen: Observed) -> None:
    """A revision is delivered at most once, however often the stream is cut and resumed."""
    for reader in seen.readers:
        times = Counter(event.revision for event in reader.seen)
        assert max(times.values(), default=1) == 1
    assert sum(reader.cuts for reader in seen.readers) > len(seen.readers)


async def test_reliable(seen: Observed) -> None:
    """No matching event between the start and the cursor is left out, and none that does not match is sent."""
    for reader, wanted in zip(seen.readers, FILTERS, strict=True):
        assert reader.seen == [event for event in seen.log if matches(wanted, event)]


async def test_atomic(seen: Observed) -> None:
    """One event is one revision, and comes whole: what a watcher gets is what the log holds."""
    stored = {event.revision: event for event in seen.log}
    for reader in seen.readers:
        assert all(stored[event.revision] == event for event in reader.seen)


async def test_resumable(seen: Observed) -> None:
    """Resuming at any cursor that was ever given gives exactly what came after it."""
    end = (await seen.world.cursor()).revision

    for reader, wanted in zip(seen.readers, FILTERS, strict=True):
        for batch in seen.chance.sample(reader.batches, min(5, len(reader.batches))):
            again = Reader(seen.world, seen.chance, batch.cursor, filter=wanted, bookmark_seconds=0.05)
            await again.read_until(end)
            after = batch.cursor.revision
            assert again.seen == [event for event in seen.log if event.revision > after and matches(wanted, event)]


async def test_bookmarkable(seen: Observed) -> None:
    """After a cursor no matching event of its revision or before it will come."""
    for reader, wanted in zip(seen.readers, FILTERS, strict=True):
        reached = 0
        for batch in reader.batches:
            assert all(reached < entry.revision <= batch.cursor.revision for entry in batch.entries)
            reached = batch.cursor.revision
        assert [event for event in seen.log if event.revision <= reached and matches(wanted, event)] == reader.seen


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_conflating_watch_ends_with_the_same_picture(seed: int) -> None:
    """Older events of a job may be left out; the newest one of each job never."""
    async with World() as world:
        seen = await observe(world, seed, conflate=True)

    for reader, wanted in zip(seen.readers, FILTERS, strict=True):
        newest = {event.job_id: event for event in seen.log if matches(wanted, event)}
        assert {event.job_id: event for event in reader.seen} == newest
        revisions = [event.revision for event in reader.seen]
        assert revisions == sorted(set(revisions))


@pytest.mark.parametrize("detail", [Detail.BASIC, Detail.FULL])
async def test_a_watch_that_brings_the_jobs_along_misses_nothing_either(detail: Detail) -> None:
    """It hands out few events at once, so that much is pending when it goes on."""
    async with World() as world:
        seen = await observe(world, 7, steps=10, detail=detail)

    for reader, wanted in zip(seen.readers, FILTERS, strict=True):
        assert reader.seen == [event for event in seen.log if matches(wanted, event)]
