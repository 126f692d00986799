"""The sweeps: what falls due while the server lives happens, at its time and in bounded steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import SECOND_US, State
from jobwire_server.kernel.telemetry import SilentLog
from jobwire_server.scheduler import Scheduler, SweepSettings
from jobwire_server.store.base import Lane, LeaseRequest, Owner, Sweep, Transport
from jobwire_server.store.sqlite.store import SqliteStore
from tests.engine.conftest import counted, new_job, reaches, settled, state_of, submit
from tests.helpers.clock import ManualClock

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def scheduler(store: SqliteStore, clock: ManualClock) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(store=store, clock=clock, chance=lambda: 0.5, log=SilentLog(), settings=SweepSettings())
    task = asyncio.create_task(scheduler.run())
    await settled(store)
    yield scheduler
    scheduler.stop()
    await task


async def test_a_scheduled_job_becomes_pending_at_its_time_and_not_before(
    scheduler: Scheduler, store: SqliteStore, clock: ManualClock
) -> None:
    await submit(store, new_job("a", schedule_time_us=clock.wall_us() + 5 * SECOND_US))
    await settled(store)

    clock.advance(4.9)
    await settled(store)
    assert await state_of(store, "a") is State.SCHEDULED
    clock.advance(0.2)

    await reaches(store, "a", State.PENDING)


async def test_an_earlier_job_that_arrives_later_is_not_overslept(
    scheduler: Scheduler, store: SqliteStore, clock: ManualClock
) -> None:
    await submit(store, new_job("late", schedule_time_us=clock.wall_us() + 20 * SECOND_US))
    await settled(store)
    await submit(store, new_job("soon", schedule_time_us=clock.wall_us() + 2 * SECOND_US))
    await settled(store)

    clock.advance(2.1)

    await reaches(store, "soon", State.PENDING)
    assert await state_of(store, "late") is State.SCHEDULED


async def test_what_fell_due_while_the_server_was_away_is_found_at_once(store: SqliteStore, clock: ManualClock) -> None:
    await submit(store, new_job("a", schedule_time_us=clock.wall_us() + SECOND_US))
    clock.advance(60.0)
    scheduler = Scheduler(store=store, clock=clock, chance=lambda: 0.5, log=SilentLog(), settings=SweepSettings())

    task = asyncio.create_task(scheduler.run())

    await reaches(store, "a", State.PENDING)
    scheduler.stop()
    await task


async def test_a_lease_that_ran_out_is_ended_within_a_second(
    scheduler: Scheduler, store: SqliteStore, clock: ManualClock
) -> None:
    await submit(store, new_job("a"))
    owner = Owner("w", "i", Transport.STREAM)
    await store.lease(LeaseRequest(owner, [Lane("default", "echo")], 1, 10 * SECOND_US))

    for _ in range(9):
        clock.advance(1.0)
        await settled(store)
    assert await state_of(store, "a") is State.PROCESSING
    clock.advance(2.0)

    await reaches(store, "a", State.RETRYING)


async def test_a_job_that_nobody_ran_in_time_expires(
    scheduler: Scheduler, store: SqliteStore, clock: ManualClock
) -> None:
    await submit(store, new_job("a", expire_time_us=clock.wall_us() + 3 * SECOND_US))

    for _ in range(4):
        clock.advance(1.0)
        await settled(store)

    await reaches(store, "a", State.EXPIRED)


async def test_a_sweep_goes_on_at_once_while_there_is_more(
    scheduler: Scheduler, store: SqliteStore, clock: ManualClock
) -> None:
    due = clock.wall_us() + 5 * SECOND_US
    await submit(store, *(new_job(f"j{n}", schedule_time_us=due) for n in range(1200)))
    await settled(store)

    clock.advance(5.1)

    await counted(store, State.PENDING, 1200)


async def test_a_store_that_is_away_delays_a_sweep_and_does_not_end_it(
    scheduler: Scheduler, store: SqliteStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = store.promote_due
    tries = 0

    async def away(*, limit: int) -> Sweep:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise StoreUnavailable("The disk is away.")
        return await really(limit=limit)

    monkeypatch.setattr(store, "promote_due", away)
    await submit(store, new_job("a", schedule_time_us=clock.wall_us() + SECOND_US))
    await settled(store)

    while await state_of(store, "a") is not State.PENDING:
        clock.advance(0.05)
        await settled(store)
    assert tries >= 4


async def test_an_error_that_is_a_bug_ends_the_sweeps(
    store: SqliteStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*, limit: int) -> Sweep:
        raise AttributeError("a bug")

    monkeypatch.setattr(store, "promote_due", broken)
    scheduler = Scheduler(store=store, clock=clock, chance=lambda: 0.5, log=SilentLog(), settings=SweepSettings())

    with pytest.raises(ExceptionGroup) as caught:
        await scheduler.run()

    assert caught.group_contains(AttributeError, match="a bug")


async def test_stopping_lets_the_step_that_runs_finish(
    store: SqliteStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave, finished = asyncio.Event(), asyncio.Event(), False

    async def slow(*, limit: int) -> Sweep:
        nonlocal finished
        entered.set()
        await leave.wait()
        finished = True
        return Sweep(0, more=True)

    monkeypatch.setattr(store, "promote_due", slow)
    scheduler = Scheduler(store=store, clock=clock, chance=lambda: 0.5, log=SilentLog(), settings=SweepSettings())
    task = asyncio.create_task(scheduler.run())
    await entered.wait()

    scheduler.stop()
    leave.set()
    await task

    assert finished
