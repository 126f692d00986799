"""Recovery: what the dead server was running goes back, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import SECOND_US, Job, JobError, RetryPolicy, State
from jobwire_server.domain.outcome import Failed, Succeeded
from jobwire_server.kernel.telemetry import SilentLog
from jobwire_server.recovery import Recovery, RecoveryReport, RecoverySettings
from jobwire_server.store.base import Lane, LeaseRequest, Owner, RecoveryBatch, Report, Transport
from jobwire_server.store.sqlite.store import SqliteStore
from tests.engine.conftest import job_of, new_job, submit
from tests.helpers.clock import ManualClock

pytestmark = pytest.mark.asyncio

DEAD = Owner("pool", "dead", Transport.DIRECT)
REMOTE = Owner("remote", "elsewhere", Transport.STREAM)


async def lease_all(store: SqliteStore, owner: Owner, type_: str, lease_us: int = 30 * SECOND_US) -> list[Report]:
    leases = await store.lease(LeaseRequest(owner, [Lane("default", type_)], 1000, lease_us))
    return [Report(lease.key, lease.fence, Succeeded()) for lease in leases]


def recovery(store: SqliteStore, clock: ManualClock, **settings: float) -> Recovery:
    return Recovery(store=store, clock=clock, log=SilentLog(), settings=RecoverySettings(**settings))  # type: ignore[arg-type]


async def recover(
    store: SqliteStore, clock: ManualClock, instance_id: str = "new", **settings: float
) -> RecoveryReport:
    return await recovery(store, clock, **settings).run(instance_id)


async def snapshot(store: SqliteStore, *ids: str) -> list[Job]:
    return [await job_of(store, job_id) for job_id in ids]


async def test_jobs_of_the_dead_pool_go_back_with_a_higher_fence_and_their_attempt_used_up(
    store: SqliteStore, clock: ManualClock
) -> None:
    await submit(store, new_job("a"), new_job("b"))
    await lease_all(store, DEAD, "echo")

    report = await recover(store, clock)

    assert (report.returned, report.failed, report.waiting, report.still_leased) == (2, 0, 2, 0)
    for job in await snapshot(store, "a", "b"):
        assert (job.status.state, job.status.attempt, job.fence) == (State.PENDING, 1, 2)


async def test_a_job_that_may_never_run_twice_fails_with_the_reason(store: SqliteStore, clock: ManualClock) -> None:
    await submit(store, new_job("once", retry_policy=RetryPolicy(max_attempts=1)))
    await lease_all(store, DEAD, "echo")

    report = await recover(store, clock)

    job = await job_of(store, "once")
    assert (report.returned, report.failed) == (0, 1)
    assert job.status.state is State.FAILED
    assert job.status.last_error is not None
    assert job.status.last_error.type == "LEASE_LOST"


async def test_a_remote_worker_keeps_what_it_holds_until_its_lease_is_over(
    store: SqliteStore, clock: ManualClock
) -> None:
    await submit(store, new_job("held", "remote"))
    (end,) = await lease_all(store, REMOTE, "remote")

    report = await recover(store, clock)
    assert (report.returned, report.still_leased) == (0, 1)
    assert (await job_of(store, "held")).status.state is State.PROCESSING

    clock.advance(31.0)
    report = await recover(store, clock)
    assert (report.returned, report.still_leased) == (1, 0)
    (answer,) = await store.report([end])
    assert answer.code.name == "LEASE_LOST"


async def test_waiting_and_terminal_jobs_keep_every_byte(store: SqliteStore, clock: ManualClock) -> None:
    far = clock.wall_us() + 3600 * SECOND_US
    await submit(store, new_job("done", "d"), new_job("failed", "f"), new_job("later", schedule_time_us=far))
    await store.report(await lease_all(store, DEAD, "d"))
    (end,) = await lease_all(store, DEAD, "f")
    await store.report([end._replace(outcome=Failed(JobError(type="E", retryable=False)))])
    before = await snapshot(store, "done", "failed", "later")

    await recover(store, clock)

    assert await snapshot(store, "done", "failed", "later") == before


async def test_twice_in_a_row_changes_nothing(store: SqliteStore, clock: ManualClock) -> None:
    await submit(store, *(new_job(f"j{n}") for n in range(5)))
    await lease_all(store, DEAD, "echo")
    await recover(store, clock)
    once = await snapshot(store, *(f"j{n}" for n in range(5)))
    position = await store.position()

    report = await recover(store, clock, instance_id="newer")

    assert report.returned == 0
    assert await store.position() == position
    assert await snapshot(store, *(f"j{n}" for n in range(5))) == once


async def test_many_jobs_go_back_in_bounded_batches(
    store: SqliteStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(store, *(new_job(f"j{n}") for n in range(25)))
    await lease_all(store, DEAD, "echo")
    really, limits = store.recover, []

    async def counted(*, instance_id: str, limit: int) -> RecoveryBatch:
        limits.append(limit)
        batch = await really(instance_id=instance_id, limit=limit)
        assert batch.returned <= limit
        return batch

    monkeypatch.setattr(store, "recover", counted)
    report = await recover(store, clock, batch_jobs=10)

    assert report.returned == 25
    assert limits.count(10) == len(limits) >= 3


async def test_a_crash_inside_recovery_is_recovered_by_the_next_start(tmp_path: Path, clock: ManualClock) -> None:
    first = SqliteStore(tmp_path / "jobs.db", clock=clock, chance=lambda: 0.5)
    await first.open()
    await submit(first, *(new_job(f"j{n}") for n in range(25)))
    await lease_all(first, DEAD, "echo")
    await first.recover(instance_id="crashed", limit=10)
    await first.close()

    second = SqliteStore(tmp_path / "jobs.db", clock=clock, chance=lambda: 0.5)
    await second.open()
    report = await recover(second, clock)
    states = [job.status.state for job in await snapshot(second, *(f"j{n}" for n in range(25)))]
    await second.close()

    assert report.returned == 15
    assert states == [State.PENDING] * 25


async def test_a_store_that_is_busy_is_waited_for_longer_and_longer(
    store: SqliteStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(store, new_job("a"))
    await lease_all(store, DEAD, "echo")
    really, asked_at = store.recover, []

    async def busy(*, instance_id: str, limit: int) -> RecoveryBatch:
        asked_at.append(clock.monotonic())
        if len(asked_at) <= 15:
            raise StoreUnavailable("The store is busy.")
        return await really(instance_id=instance_id, limit=limit)

    monkeypatch.setattr(store, "recover", busy)
    report = await with_time(recover(store, clock), clock)

    assert (report.returned, report.retries) == (1, 15)
    waits = [later - earlier for earlier, later in itertools.pairwise(asked_at)]
    assert waits[:3] == pytest.approx([0.05, 0.075, 0.1125])
    assert waits[-1] == pytest.approx(5.0)


async def test_it_gives_up_with_an_error_and_drops_no_job(
    store: SqliteStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(store, new_job("a"))
    await lease_all(store, DEAD, "echo")

    async def away(*, instance_id: str, limit: int) -> RecoveryBatch:
        raise StoreUnavailable("The disk is away.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "recover", away)
        with pytest.raises(StoreUnavailable, match="No job is lost"):
            await with_time(recover(store, clock, time_limit_seconds=20.0), clock)

    assert (await recover(store, clock)).returned == 1


async def with_time(work: object, clock: ManualClock) -> RecoveryReport:
    """Await, letting time pass whenever somebody sleeps."""
    task: asyncio.Task[RecoveryReport] = asyncio.ensure_future(work)  # type: ignore[arg-type]
    while not task.done():
        await asyncio.sleep(0)
        seconds = clock.seconds_to_next()
        if seconds is not None:
            clock.advance(seconds)
    return task.result()
