"""Repeating and waiting on the injected clock."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.kernel.loop import Backoff, Rhythm, background, every, wait_any
from tests.engine.conftest import eventually
from tests.helpers.clock import ManualClock

pytestmark = pytest.mark.asyncio


class Steps:
    """A step that says when it ran and wants what it is told."""

    def __init__(self, clock: ManualClock, *wishes: float | None) -> None:
        self.clock = clock
        self.wishes = list(wishes)
        self.at: list[float] = []
        self.stop = asyncio.Event()
        self.wake = asyncio.Event()

    async def __call__(self) -> float | None:
        self.at.append(self.clock.monotonic())
        if not self.wishes:
            self.stop.set()
            return None
        return self.wishes.pop(0)

    async def run(self, **settings: object) -> list[float]:
        rhythm = Rhythm(10.0, 0.2)
        task = asyncio.create_task(
            every(
                self,
                rhythm,
                clock=self.clock,
                chance=lambda: 0.5,
                stop=self.stop,
                wake=self.wake,
                **settings,  # type: ignore[arg-type]
            )
        )
        while not task.done():
            await asyncio.sleep(0)
            seconds = self.clock.seconds_to_next()
            if seconds is not None:
                self.clock.advance(seconds)
        await task
        return self.at


async def test_the_first_step_comes_after_a_random_part_of_the_interval_and_waits_are_jittered(
    clock: ManualClock,
) -> None:
    assert await Steps(clock, None, None).run() == [5.0, 14.0, 23.0]


async def test_a_step_may_ask_for_its_next_turn(clock: ManualClock) -> None:
    assert await Steps(clock, 0.0, 2.0).run() == [5.0, 5.0, 7.0]


async def test_a_bell_ends_the_wait(clock: ManualClock) -> None:
    steps = Steps(clock)
    steps.wake.set()

    assert await steps.run() == [0.0]


async def test_errors_that_may_pass_are_paused_for_and_counted_in_a_row(clock: ManualClock) -> None:
    steps, seen = Steps(clock, None, None), []
    really = steps.__call__

    async def failing() -> float | None:
        if len(seen) < 2:
            raise OSError("away")
        return await really()

    def on_error(error: Exception, failures: int) -> float | None:
        seen.append((str(error), failures))
        return 1.0

    task = asyncio.create_task(
        every(failing, Rhythm(10.0, 0.0), clock=clock, chance=lambda: 0.0, stop=steps.stop, on_error=on_error)
    )
    while not task.done():
        await asyncio.sleep(0)
        clock.advance(clock.seconds_to_next() or 0.0)

    assert seen == [("away", 1), ("away", 2)]
    assert steps.at == [2.0, 12.0, 22.0]


async def test_an_error_without_a_policy_is_raised(clock: ManualClock) -> None:
    async def broken() -> float | None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await every(broken, Rhythm(10.0), clock=clock, chance=lambda: 0.0, stop=asyncio.Event())


async def test_stopping_ends_a_wait_at_once(clock: ManualClock) -> None:
    steps = Steps(clock)
    task = asyncio.create_task(every(steps, Rhythm(10.0), clock=clock, chance=lambda: 1.0, stop=steps.stop))
    await asyncio.sleep(0)

    steps.stop.set()
    await task

    assert steps.at == []


async def test_waiting_for_any_leaves_no_task_behind(clock: ManualClock) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    before = len(asyncio.all_tasks())

    waiting = asyncio.create_task(wait_any(first, second, seconds=5.0, clock=clock))
    await eventually(lambda: clock.seconds_to_next() == 5.0)
    second.set()
    await waiting

    await eventually(lambda: len(asyncio.all_tasks()) == before)


async def test_background_work_that_fails_is_told_at_once_and_does_not_hide_the_body() -> None:
    faults: list[tuple[str, str]] = []
    failed = asyncio.Event()

    def on_failure(name: str, error: BaseException) -> None:
        faults.append((name, str(error)))
        failed.set()

    async def work() -> None:
        raise OSError("broken")

    async with background(work(), "the work", on_failure):
        await failed.wait()

    assert faults == [("the work", "broken")]


async def test_backoff_grows_to_its_bound_and_never_overflows() -> None:
    backoff = Backoff()

    assert [backoff.after(n) for n in (1, 2, 3)] == pytest.approx([0.05, 0.075, 0.1125])
    assert backoff.after(13) == backoff.after(10**9) == 5.0
