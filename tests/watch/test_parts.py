"""The ring, the index and the tail by themselves."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import DEFAULT_TENANT, JobError, State
from jobwire_server.store.base import EventKind, JobEvent, JobFilter, ProgressNote, Store
from jobwire_server.watch.index import Index
from jobwire_server.watch.ring import Entry, Ring
from tests.watch.world import World


def event(revision: int, **fields: object) -> JobEvent:
    defaults: dict[str, object] = {
        "kind": EventKind.UPDATED, "tenant": DEFAULT_TENANT, "key": 1, "job_id": "job-1", "sequence": 1,
        "queue": "default", "type": "work", "batch_id": "", "labels": {}, "create_time_us": 0,
        "previous_state": State.PENDING, "state": State.PROCESSING, "attempt": 1, "max_attempts": 20, "fence": 1,
        "worker_id": "", "last_error": None, "start_time_us": None, "finish_time_us": None,
        "next_attempt_time_us": None, "lease_expire_time_us": None, "cancel_request_time_us": None, "time_us": 0,
    }  # fmt: skip
    return JobEvent(revision=revision, **{**defaults, **fields})  # type: ignore[arg-type]


def entries(*revisions: int) -> list[Entry]:
    return [Entry(event(revision)) for revision in revisions]


class Ear:
    """Hears."""

    def __init__(self, *, wants_progress: bool = False) -> None:
        self.wants_progress = wants_progress
        self.heard: list[int] = []
        self.noted: list[str] = []
        self.losses = 0

    def matched(self, entry: Entry) -> None:
        self.heard.append(entry.revision)

    def progressed(self, note: ProgressNote) -> None:
        self.noted.append(note.job_id)

    def lost(self) -> None:
        self.losses += 1


# --- ring ---------------------------------------------------------------------------------------------------------


def test_the_ring_gives_what_follows_a_revision() -> None:
    ring = Ring(max_events=100, max_bytes=1 << 20)
    ring.restart(10)
    ring.extend(entries(11, 13, 17))

    scan = ring.after(11, 100)

    assert scan is not None
    assert ([entry.revision for entry in scan.entries], scan.scanned, scan.at_end) == ([13, 17], 17, True)
    assert ring.after(9, 100) is None
    part = ring.after(10, 2)
    assert part is not None
    assert (part.scanned, part.at_end) == (13, False)
    ahead = ring.after(20, 5)
    assert ahead is not None
    assert (list(ahead.entries), ahead.scanned, ahead.at_end) == ([], 20, True)


@pytest.mark.parametrize("chunk", [1, 7, 60])
def test_the_ring_is_bounded_in_events_and_stays_contiguous(chunk: int) -> None:
    ring = Ring(max_events=20, max_bytes=1 << 30)
    ring.restart(0)
    for start in range(1, 300, chunk):
        ring.extend(entries(*range(start, start + chunk)))
        kept = ring.after(ring.floor, 1000)
        assert kept is not None
        assert [entry.revision for entry in kept.entries] == list(range(ring.floor + 1, ring.newest + 1))
        assert len(kept.entries) <= 20
    assert ring.floor > 0


def test_the_ring_is_bounded_in_bytes() -> None:
    ring = Ring(max_events=10_000, max_bytes=100_000)
    ring.restart(0)
    large = JobError(type="E", message="m", detail="x" * 10_000)
    for revision in range(1, 200):
        ring.extend([Entry(event(revision, last_error=large, labels={"a": "b"}))])
        kept = ring.after(ring.floor, 1000)
        assert kept is not None
        assert len(kept.entries) <= 5
        assert ring._bytes <= 100_000


# --- index --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "hears"),
    [
        (JobFilter(), True),
        (JobFilter(queues=("default", "other")), True),
        (JobFilter(queues=("other",)), False),
        (JobFilter(types=("work",)), True),
        (JobFilter(types=("work",), queues=("other",)), False),
        (JobFilter(states=(State.PENDING,)), True),
        (JobFilter(states=(State.PROCESSING,)), True),
        (JobFilter(states=(State.FAILED,)), False),
        (JobFilter(labels={"a": "1"}), True),
        (JobFilter(labels={"a": "1", "b": "2"}), True),
        (JobFilter(labels={"a": "1", "c": "3"}), False),
        (JobFilter(batch_id="group"), True),
        (JobFilter(batch_id="other"), False),
        (JobFilter(batch_id="group", types=("other",)), False),
        (JobFilter(create_time_min_us=50), True),
        (JobFilter(create_time_min_us=51), False),
        (JobFilter(create_time_max_us=51), True),
        (JobFilter(create_time_max_us=50), False),
    ],
)
def test_an_event_finds_those_who_want_it(wanted: JobFilter, hears: bool) -> None:
    index, ear, foreign = Index(), Ear(), Ear()
    index.add_filter(DEFAULT_TENANT, wanted, ear)
    index.add_filter("somebody-else", wanted, foreign)
    happened = Entry(event(7, labels={"a": "1", "b": "2"}, batch_id="group", create_time_us=50))

    index.publish([happened])
    index.remove_filter(DEFAULT_TENANT, wanted, ear)
    index.publish([happened])

    assert ear.heard == ([7] if hears else [])
    assert foreign.heard == []


def test_equal_filters_are_matched_once_for_all_who_have_them() -> None:
    index, ears = Index(), [Ear() for _ in range(10)]
    for number, ear in enumerate(ears):
        queues = ("a", "default") if number % 2 else ("default", "a")
        index.add_filter(DEFAULT_TENANT, JobFilter(queues=queues), ear)

    index.publish(entries(1))

    assert len(index._interests) == 1
    assert all(ear.heard == [1] for ear in ears)


def test_progress_finds_those_who_asked_for_it() -> None:
    index = Index()
    by_id, by_queue, deaf, other = Ear(wants_progress=True), Ear(wants_progress=True), Ear(), Ear(wants_progress=True)
    index.add_ids(DEFAULT_TENANT, ["job-1"], by_id)
    index.add_filter(DEFAULT_TENANT, JobFilter(queues=("default",)), by_queue)
    index.add_filter(DEFAULT_TENANT, JobFilter(), deaf)
    index.add_filter(DEFAULT_TENANT, JobFilter(types=("other",)), other)
    foreign = Ear(wants_progress=True)
    index.add_filter("somebody-else", JobFilter(), foreign)
    index.add_ids("somebody-else", ["job-1"], foreign)

    index.note(ProgressNote(DEFAULT_TENANT, 1, "job-1", "default", "work", 1, 5.0, ""))

    assert [ear.noted for ear in (by_id, by_queue, deaf, other, foreign)] == [["job-1"], ["job-1"], [], [], []]


# --- tail ---------------------------------------------------------------------------------------------------------


class Flaky:
    """A store whose log cannot be read for a while."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.failures = 3
        self.reads = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def events(self, **arguments: object) -> list[JobEvent]:
        self.reads += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return await self._inner.events(**arguments)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_store_that_is_away_for_a_while_costs_no_event() -> None:
    async with World(around=Flaky) as world:  # type: ignore[arg-type]
        batches = world.watch()
        start = (await anext(batches)).cursor
        waiting = asyncio.ensure_future(anext(batches))
        job_id = await world.stores.add()

        batch = await waiting
        while not batch.entries:
            batch = await anext(batches)

        assert [entry.event.job_id for entry in batch.entries] == [job_id]
        assert batch.cursor.revision == start.revision + 1
        await batches.aclose()


@pytest.mark.asyncio
async def test_the_log_is_not_read_while_nobody_watches() -> None:
    stores: list[Flaky] = []

    def flaky(inner: Store) -> Store:
        stores.append(Flaky(inner))
        stores[0].failures = 0
        return stores[0]  # type: ignore[return-value]

    async with World(around=flaky) as world:
        for _ in range(20):
            await world.stores.add()

        assert stores[0].reads == 0


class HeldLog(Flaky):
    """A store whose next read of the log that finds anything is answered late."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.failures = 0
        self.held: asyncio.Future[None] | None = None
        self.reached = asyncio.Event()

    async def events(self, **arguments: object) -> list[JobEvent]:
        found = await super().events(**arguments)
        if found and self.held is not None:
            held, self.held = self.held, None
            self.reached.set()
            await held
        return found


@pytest.mark.asyncio
async def test_what_was_read_for_watchers_who_have_left_is_not_told_to_those_who_came() -> None:
    stores: list[HeldLog] = []

    def held(inner: Store) -> Store:
        stores.append(HeldLog(inner))
        return stores[0]  # type: ignore[return-value]

    async with World(around=held) as world:
        early = world.watch()
        await anext(early)
        late_answer = stores[0].held = asyncio.get_running_loop().create_future()
        await world.stores.add()
        await stores[0].reached.wait()
        await early.aclose()
        for _ in range(3):
            await world.stores.add()
        batches = world.watch()
        await anext(batches)
        late_answer.set_result(None)
        job_id = await world.stores.add()

        batch = await anext(batches)
        while not batch.entries:
            batch = await anext(batches)

        assert [entry.event.job_id for entry in batch.entries] == [job_id]
        ring = world.hub._tail._ring
        assert ring._revisions == sorted(set(ring._revisions))
        assert ring._revisions[0] > ring.floor
        await batches.aclose()
