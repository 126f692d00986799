"""Async handlers that start together: each is alone with its task, its context and its fate, as far as it can tell."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from jobwire.app import App
from jobwire.worker.transport import Failure, Stopped, Success
from tests.worker.support import Worker, until, working

pytestmark = pytest.mark.asyncio

Script = Callable[[], Awaitable[Any]]
place: ContextVar[str] = ContextVar("place", default="nowhere")


class Latch:
    """Holds handlers back, on their own loop, until the test lets them go."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrivals = threading.Semaphore(0)

    async def wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrivals.release()
        await self._event.wait()

    async def arrived(self) -> None:
        assert await asyncio.to_thread(self._arrivals.acquire, timeout=20)

    def open(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._event.set)


@asynccontextmanager
async def batch(*scripts: Script) -> AsyncIterator[tuple[Worker, list[int]]]:
    """A worker that was given one job for each script, all at once; they run in this order."""
    app, turns = App("test"), itertools.count()

    @app.job("it")
    async def it() -> Any:
        return await scripts[next(turns)]()

    async with working(app, slots=len(scripts)) as worker:
        yield worker, worker.server.offer_many("it", len(scripts))


async def nothing() -> None:
    """A handler that never waits."""


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def test_who_waits_is_in_one_task_from_its_first_line_to_its_last_and_alone_there() -> None:
    latch = Latch()
    tasks: dict[str, list[asyncio.Task[Any]]] = {"waits": [], "other": []}

    async def waits() -> None:
        tasks["waits"].append(this_task())
        await latch.wait()
        tasks["waits"].append(this_task())
        await asyncio.sleep(0)
        tasks["waits"].append(this_task())

    async def other() -> None:
        tasks["other"].append(this_task())

    async with batch(nothing, waits, other, other) as (worker, tokens):
        await latch.arrived()
        for token in (tokens[0], *tokens[2:]):
            assert await worker.server.outcome(token) == Success()
        assert tokens[1] not in worker.server.outcomes
        latch.open()
        assert await worker.server.outcome(tokens[1]) == Success()
    assert len(set(tasks["waits"])) == 1
    assert tasks["waits"][0] not in tasks["other"]


async def test_what_a_handler_sets_in_its_context_is_seen_by_nobody_else_and_by_itself_to_the_end() -> None:
    latch = Latch()
    seen: list[str] = []

    async def settles() -> None:
        seen.append(place.get())
        place.set("here")

    async def stays() -> str:
        seen.append(place.get())
        token = place.set("there")
        await latch.wait()
        inner = await asyncio.create_task(reads())
        mine = place.get()
        place.reset(token)
        return f"{inner} {mine} {place.get()}"

    async def reads() -> str:
        return place.get()

    async with batch(settles, stays, settles, settles) as (worker, tokens):
        await latch.arrived()
        latch.open()
        outcome = await worker.server.outcome(tokens[1])
        assert isinstance(outcome, Success)
        assert outcome.result is not None
        assert outcome.result.data == b'"there there nowhere"'
        for token in tokens:
            await worker.server.outcome(token)
    assert seen == ["nowhere"] * 4


async def test_a_cancel_order_hits_the_handler_that_it_is_for_and_no_other() -> None:
    latches = [Latch(), Latch()]

    async with batch(latches[0].wait, nothing, latches[1].wait) as (worker, tokens):
        for latch in latches:
            await latch.arrived()
        worker.server.order_cancel(tokens[2], "enough")
        assert await worker.server.outcome(tokens[2]) == Stopped("enough")
        assert tokens[0] not in worker.server.outcomes
        latches[0].open()
        assert await worker.server.outcome(tokens[0]) == Success()


async def test_a_cancel_order_for_one_whose_turn_has_not_come_keeps_it_from_being_called() -> None:
    blocked, free = threading.Semaphore(0), threading.Event()
    called: list[str] = []

    async def blocks() -> None:
        blocked.release()
        assert free.wait(20)

    async def called_late() -> None:
        called.append("late")

    async with batch(blocks, called_late) as (worker, tokens):
        assert await asyncio.to_thread(blocked.acquire, timeout=20)
        worker.server.order_cancel(tokens[1], "not wanted")
        free.set()
        assert await worker.server.outcome(tokens[1]) == Stopped("not wanted")
        assert await worker.server.outcome(tokens[0]) == Success()
    assert called == []


async def test_a_timeout_of_asyncio_ends_what_it_is_around_and_nothing_else() -> None:
    async def times_out() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return "never"

    async def has_time() -> str:
        async with asyncio.timeout(60):  # noqa: ASYNC100 (it ends before anything can happen)
            return "done"

    async with batch(has_time, times_out, has_time) as (worker, tokens):
        results = [await worker.server.outcome(token) for token in tokens]
    assert [result.result.data for result in results if isinstance(result, Success) and result.result] == [
        b'"done"', b'"late"', b'"done"',
    ]  # fmt: skip


async def test_a_handler_that_cancels_its_own_task_and_ends_before_it_is_hit_spares_the_next() -> None:
    async def cancels_itself() -> None:
        this_task().cancel()

    async def goes_on() -> str:
        await asyncio.sleep(0)
        return "well"

    async with batch(cancels_itself, goes_on, nothing) as (worker, tokens):
        assert await worker.server.outcome(tokens[0]) == Success()
        second = await worker.server.outcome(tokens[1])
        assert isinstance(second, Success)
        assert await worker.server.outcome(tokens[2]) == Success()


async def test_a_task_group_of_a_handler_works_as_anywhere() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("inner")

    async def groups() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails())
            tasks.create_task(asyncio.sleep(3600))

    async with batch(nothing, groups, nothing) as (worker, tokens):
        failure = await worker.server.outcome(tokens[1])
        assert isinstance(failure, Failure)
        assert failure.error_type == "ExceptionGroup"
        assert await worker.server.outcome(tokens[2]) == Success()


async def test_an_error_of_one_is_its_own_before_and_after_it_waited() -> None:
    async def raises() -> None:
        raise KeyError("at once")

    async def raises_later() -> None:
        await asyncio.sleep(0)
        raise KeyError("later")

    async with batch(raises, raises_later, raises, nothing) as (worker, tokens):
        found = [await worker.server.outcome(token) for token in tokens]
    assert [one.message if isinstance(one, Failure) else one for one in found] == [
        "'at once'", "'later'", "'at once'", Success(),
    ]  # fmt: skip


async def test_a_loop_that_was_given_up_ends_when_the_last_of_its_handlers_has() -> None:
    blocked, free = threading.Semaphore(0), threading.Event()
    threads: list[threading.Thread] = []

    async def blocks() -> None:
        threads.append(threading.current_thread())
        blocked.release()
        assert free.wait(20)

    async with batch(blocks, nothing) as (worker, tokens):
        assert await asyncio.to_thread(blocked.acquire, timeout=20)
        worker.server.revoke(*tokens)
        await until(lambda: worker.runtime.hung == 2)
        free.set()
        await until(lambda: worker.runtime.hung == 0)
        await asyncio.to_thread(threads[0].join, 20)
        assert not threads[0].is_alive()
