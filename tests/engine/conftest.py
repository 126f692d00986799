"""A real store under manual time, and a worker that does as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio

from jobwire_server.dispatch.dispatcher import Dispatcher
from jobwire_server.dispatch.interest import interest_in
from jobwire_server.dispatch.session import Run, Subscriber, WorkerSession
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.domain.job import Content, Job, NewJob, State
from jobwire_server.domain.outcome import Outcome, Succeeded
from jobwire_server.kernel.telemetry import SilentLog
from jobwire_server.store.base import Lease, Owner, ProgressNote, Report, ReportAnswer, Submission, Transport
from jobwire_server.store.sqlite.store import SqliteStore
from tests.helpers.clock import ManualClock

TENANT = "default"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def store(clock: ManualClock, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "jobs.db", clock=clock, chance=lambda: 0.5)
    await store.open()
    yield store
    await store.close()


async def eventually(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Let the loop and the store's threads work until `condition` holds; the test's own timeout is the bound."""
    while True:
        answer = condition()
        if answer is True or (answer is not False and await answer):
            return
        await asyncio.sleep(0.001)


async def settled(store: SqliteStore, condition: Callable[[], bool] = lambda: False, turns: int = 5) -> None:
    """Give everything that is on its way the time of some commits."""
    for _ in range(turns):
        if condition():
            return
        await store.secret("settle")
        for _ in range(10):
            await asyncio.sleep(0)


def new_job(job_id: str, type_: str = "echo", **facts: object) -> NewJob:
    job = NewJob(job_id=job_id, id_chosen=False, type=type_, payload=Content(b"data"))
    return job._replace(**facts)  # type: ignore[arg-type]


async def submit(store: SqliteStore, *jobs: NewJob) -> None:
    for start in range(0, len(jobs), 1000):
        receipt = await store.submit(Submission(TENANT, jobs[start : start + 1000]))
        assert not [answer for answer in receipt.answers if isinstance(answer, Exception)]


async def job_of(store: SqliteStore, job_id: str) -> Job:
    (job,) = await store.get(TENANT, [job_id], full=True)
    assert job is not None
    return job


async def state_of(store: SqliteStore, job_id: str) -> State:
    return (await job_of(store, job_id)).status.state


@dataclass
class Worker:
    """A holder that records what it is told."""

    session: WorkerSession | None = None
    assigned: list[Lease] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    cancelled: list[Run] = field(default_factory=list)
    lost: list[Run] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)

    def assign(self, leases: Sequence[Lease]) -> None:
        self.assigned.extend(leases)
        self.batches.append(len(leases))

    def cancel(self, runs: Sequence[Run], grace_seconds: float) -> None:
        self.cancelled.extend(runs)

    def lose(self, runs: Sequence[Run]) -> None:
        self.lost.extend(runs)

    def drain(self, reason: str) -> None:
        self.drained.append(reason)

    @property
    def ids(self) -> list[str]:
        return [lease.job_id for lease in self.assigned]

    async def finish(self, *leases: Lease, outcome: Outcome | None = None) -> Sequence[ReportAnswer]:
        assert self.session is not None
        end = outcome if outcome is not None else Succeeded()
        return await self.session.report([Report(lease.key, lease.fence, end) for lease in leases])


class Engine:
    """A running dispatcher on a store, and the workers attached to it."""

    def __init__(self, store: SqliteStore, clock: ManualClock, settings: DispatchSettings) -> None:
        self.store = store
        self.clock = clock
        self.notes: list[ProgressNote] = []
        self.dispatcher = Dispatcher(
            store=store,
            clock=clock,
            chance=lambda: 0.5,
            instance_id="this",
            log=SilentLog(),
            on_progress=self.notes.append,
            settings=settings,
        )

    def worker(self, *types: str, window: int = 10, name: str = "w1") -> Worker:
        worker = Worker()
        worker.session = self.dispatcher.attach(
            Subscriber(Owner(name, "this", Transport.DIRECT), interest_in(*types or ("echo",))), worker
        )
        worker.session.resize(window)
        return worker

    async def settled(self) -> None:
        await settled(self.store)


@asynccontextmanager
async def running(store: SqliteStore, clock: ManualClock, **settings: object) -> AsyncIterator[Engine]:
    """A dispatcher that runs, its gate still closed."""
    engine = Engine(store, clock, replace(DispatchSettings(), **settings))  # type: ignore[arg-type]
    task = asyncio.create_task(engine.dispatcher.run())
    try:
        await asyncio.sleep(0)
        yield engine
    finally:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


@pytest_asyncio.fixture
async def engine(store: SqliteStore, clock: ManualClock) -> AsyncIterator[Engine]:
    """A dispatcher that may grant leases."""
    async with running(store, clock) as engine:
        engine.dispatcher.grant()
        yield engine


async def reaches(store: SqliteStore, job_id: str, *states: State) -> Job:
    """Wait until the job is in one of `states`; returns it."""

    async def is_there() -> bool:
        return await state_of(store, job_id) in states

    await eventually(is_there)
    return await job_of(store, job_id)


async def counted(store: SqliteStore, state: State, count: int) -> None:
    """Wait until at least `count` jobs are in `state`."""

    async def enough() -> bool:
        return (await store.counts()).by_state.get(state, 0) >= count

    await eventually(enough)
