"""Bounded slots, batches, and the window."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from jobwire.app import App, current_job
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from jobwire.worker.transport import AckCode, Assignment, Failure, LeaseState, OutcomeReport, Success
from tests.helpers.clock import ManualClock
from tests.helpers.scripted_transport import ScriptedTransport
from tests.worker.support import Gate, settled, until, working

pytestmark = pytest.mark.asyncio


async def test_nothing_is_assigned_before_the_runtime_is_resumed() -> None:
    app = App("test")
    app.job("it")(lambda: None)
    server = ScriptedTransport()
    runtime = WorkerRuntime(transport=server, handlers=app.handlers, slots=3, worker_id="w")
    await runtime.start()
    token = server.offer("it")
    assert server.hello is not None
    assert (server.hello.types, server.hello.max_in_flight) == (("it",), 3)
    assert server.windows == []
    await runtime.resume()
    assert await server.outcome(token) == Success()
    await runtime.stop()
    assert server.closed


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("prefetch", [0, 5])
async def test_no_more_handlers_run_than_there_are_slots(slots: int, prefetch: int) -> None:
    app, gate = App("test"), Gate()
    running, most, lock = 0, 0, threading.Lock()

    @app.job("it")
    def it() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait()
        with lock:
            running -= 1

    with gate:
        async with working(app, slots=slots, settings=RuntimeSettings(prefetch=prefetch)) as worker:
            tokens = worker.server.offer_many("it", 20)
            await gate.arrived(slots)
            assert worker.runtime.running == slots
            assert worker.server.leased == set(tokens[: slots + prefetch])
            gate.open()
            for token in tokens:
                await worker.server.outcome(token)
            assert most == slots
            assert worker.server.most_outstanding == slots + prefetch


async def test_async_handlers_share_the_slots() -> None:
    app = App("test")
    opened = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    running, most = 0, 0

    @app.job("it")
    async def it() -> None:
        nonlocal running, most
        loops.append(asyncio.get_running_loop())
        running += 1
        most = max(most, running)
        await opened.wait()
        running -= 1

    async with working(app, slots=3, settings=RuntimeSettings(prefetch=10)) as worker:
        tokens = worker.server.offer_many("it", 9)
        await until(lambda: most == 3)
        loops[0].call_soon_threadsafe(opened.set)
        for token in tokens:
            await worker.server.outcome(token)
        assert most == 3
        assert set(loops) != {asyncio.get_running_loop()}


async def test_outcomes_that_gather_while_a_report_commits_go_out_together() -> None:
    app = App("test")
    app.job("it")(lambda: None)
    async with working(app, slots=10) as worker:
        worker.server.commits.clear()
        worker.server.offer("it")
        await worker.server.until(lambda: len(worker.server.reports) == 1)
        worker.server.offer_many("it", 9)
        await until(lambda: not worker.runtime.running)
        worker.server.commits.set()
        await worker.server.until(lambda: len(worker.server.outcomes) == 10)
        assert [len(report) for report in worker.server.reports] == [1, 9]


async def test_an_outcome_is_sent_until_it_is_acknowledged() -> None:
    app = App("test")
    app.job("it")(lambda: 7)
    clock, server = ManualClock(), ScriptedTransport()
    answers = iter([AckCode.RETRY, AckCode.RETRY])
    server.answer = lambda report: next(answers, AckCode.RECORDED)
    failures = iter([ConnectionError("cut"), RuntimeError("a bug")])

    def fail() -> None:
        if (error := next(failures, None)) is not None:
            raise error

    server.before_report = fail
    async with working(app, server=server, clock=clock) as worker:
        token = worker.server.offer("it")
        while token not in server.outcomes:
            clock.advance(0.05)
            await asyncio.sleep(0)
        assert isinstance(server.outcomes[token], Success)
        assert len(server.reports) == 3
        assert worker.runtime.healthy


async def test_a_refused_outcome_becomes_a_failure_that_says_why() -> None:
    app = App("test")
    app.job("it")(lambda: "too large")
    server = ScriptedTransport()

    def refuse_successes(report: OutcomeReport) -> AckCode:
        return AckCode.INVALID if isinstance(report.outcome, Success) else AckCode.RECORDED

    server.answer = refuse_successes
    async with working(app, server=server) as worker:
        failure = await worker.server.outcome(worker.server.offer("it"))
    assert failure == Failure("OUTCOME_REFUSED", "the script says so", retryable=False)


async def test_a_late_outcome_is_dropped_and_the_worker_goes_on() -> None:
    app, gate = App("test"), Gate()
    app.job("slow")(gate.wait)
    app.job("it")(lambda: None)
    with gate:
        async with working(app, slots=2) as worker:
            late = worker.server.offer("slow")
            await gate.arrived()
            worker.server.forget(late)
            gate.open()
            await worker.server.until(lambda: bool(worker.server.reports))
            assert await worker.server.outcome(worker.server.offer("it")) == Success()
            assert late not in worker.server.outcomes


async def test_heartbeats_name_every_lease_that_is_held() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    app.job("it")(gate.wait)
    with gate:
        async with working(app, slots=2, clock=clock, settings=RuntimeSettings(prefetch=1)) as worker:
            running = worker.server.offer_many("it", 3)
            await gate.arrived(2)
            await settled()
            clock.advance(10)
            await worker.server.until(lambda: bool(worker.server.updates))
            assert [update.token for update in worker.server.updates[0]] == [running[2], running[0], running[1]]


async def test_a_handler_that_blocks_its_loop_does_not_stop_the_heartbeats() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()

    @app.job("it")
    async def it() -> None:
        gate.wait()

    with gate:
        async with working(app, clock=clock) as worker:
            token = worker.server.offer("it")
            await gate.arrived()
            for beats in range(1, 4):
                await settled()
                clock.advance(10)
                await worker.server.until(lambda beats=beats: len(worker.server.updates) == beats)  # type: ignore[misc]
            gate.open()
            assert await worker.server.outcome(token) == Success()


async def test_progress_is_passed_on_and_only_the_newest_counts() -> None:
    app, gate = App("test"), Gate()

    @app.job("it")
    def it() -> None:
        for percent in range(1, 1001):
            current_job().progress(percent, 1000, f"step {percent}")
        gate.wait()

    with gate:
        async with working(app) as worker:
            worker.server.offer("it")
            await gate.arrived()
            await worker.server.until(
                lambda: any(u.progress_message == "step 1000" for sent in worker.server.updates for u in sent)
            )
            assert worker.server.updates[-1][0].progress_percent == 100.0
            assert len(worker.server.updates) < 10


async def test_a_window_of_no_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 slot"):
        WorkerRuntime(transport=ScriptedTransport(), handlers={}, slots=0, worker_id="w")


async def test_a_worker_holds_what_waits_what_runs_and_what_was_not_acknowledged() -> None:
    app, gate = App("test"), Gate()
    app.job("slow")(gate.wait)
    app.job("it")(lambda: None)
    with gate:
        async with working(app, slots=1, settings=RuntimeSettings(prefetch=2)) as worker:
            inbox = worker.server.inbox
            assert inbox is not None
            worker.server.commits.clear()
            ended = worker.server.offer("it")
            await worker.server.until(lambda: bool(worker.server.reports))
            running = worker.server.offer("slow")
            await gate.arrived()
            waiting = worker.server.offer("it")
            assert sorted(inbox.held()) == sorted([ended, running, waiting])  # type: ignore[type-var]
            worker.server.commits.set()
            gate.open()
            await worker.server.until(lambda: len(worker.server.outcomes) == 3)
            await settled()
            assert list(inbox.held()) == []


async def test_what_the_server_says_of_held_leases_stops_and_cancels_handlers_and_moves_deadlines() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    reasons: list[str] = []

    @app.job("it")
    def it() -> None:
        gate.wait()
        reasons.append(current_job().cancel_reason)

    with gate:
        async with working(app, slots=3, clock=clock) as worker:
            lost, cancelled, kept = worker.server.offer_many("it", 3)
            await gate.arrived(3)
            assert worker.server.inbox is not None
            worker.server.inbox.renewed(
                worker.server.welcome,
                [
                    LeaseState(lost, valid=False, cancel_requested=False, remaining_seconds=0.0),
                    LeaseState(cancelled, valid=True, cancel_requested=True, remaining_seconds=100.0),
                    LeaseState(kept, valid=True, cancel_requested=False, remaining_seconds=100.0),
                    LeaseState(999, valid=False, cancel_requested=False, remaining_seconds=0.0),
                ],
            )
            assert sorted(worker.server.inbox.held()) == [cancelled, kept]  # type: ignore[type-var]
            gate.open()
            await until(lambda: len(reasons) == 3)
            await worker.server.until(lambda: len(worker.server.outcomes) == 2)
            assert lost not in worker.server.outcomes
            assert sorted(reasons) == ["", "the job was cancelled", "the lease is lost"]


async def test_a_worker_that_the_server_will_not_have_is_unhealthy_and_says_why() -> None:
    app = App("test")
    app.job("it")(lambda: None)
    async with working(app) as worker:
        assert worker.server.inbox is not None
        worker.server.inbox.refuse("The queue name is too long.")
        assert worker.health == ["The queue name is too long."]
        assert not worker.runtime.healthy


async def test_a_window_over_the_bound_of_the_contract_is_refused() -> None:
    with pytest.raises(ValueError, match="the most is 10000"):
        WorkerRuntime(
            transport=ScriptedTransport(), handlers={}, slots=10, worker_id="w", settings=RuntimeSettings(prefetch=9991)
        )


async def test_an_assignment_that_comes_twice_is_run_and_reported_once() -> None:
    app, gate = App("test"), Gate()
    runs: list[str] = []

    @app.job("it")
    def it() -> None:
        runs.append(current_job().job_id)
        gate.wait()

    with gate:
        async with working(app, slots=2) as worker:
            server = worker.server
            assign = server.inbox.assign  # type: ignore[union-attr]

            def assign_twice(batch: Sequence[Assignment]) -> None:
                assign(batch)
                assign(batch)

            server.inbox.assign = assign_twice  # type: ignore[union-attr, method-assign]
            tokens = server.offer_many("it", 2)
            await gate.arrived(2)
            assign_twice([Assignment(tokens[0], "again", "default", "it", 1, 1, 1, None, {}, 30.0, None)])
            gate.open()
            assert [await server.outcome(token) for token in tokens] == [Success()] * 2
            assert len(runs) == 2
            assert worker.runtime.healthy
