"""The dispatcher leases what credits allow, when the store has it, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import pytest

from jobwire_server.dispatch.session import Beat
from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import SECOND_US, Content, JobError, State
from jobwire_server.domain.outcome import Failed, Released
from jobwire_server.jobs import Jobs
from jobwire_server.store.base import (
    CommitNotice,
    Lease,
    LeaseEnd,
    LeaseRequest,
    LeaseUpdate,
    Report,
    ReportAnswer,
    ReportCode,
)
from jobwire_server.store.sqlite.store import SqliteStore
from jobwire_server.watch.hub import WatchHub
from tests.engine.conftest import TENANT, Engine, eventually, job_of, new_job, running, state_of, submit
from tests.helpers.clock import ManualClock

pytestmark = pytest.mark.asyncio


async def test_a_submitted_job_goes_to_a_waiting_worker_without_any_time_passing(engine: Engine) -> None:
    worker = engine.worker("echo")

    await submit(engine.store, new_job("a"))

    await eventually(lambda: worker.ids == ["a"])
    job = await job_of(engine.store, "a")
    assert (job.status.state, job.status.attempt) == (State.PROCESSING, 1)


async def test_jobs_that_were_there_before_the_worker_are_found(engine: Engine) -> None:
    await submit(engine.store, *(new_job(f"j{n}") for n in range(3)))

    worker = engine.worker("echo")

    await eventually(lambda: sorted(worker.ids) == ["j0", "j1", "j2"])


async def test_credits_are_never_exceeded_and_come_back_with_each_report(engine: Engine) -> None:
    worker = engine.worker("echo", window=4)
    await submit(engine.store, *(new_job(f"j{n}") for n in range(30)))

    finished = 0
    while finished < 30:
        await eventually(lambda taken=finished: len(worker.assigned) > taken)
        await engine.settled()
        held = worker.assigned[finished:]
        assert len(held) <= 4
        await worker.finish(held[0])
        finished += 1

    assert len(set(worker.ids)) == 30


async def test_the_next_jobs_are_leased_in_the_commit_that_records_the_last_ones(engine: Engine) -> None:
    await submit(engine.store, *(new_job(f"j{n}") for n in range(40)))
    worker = engine.worker("echo", window=20)
    await eventually(lambda: len(worker.assigned) == 20)
    await engine.settled()
    notices: list[CommitNotice] = []
    engine.store.subscribe(notices.append)

    await worker.finish(*worker.assigned)
    await eventually(lambda: len(worker.assigned) == 40)

    assert len(notices) == 1


def jobs_beside(engine: Engine) -> Jobs:
    """The use cases on the engine's store, as the server wires them."""
    hub = WatchHub(store=engine.store, clock=engine.clock)
    new_id = iter(map(str, count())).__next__
    return Jobs(store=engine.store, hub=hub, clock=engine.clock, new_id=new_id, expect=engine.dispatcher.expect)


async def test_a_job_is_stored_and_leased_to_a_free_worker_by_one_commit(engine: Engine) -> None:
    jobs = jobs_beside(engine)
    worker = engine.worker("echo")
    await engine.settled()
    notices: list[CommitNotice] = []
    engine.store.subscribe(notices.append)

    for jobs_so_far in range(1, 4):
        await jobs.submit(TENANT, new_job(f"j{jobs_so_far}"))
        await eventually(lambda jobs_so_far=jobs_so_far: len(worker.assigned) == jobs_so_far)
        await engine.settled()
        assert len(notices) == jobs_so_far


async def test_a_worker_that_is_busy_is_not_asked_for_when_jobs_come_in(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = engine.worker("echo", window=1)
    await submit(engine.store, new_job("a"))
    await eventually(lambda: worker.ids == ["a"])
    asked: list[LeaseRequest] = []
    really = engine.store.lease

    async def lease(request: LeaseRequest) -> list[Lease]:
        asked.append(request)
        return await really(request)

    monkeypatch.setattr(engine.store, "lease", lease)
    jobs = jobs_beside(engine)
    await jobs.submit(TENANT, new_job("b"))
    await engine.settled()

    assert not asked
    await worker.finish(worker.assigned[0])
    await eventually(lambda: worker.ids == ["a", "b"])


async def test_leases_that_came_for_credits_which_did_not_come_back_are_given_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(engine.store, *(new_job(f"j{n}") for n in range(8)))
    worker = engine.worker("echo", window=4)
    await eventually(lambda: len(worker.assigned) == 4)

    really = engine.store.report

    async def refused(reports: Sequence[Report]) -> list[ReportAnswer]:
        monkeypatch.setattr(engine.store, "report", really)
        await engine.settled()
        raise StoreUnavailable("The disk is away.")

    monkeypatch.setattr(engine.store, "report", refused)
    with pytest.raises(StoreUnavailable):
        await worker.finish(*worker.assigned)
    await engine.settled()

    assert len(worker.assigned) == 4
    jobs = [await job_of(engine.store, f"j{n}") for n in range(8)]
    assert sorted((job.status.state, job.status.attempt) for job in jobs) == [
        *[(State.PENDING, 0)] * 4,
        *[(State.PROCESSING, 1)] * 4,
    ]


async def test_a_backlog_is_leased_in_one_statement_per_free_window(engine: Engine) -> None:
    await submit(engine.store, *(new_job(f"j{n}") for n in range(300)))

    worker = engine.worker("echo", window=100)

    await eventually(lambda: len(worker.assigned) == 100)
    assert worker.batches == [100]


async def test_jobs_of_types_that_nobody_serves_stay_untouched(engine: Engine) -> None:
    worker = engine.worker("echo")

    await submit(engine.store, new_job("other", "resize"), new_job("mine", "echo"))

    await eventually(lambda: worker.ids == ["mine"])
    await engine.settled()
    assert await state_of(engine.store, "other") is State.PENDING
    assert worker.ids == ["mine"]


async def test_each_job_goes_to_exactly_one_of_many_workers(engine: Engine) -> None:
    workers = [engine.worker("echo", window=7, name=f"w{n}") for n in range(5)]

    await submit(engine.store, *(new_job(f"j{n}") for n in range(60)))

    await eventually(lambda: sum(len(worker.assigned) for worker in workers) == 35)
    await engine.settled()
    ids = [job_id for worker in workers for job_id in worker.ids]
    assert len(ids) == len(set(ids)) == 35
    assert all(len(worker.assigned) == 7 for worker in workers)


async def test_nothing_is_leased_before_the_gate_is_opened(store: SqliteStore, clock: ManualClock) -> None:
    async with running(store, clock) as engine:
        worker = engine.worker("echo")
        await submit(store, new_job("a"))
        for _ in range(5):
            clock.advance(1.0)
            await engine.settled()
        assert worker.ids == []

        engine.dispatcher.grant()

        await eventually(lambda: worker.ids == ["a"])


async def test_nothing_is_leased_after_the_gate_is_closed(engine: Engine) -> None:
    worker = engine.worker("echo", window=1)
    await submit(engine.store, new_job("a"), new_job("b"))
    await eventually(lambda: len(worker.assigned) == 1)

    await engine.dispatcher.stop_granting("the server stops")
    await worker.finish(worker.assigned[0])
    engine.clock.advance(5.0)
    await engine.settled()

    assert len(worker.assigned) == 1
    assert worker.drained == ["the server stops"]


async def test_a_window_of_zero_pauses_a_worker(engine: Engine) -> None:
    worker = engine.worker("echo", window=0)
    await submit(engine.store, new_job("a"))
    await engine.settled()
    assert worker.ids == []

    assert worker.session is not None
    worker.session.resize(1)

    await eventually(lambda: worker.ids == ["a"])


async def test_a_job_that_failed_comes_back_when_it_is_pending_again(engine: Engine) -> None:
    worker = engine.worker("echo")
    await submit(engine.store, new_job("a"))
    await eventually(lambda: len(worker.assigned) == 1)

    await worker.finish(worker.assigned[0], outcome=Released())

    await eventually(lambda: len(worker.assigned) == 2)
    again = worker.assigned[1]
    assert (again.attempt, again.fence) == (1, 2)


async def test_big_payloads_do_not_make_a_lane_look_empty(store: SqliteStore, clock: ManualClock) -> None:
    async with running(store, clock, batch_bytes=3000, payload_bytes=1000) as engine:
        engine.dispatcher.grant()
        big = Content(b"x" * 1000)
        await submit(store, *(new_job(f"j{n}", payload=big) for n in range(20)))

        worker = engine.worker("echo", window=20)

        await eventually(lambda: len(worker.assigned) == 20)


async def test_lanes_beyond_the_bound_are_found_again(store: SqliteStore, clock: ManualClock) -> None:
    async with running(store, clock, lanes=3, lanes_per_request=2) as engine:
        engine.dispatcher.grant()
        worker = engine.worker("echo", window=50)
        await submit(store, *(new_job(f"j{n}", queue=f"q{n}") for n in range(20)))

        await eventually(lambda: len(worker.assigned) == 20)


async def test_a_hint_that_was_lost_costs_one_turn_of_the_floor(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = engine.worker("echo")
    await engine.settled()
    engine.store._listeners.clear()
    await submit(engine.store, new_job("a"))
    await engine.settled()
    assert worker.ids == []

    engine.clock.advance(1.0)

    await eventually(lambda: worker.ids == ["a"])


async def test_a_run_that_nobody_speaks_of_frees_its_credit_when_its_lease_is_over(engine: Engine) -> None:
    worker = engine.worker("echo", window=1)
    await submit(engine.store, new_job("silent"), new_job("next"))
    await eventually(lambda: len(worker.assigned) == 1)

    silent = worker.assigned[0]
    for _ in range(32):
        engine.clock.advance(1.0)
        await engine.settled()
    await eventually(lambda: len(worker.assigned) == 2)

    assert worker.lost == [(silent.key, silent.fence)]


async def test_a_run_whose_heartbeats_went_to_another_server_is_not_called_lost(engine: Engine) -> None:
    worker = engine.worker("echo", window=1)
    await submit(engine.store, new_job("elsewhere"))
    await eventually(lambda: len(worker.assigned) == 1)
    [lease] = worker.assigned

    for _ in range(3):
        engine.clock.advance(20.0)
        await engine.store.extend([LeaseUpdate(lease.key, lease.fence, 60 * SECOND_US)])
        await engine.settled()
    assert worker.lost == []
    for _ in range(62):
        engine.clock.advance(1.0)
        await engine.settled()
    await eventually(lambda: worker.lost == [(lease.key, lease.fence)])


async def test_while_the_store_is_away_no_run_is_called_lost(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = engine.worker("echo", window=1)
    await submit(engine.store, new_job("a"))
    await eventually(lambda: len(worker.assigned) == 1)
    asked = 0

    async def away(leases: Sequence[tuple[int, int]]) -> list[LeaseEnd | None]:
        nonlocal asked
        asked += 1
        raise StoreUnavailable("The database is away.")

    with monkeypatch.context() as patch:
        patch.setattr(engine.store, "lease_ends", away)
        engine.clock.advance(40.0)
        await eventually(lambda: asked > 0)
        assert worker.lost == []
    engine.clock.advance(2.0)
    await eventually(lambda: len(worker.lost) == 1)


async def test_progress_goes_to_the_hub_and_only_for_leases_that_stand(engine: Engine) -> None:
    worker = engine.worker("echo")
    await submit(engine.store, new_job("a"), new_job("b"))
    await eventually(lambda: len(worker.assigned) == 2)
    first, second = sorted(worker.assigned, key=lambda lease: lease.job_id)
    await worker.finish(second)
    assert worker.session is not None

    states = await worker.session.extend(
        [Beat((first.key, first.fence), 40.0, "almost"), Beat((second.key, second.fence), 99.0, "late")]
    )

    assert [state.valid for state in states] == [True, False]
    assert [(note.job_id, note.percent, note.message) for note in engine.notes] == [("a", 40.0, "almost")]


async def test_a_store_that_is_away_delays_leasing_and_loses_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = engine.worker("echo")
    await engine.settled()
    really = engine.store.lease
    tries = 0

    async def away(request: LeaseRequest) -> list[Lease]:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise StoreUnavailable("The disk is away.")
        return await really(request)

    monkeypatch.setattr(engine.store, "lease", away)
    await submit(engine.store, new_job("a"))

    while not worker.ids:
        await engine.settled()
        engine.clock.advance(0.05)
    assert tries == 4


async def test_a_late_report_answers_lease_lost_and_changes_nothing(engine: Engine) -> None:
    worker = engine.worker("echo")
    await submit(engine.store, new_job("a"))
    await eventually(lambda: len(worker.assigned) == 1)
    engine.clock.advance(31.0)
    await engine.store.expire_leases(limit=10)

    (answer,) = await worker.finish(worker.assigned[0], outcome=Failed(JobError(type="Late")))

    assert answer.code is ReportCode.LEASE_LOST
    job = await job_of(engine.store, "a")
    assert job.status.state is State.RETRYING
    assert job.status.last_error is not None
    assert job.status.last_error.type == "LEASE_LOST"


async def test_leases_that_arrive_for_a_window_that_shrank_are_given_back_without_costing_an_attempt(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = engine.worker("echo", window=5)
    await engine.settled()
    really = engine.store.lease

    async def shrink_meanwhile(request: LeaseRequest) -> list[Lease]:
        leases = await really(request)
        assert worker.session is not None
        worker.session.resize(2)
        return leases

    monkeypatch.setattr(engine.store, "lease", shrink_meanwhile)
    await submit(engine.store, *(new_job(f"j{n}") for n in range(5)))

    await eventually(lambda: len(worker.assigned) == 2)
    await engine.settled()
    waiting = [await job_of(engine.store, f"j{n}") for n in range(5) if f"j{n}" not in worker.ids]
    assert [(job.status.state, job.status.attempt) for job in waiting] == [(State.PENDING, 0)] * 3
