"""A store, a hub, writers that do anything at random, and the log to compare with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.job import DEFAULT_TENANT, JobError, State
from jobwire_server.domain.outcome import Failed, Outcome, Released, Snoozed, Succeeded
from jobwire_server.kernel.clock import Clock, SystemClock
from jobwire_server.store.base import JobEvent, JobFilter, Lane, Lease, Report, Store
from jobwire_server.watch.hub import JobsWatch, WatchHub
from jobwire_server.watch.requests import Batch, Cursor
from tests.helpers.clock import ManualClock
from tests.helpers.factories import new_job
from tests.helpers.stores import StoreRig

QUEUES = ("default", "mail", "thumbs")
TYPES = ("work", "send", "render")
LANES = [Lane(queue, type_) for queue in QUEUES for type_ in TYPES]
EVERYTHING = JobFilter()


class World:
    """Everything a watch needs but gRPC."""

    def __init__(
        self, *, clock: Clock | None = None, around: Callable[[Store], Store] = lambda store: store, **settings: Any
    ) -> None:
        self.stores = StoreRig(None, **settings)
        self.clock = clock or SystemClock()
        self._around = around

    async def __aenter__(self) -> Self:
        await self.stores.open()
        self.store = self._around(self.stores.store)
        self.hub = WatchHub(store=self.store, clock=self.clock)
        await self.hub.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hub.stop()
        await self.stores.close()

    def watch(self, **fields: Any) -> AsyncGenerator[Batch, None]:
        """Open a watch of many jobs."""
        return self.hub.watch_jobs(jobs_watch(**fields)).batches()

    async def cursor(self) -> Cursor:
        """Where the log stands."""
        position = await self.store.position()
        return Cursor(position.epoch, position.revision)

    async def log(self, after: int = 0) -> list[JobEvent]:
        """Every event after a revision."""
        events: list[JobEvent] = []
        while page := await self.store.events(after=events[-1].revision if events else after, limit=1000):
            events += page
        return events


def jobs_watch(**fields: Any) -> JobsWatch:
    """A watch of everything, unless told otherwise."""
    return JobsWatch(**{"tenant": DEFAULT_TENANT, "filter": EVERYTHING, **fields})


def revisions(batches: Sequence[Batch]) -> list[int]:
    """Revisions of all events, in the order they came."""
    return [entry.revision for batch in batches for entry in batch.entries]


async def write_at_random(world: World, chance: random.Random, steps: int) -> None:
    """Submit, lease, report, cancel, retry and delete; refusals are part of it."""
    writer = _Writer(world, chance)
    for _ in range(steps):
        try:
            await chance.choice(writer.deeds)()
        except JobwireError:
            continue
        if chance.random() < 0.3:
            await asyncio.sleep(0)


class _Writer:
    def __init__(self, world: World, chance: random.Random) -> None:
        self._rig = world.stores
        self._store = world.store
        self._chance = chance
        self._leases: list[Lease] = []
        self._ids: list[str] = []
        self.deeds = [self._submit, self._submit, self._lease, self._report, self._report, self._steer]

    async def _submit(self) -> None:
        chance = self._chance
        count = chance.choice((1, 1, 2, 5, 150))
        labels = chance.choice((None, {"customer": "42"}, {"customer": "7", "city": "Ulm"}))
        jobs = [new_job(queue=chance.choice(QUEUES), type=chance.choice(TYPES), labels=labels) for _ in range(count)]
        batch_id = chance.choice(("", "group-1", "group-2"))
        await self._rig.submit(*jobs, atomic=bool(batch_id), batch_id=batch_id)
        self._ids += [job.job_id for job in jobs]

    async def _lease(self) -> None:
        self._leases += await self._rig.lease(self._chance.choice((1, 5, 100)), lanes=LANES)

    async def _report(self) -> None:
        self._chance.shuffle(self._leases)
        count = self._chance.choice((1, 10, 100))
        ending, self._leases = self._leases[:count], self._leases[count:]
        await self._store.report([Report(lease.key, lease.fence, self._outcome()) for lease in ending])

    def _outcome(self) -> Outcome:
        return self._chance.choice(
            (
                Succeeded(),
                Failed(JobError(type="Final", retryable=False)),
                Failed(JobError(type="Passing")),
                Released(),
                Snoozed(1),
            )
        )

    async def _steer(self) -> None:
        if not self._ids:
            return
        job_id = self._chance.choice(self._ids)
        deed = self._chance.choice((self._store.cancel, self._store.retry, self._store.delete))
        await deed(DEFAULT_TENANT, job_id)


class Reader:
    """A client that keeps the rule: apply events, store the cursor, resume with it. It is cut off at random."""

    def __init__(self, world: World, chance: random.Random, start: Cursor, **watch: Any) -> None:
        self._world = world
        self._chance = chance
        self._watch = watch
        self.cursor = start
        self.seen: list[JobEvent] = []
        self.batches: list[Batch] = []
        self.cuts = 0

    async def read_until(self, revision: int) -> None:
        """Read, over as many connections as it takes, until the cursor has come that far."""
        while self.cursor.revision < revision:
            await self._one_connection(revision, self._chance.choice((1, 2, 3, 10, 1000)))
            self.cuts += 1

    async def _one_connection(self, revision: int, most_batches: int) -> None:
        async with aclosing(self._world.watch(after=self.cursor, **self._watch)) as batches:
            async for batch in batches:
                self.batches.append(batch)
                self.seen += [entry.event for entry in batch.entries]
                self.cursor = batch.cursor
                most_batches -= 1
                if batch.cursor.revision >= revision or most_batches == 0:
                    return
                for _ in range(self._chance.choice((0, 0, 0, 30))):  # sometimes slow
                    await asyncio.sleep(0)


def matches(wanted: JobFilter, event: JobEvent) -> bool:
    """What the contract says of a filter, in the simplest words."""
    states: tuple[State | None, ...] = (event.previous_state, event.state)
    return (
        (not wanted.queues or event.queue in wanted.queues)
        and (not wanted.types or event.type in wanted.types)
        and (not wanted.states or any(state in wanted.states for state in states))
        and (not wanted.batch_id or event.batch_id == wanted.batch_id)
        and all(event.labels.get(key) == value for key, value in wanted.labels.items())
    )


async def take(batches: AsyncGenerator[Batch, None], count: int) -> list[Batch]:
    """Read so many batches."""
    return [await anext(batches) for _ in range(count)]


async def next_with_events(batches: AsyncGenerator[Batch, None]) -> Batch:
    """Read on to a batch that tells of something."""
    while True:
        batch = await anext(batches)
        if batch.entries:
            return batch


async def turn_clock(clock: ManualClock, task: asyncio.Future[Batch], seconds: float) -> None:
    """Let time pass in small steps, and whoever is woken by it run."""
    for _ in range(round(seconds / 0.25)):
        clock.advance(0.25)
        for _ in range(20):
            await asyncio.sleep(0)
