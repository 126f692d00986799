"""Handlers that have to stop: timeouts, cancel orders, lost leases, and those that do not listen."""

from __future__ import annotations

import asyncio
import threading

import pytest

from jobwire.app import App, Cancelled, JobContext, LeaseLost
from jobwire.worker.runtime import RuntimeSettings
from jobwire.worker.slots import Patience
from jobwire.worker.transport import Failure, Release, Stopped, Success
from tests.helpers.clock import ManualClock
from tests.worker.support import Gate, Worker, settled, until, working

pytestmark = pytest.mark.asyncio

TIMEOUT = Failure("TIMEOUT", "The attempt was stopped: the attempt took longer than 5 s.")


async def pass_time(worker: Worker, seconds: float) -> None:
    """Let time pass for a runtime whose tasks have all come to rest."""
    await settled()
    worker.clock.advance(seconds)
    await settled()


def handler_threads() -> set[threading.Thread]:
    """Threads that run plain handlers."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("jobwire-handler-")}


async def test_an_async_handler_that_takes_too_long_is_cancelled() -> None:
    app, clock = App("test"), ManualClock()
    began, cleaned_up = threading.Event(), threading.Event()

    @app.job("it")
    async def it() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    async with working(app, clock=clock) as worker:
        token = worker.server.offer("it", timeout_seconds=5.0)
        await asyncio.to_thread(began.wait)
        await pass_time(worker, 4.9)
        assert worker.runtime.running == 1
        await pass_time(worker, 0.2)
        assert await worker.server.outcome(token) == TIMEOUT
        assert cleaned_up.is_set()
        assert worker.runtime.hung == 0


async def test_the_tighter_of_two_timeouts_counts() -> None:
    app, clock = App("test"), ManualClock()

    @app.job("it", timeout="5s")
    async def it() -> None:
        await asyncio.Event().wait()

    async with working(app, clock=clock) as worker:
        token = worker.server.offer("it", timeout_seconds=60.0)
        await pass_time(worker, 5.1)
        assert await worker.server.outcome(token) == TIMEOUT


async def test_a_thread_that_checks_stops_when_its_time_is_up() -> None:
    app, clock = App("test"), ManualClock()
    began = threading.Event()

    @app.job("it")
    def it(ctx: JobContext) -> None:
        began.set()
        while True:
            ctx.check()

    async with working(app, clock=clock) as worker:
        token = worker.server.offer("it", timeout_seconds=5.0)
        await asyncio.to_thread(began.wait)
        await pass_time(worker, 5.1)
        assert await worker.server.outcome(token) == TIMEOUT
        assert worker.runtime.hung == 0


async def test_a_thread_that_hangs_is_reported_and_replaced() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    app.job("hang")(gate.wait)
    app.job("it")(lambda: None)
    before = handler_threads()
    with gate:
        async with working(app, slots=1, clock=clock) as worker:
            hung = worker.server.offer("hang", timeout_seconds=5.0)
            await gate.arrived()
            await pass_time(worker, 5.1)
            assert hung not in worker.server.outcomes, "it has a second to stop by itself"
            await pass_time(worker, 1.1)
            assert await worker.server.outcome(hung) == TIMEOUT
            assert (worker.runtime.hung, worker.runtime.healthy) == (1, True)
            assert await worker.server.outcome(worker.server.offer("it")) == Success()
            gate.open()
            await until(lambda: not worker.runtime.hung)
            assert await worker.server.outcome(worker.server.offer("it")) == Success()
            assert len(worker.server.outcomes) == 3
            await until(lambda: len(handler_threads() - before) == 1)


async def test_hung_threads_beyond_the_bound_cost_slots_and_health() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    app.job("hang")(gate.wait)
    app.job("it")(lambda: None)
    with gate:
        async with working(app, slots=2, clock=clock) as worker:
            for round_ in (1, 2):
                worker.server.offer_many("hang", 2, timeout_seconds=5.0)
                await gate.arrived(2)
                assert worker.runtime.healthy
                await pass_time(worker, 5.1)
                await pass_time(worker, 1.1)
                assert worker.runtime.hung == 2 * round_
            assert not worker.runtime.healthy
            assert worker.health[-1] == worker.runtime.unhealthy_reason
            assert "2 of 2 slots are lost" in (worker.runtime.unhealthy_reason or "")
            await worker.server.until(lambda: worker.server.windows[-1] == 0)
            token = worker.server.offer("it")
            await settled()
            assert token not in worker.server.leased
            gate.open()
            assert await worker.server.outcome(token) == Success()
            await until(lambda: not worker.runtime.hung)
            assert (worker.runtime.healthy, worker.health[-1]) == (True, None)
            await worker.server.until(lambda: worker.server.windows[-1] == 2)


async def test_a_coroutine_that_blocks_its_loop_does_not_take_the_others_along() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()

    @app.job("block")
    async def block() -> None:
        gate.wait()

    @app.job("it")
    async def it() -> None:
        await asyncio.sleep(0)

    with gate:
        async with working(app, slots=2, clock=clock) as worker:
            blocked = worker.server.offer("block", timeout_seconds=5.0)
            await gate.arrived()
            await pass_time(worker, 5.1)
            await pass_time(worker, 1.1)
            assert await worker.server.outcome(blocked) == TIMEOUT
            assert await worker.server.outcome(worker.server.offer("it")) == Success()
            gate.open()
            await until(lambda: not worker.runtime.hung)
            assert await worker.server.outcome(worker.server.offer("it")) == Success()


async def test_a_cancel_order_reaches_a_coroutine() -> None:
    app = App("test")
    began = threading.Event()

    @app.job("it")
    async def it() -> None:
        began.set()
        await asyncio.Event().wait()

    async with working(app) as worker:
        token = worker.server.offer("it")
        await asyncio.to_thread(began.wait)
        worker.server.order_cancel(token, "not wanted")
        assert await worker.server.outcome(token) == Stopped("not wanted")


async def test_a_cancel_order_reaches_a_thread_that_checks() -> None:
    app = App("test")
    began = threading.Event()
    reasons = []

    @app.job("it")
    def it(ctx: JobContext) -> None:
        began.set()
        try:
            while True:
                ctx.check()
        except Exception:  # noqa: BLE001 (the point of the test)
            raise AssertionError("a handler's `except Exception` must not catch it") from None
        except Cancelled:
            reasons.append((ctx.cancelled, ctx.cancel_reason))
            raise

    async with working(app) as worker:
        token = worker.server.offer("it")
        await asyncio.to_thread(began.wait)
        worker.server.order_cancel(token, "not wanted")
        assert await worker.server.outcome(token) == Stopped("not wanted")
        assert reasons == [(True, "not wanted")]


async def test_a_handler_that_finishes_in_spite_of_a_cancel_order_has_its_result_reported() -> None:
    app, gate = App("test"), Gate()
    app.job("it")(gate.wait)
    with gate:
        async with working(app) as worker:
            token = worker.server.offer("it")
            await gate.arrived()
            worker.server.order_cancel(token)
            gate.open()
            assert await worker.server.outcome(token) == Success()


async def test_a_job_that_is_cancelled_before_it_starts_never_runs() -> None:
    app, gate = App("test"), Gate()
    ran = []
    app.job("block")(gate.wait)
    app.job("it")(lambda: ran.append(1))
    with gate:
        async with working(app, slots=1, settings=RuntimeSettings(prefetch=1)) as worker:
            worker.server.offer("block")
            await gate.arrived()
            token = worker.server.offer("it")
            worker.server.order_cancel(token, "too late")
            assert await worker.server.outcome(token) == Stopped("too late")
            gate.open()
            await worker.server.until(lambda: len(worker.server.outcomes) == 2)
            assert not ran


async def test_a_cancel_wish_that_comes_back_with_a_heartbeat_is_an_order() -> None:
    app, clock = App("test"), ManualClock()
    began = threading.Event()

    @app.job("it")
    async def it() -> None:
        began.set()
        await asyncio.Event().wait()

    async with working(app, clock=clock) as worker:
        token = worker.server.offer("it")
        await asyncio.to_thread(began.wait)
        worker.server.cancel_requested.add(token)
        await pass_time(worker, 10.0)
        assert isinstance(await worker.server.outcome(token), Stopped)


async def test_a_lost_lease_stops_the_handler_and_nothing_is_reported() -> None:
    app = App("test")
    began, seen = threading.Semaphore(0), []

    @app.job("plain")
    def plain(ctx: JobContext) -> None:
        began.release()
        try:
            while True:
                ctx.check()
        except LeaseLost:
            seen.append("plain")
            raise

    @app.job("coroutine")
    async def coroutine() -> None:
        began.release()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("coroutine")

    async with working(app, slots=2) as worker:
        tokens = [worker.server.offer("plain"), worker.server.offer("coroutine")]
        for _ in tokens:
            await asyncio.to_thread(began.acquire)
        worker.server.revoke(*tokens)
        await until(lambda: not worker.runtime.running)
        await settled()
        assert sorted(seen) == ["coroutine", "plain"]
        assert (worker.server.reports, worker.server.abandoned) == ([], [])


@pytest.mark.parametrize("answer", ["silence", "no"])
async def test_a_lease_that_is_not_renewed_ends_on_the_workers_own_clock(answer: str) -> None:
    app, clock = App("test"), ManualClock()
    began, ended = threading.Event(), threading.Event()

    @app.job("it")
    async def it() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def cut() -> None:
        raise ConnectionError("cut")

    async with working(app, clock=clock) as worker:
        token = worker.server.offer("it")
        await asyncio.to_thread(began.wait)
        if answer == "silence":
            worker.server.before_update = cut
            for _ in range(29):
                await pass_time(worker, 1.0)
            assert not ended.is_set()
            await pass_time(worker, 1.0)
        else:
            worker.server.forget(token)
            await pass_time(worker, 10.0)
        await until(lambda: not worker.runtime.running)
        assert ended.is_set()
        assert worker.server.reports == []


async def test_a_renewed_lease_does_not_end() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    app.job("it")(gate.wait)
    with gate:
        async with working(app, clock=clock) as worker:
            token = worker.server.offer("it")
            await gate.arrived()
            for _ in range(12):
                await pass_time(worker, 10.0)
            gate.open()
            assert await worker.server.outcome(token) == Success()


# Draining.


async def test_a_drain_lets_running_handlers_finish() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    app.job("it")(gate.wait)
    with gate:
        async with working(app, slots=2, clock=clock, settings=RuntimeSettings(prefetch=1)) as worker:
            first, second, waiting, later = worker.server.offer_many("it", 4)
            await gate.arrived(2)
            drain = asyncio.create_task(worker.runtime.drain(30))
            await worker.server.until(lambda: worker.server.windows[-1] == 0)
            assert await worker.server.outcome(waiting) == Release(reason="the worker is shutting down")
            gate.open()
            await drain
            assert worker.server.outcomes == {
                first: Success(),
                second: Success(),
                waiting: Release(reason="the worker is shutting down"),
            }
            assert later not in worker.server.leased


async def test_a_drain_gives_back_what_does_not_finish_in_time() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    began = threading.Semaphore(0)

    @app.job("deaf")
    def deaf() -> None:
        gate.wait()

    @app.job("coroutine")
    async def coroutine() -> None:
        began.release()
        await asyncio.Event().wait()

    @app.job("messy")
    async def messy() -> None:
        began.release()
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("torn apart")

    @app.job("quick")
    async def quick() -> int:
        began.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 7
        return 0

    with gate:
        async with working(app, clock=clock) as worker:
            tokens = {name: worker.server.offer(name) for name in ("deaf", "coroutine", "messy", "quick")}
            await gate.arrived()
            for _ in range(3):
                await asyncio.to_thread(began.acquire)
            drain = asyncio.create_task(worker.runtime.drain(5))
            await pass_time(worker, 4.9)
            assert not worker.server.outcomes
            await pass_time(worker, 0.2)
            await worker.server.until(lambda: len(worker.server.outcomes) == 3)
            assert not drain.done(), "the deaf one still has half a second"
            await pass_time(worker, 0.6)
            await drain
            assert worker.server.outcomes[tokens["deaf"]] == Release(reason="the worker is shutting down")
            assert worker.server.outcomes[tokens["coroutine"]] == Release(reason="the worker is shutting down")
            assert worker.server.outcomes[tokens["messy"]] == Release(reason="the worker is shutting down")
            assert isinstance(worker.server.outcomes[tokens["quick"]], Success)


async def test_a_drain_waits_until_the_last_outcome_is_acknowledged() -> None:
    app = App("test")
    app.job("it")(lambda: None)
    async with working(app) as worker:
        worker.server.commits.clear()
        token = worker.server.offer("it")
        await worker.server.until(lambda: bool(worker.server.reports))
        drain = asyncio.create_task(worker.runtime.drain(0))
        await settled()
        assert not drain.done()
        worker.server.commits.set()
        await drain
        assert worker.server.outcomes == {token: Success()}


async def test_what_arrives_while_draining_is_given_back() -> None:
    app = App("test")
    ran = []
    app.job("it")(lambda: ran.append(1))
    async with working(app) as worker:
        assert worker.server.inbox is not None
        worker.server.inbox.drain("the server goes away")
        assert await worker.server.outcome(worker.server.offer("it")) == Release(reason="the worker is shutting down")
        assert not ran


async def test_patience_can_be_set() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    app.job("hang")(gate.wait)
    settings = RuntimeSettings(patience=Patience(stop_seconds=10.0, hung_limit=0))
    with gate:
        async with working(app, clock=clock, settings=settings) as worker:
            token = worker.server.offer("hang", timeout_seconds=5.0)
            await gate.arrived()
            await pass_time(worker, 5.1)
            await pass_time(worker, 9.8)
            assert token not in worker.server.outcomes
            await pass_time(worker, 0.3)
            assert await worker.server.outcome(token) == TIMEOUT
            assert not worker.runtime.healthy
