"""A cancel reaches whoever runs the job, and its grace has an end."""

from __future__ import annotations

import pytest

from jobwire_server.dispatch.session import Beat
from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State
from jobwire_server.store.base import Lease, LeaseRequest, ReportAnswer, ReportCode
from tests.engine.conftest import Engine, eventually, new_job, state_of, submit

pytestmark = pytest.mark.asyncio


async def test_a_cancel_reaches_the_worker_that_runs_the_job(engine: Engine) -> None:
    worker = engine.worker("echo")
    await submit(engine.store, new_job("a"), new_job("b"))
    await eventually(lambda: len(worker.assigned) == 2)

    await engine.store.cancel("default", "a", reason="changed my mind")

    await eventually(lambda: len(worker.cancelled) == 1)
    lease = next(lease for lease in worker.assigned if lease.job_id == "a")
    assert worker.cancelled == [(lease.key, lease.fence)]
    assert await state_of(engine.store, "a") is State.PROCESSING


async def test_a_handler_that_ignores_it_loses_its_lease_when_the_grace_is_over(engine: Engine) -> None:
    worker = engine.worker("echo", window=1)
    await submit(engine.store, new_job("a"), new_job("b"))
    await eventually(lambda: worker.ids == ["a"])
    await engine.store.cancel("default", "a")
    await eventually(lambda: len(worker.cancelled) == 1)
    await engine.settled()  # the order stands, and its clock runs

    engine.clock.advance(9.9)
    await engine.settled()
    assert await state_of(engine.store, "a") is State.PROCESSING
    engine.clock.advance(0.2)
    await eventually(lambda: len(worker.lost) == 1)

    assert await state_of(engine.store, "a") is State.CANCELLED
    (answer,) = await worker.finish(worker.assigned[0])
    assert answer.code is ReportCode.LEASE_LOST
    await eventually(lambda: worker.ids == ["a", "b"])


async def test_a_cancel_that_overtakes_the_lease_on_its_way_is_not_lost(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = engine.worker("echo")
    await engine.settled()
    really = engine.store.lease

    async def overtaken(request: LeaseRequest) -> list[Lease]:
        leases = await really(request)
        for lease in leases:
            await engine.store.cancel(lease.tenant, lease.job_id)
        return leases

    monkeypatch.setattr(engine.store, "lease", overtaken)
    await submit(engine.store, new_job("a"))

    await eventually(lambda: len(worker.cancelled) == 1)


async def test_a_store_that_is_away_delays_the_end_of_the_grace(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = engine.worker("echo")
    await submit(engine.store, new_job("a"))
    await eventually(lambda: worker.ids == ["a"])
    await engine.store.cancel("default", "a")
    await eventually(lambda: len(worker.cancelled) == 1)
    await engine.settled()

    async def away(reports: object) -> list[ReportAnswer]:
        raise StoreUnavailable("The disk is away.")

    with monkeypatch.context() as patch:
        patch.setattr(engine.store, "report", away)
        engine.clock.advance(10.1)
        await engine.settled()
        assert worker.lost == []

    while not worker.lost:
        engine.clock.advance(0.05)
        await engine.settled()
    assert await state_of(engine.store, "a") is State.CANCELLED


async def test_a_success_within_the_grace_wins(engine: Engine) -> None:
    worker = engine.worker("echo")
    await submit(engine.store, new_job("a"))
    await eventually(lambda: worker.ids == ["a"])
    await engine.store.cancel("default", "a")
    await eventually(lambda: len(worker.cancelled) == 1)

    await worker.finish(worker.assigned[0])
    await engine.settled()
    engine.clock.advance(11.0)
    await engine.settled()

    assert await state_of(engine.store, "a") is State.COMPLETED
    assert worker.lost == []


async def test_a_forced_cancel_takes_the_lease_at_once(engine: Engine) -> None:
    worker = engine.worker("echo")
    await submit(engine.store, new_job("a"))
    await eventually(lambda: worker.ids == ["a"])

    await engine.store.cancel("default", "a", force=True)

    await eventually(lambda: len(worker.lost) == 1)
    assert await state_of(engine.store, "a") is State.CANCELLED


async def test_a_wish_whose_notice_was_lost_is_found_by_the_next_heartbeat(engine: Engine) -> None:
    worker = engine.worker("echo")
    await submit(engine.store, new_job("a"))
    await eventually(lambda: worker.ids == ["a"])
    engine.store._listeners.clear()
    await engine.store.cancel("default", "a")
    assert worker.session is not None

    lease = worker.assigned[0]
    (state,) = await worker.session.extend([Beat((lease.key, lease.fence))])

    assert state.cancel_requested
    assert worker.cancelled == [(lease.key, lease.fence)]
