"""Waiting and repeating, on the injected clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from jobwire_server.kernel.clock import Clock

Chance = Callable[[], float]
"""A source of random numbers in [0, 1)."""


class Backoff(NamedTuple):
    """How long to wait between tries that fail: `first_seconds`, then × `factor`, at most `max_seconds`."""

    first_seconds: float = 0.05
    factor: float = 1.5
    max_seconds: float = 5.0

    def after(self, failures: int) -> float:
        """Return the wait after the `failures`-th failure in a row (1, 2, …)."""
        exponent = min(failures - 1, 64)  # the bound is reached long before; this only keeps the power finite
        return min(self.first_seconds * self.factor**exponent, self.max_seconds)


DEFAULT_BACKOFF: Final = Backoff()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop where there is one (docs/adr/0010); None = asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not installed on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def wait_any(*events: asyncio.Event, seconds: float | None, clock: Clock) -> None:
    """Wait until one of `events` is set or `seconds` have passed on `clock` (None = no limit).

    For paths that wait seldom: it makes a task for each. A cancelled caller leaves none of them behind.
    """
    if any(event.is_set() for event in events):
        return
    waits: list[Coroutine[Any, Any, Any]] = [event.wait() for event in events]
    if seconds is not None:
        waits.append(clock.sleep(seconds))
    tasks = [asyncio.create_task(each, name="wait-any") for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


class Rhythm(NamedTuple):
    """How often a step runs. A step may itself ask to be called sooner."""

    interval_seconds: float
    jitter: float = 0.1
    """Part of each wait that is drawn, so that loops do not march in step."""


async def every(
    step: Callable[[], Awaitable[float | None]],
    rhythm: Rhythm,
    *,
    clock: Clock,
    chance: Chance,
    stop: asyncio.Event,
    wake: asyncio.Event | None = None,
    on_error: Callable[[Exception, int], float | None] | None = None,
) -> None:
    """Run `step` again and again until `stop` is set; the step that runs then is finished first.

    The first run comes after a random part of the interval. A step returns the seconds until it wants to run again
    (0 = at once, there is more to do), or None for the usual interval. `wake` (cleared here) ends a wait early.
    `on_error(error, failures in a row)` returns how long to pause, or None when the error is not to be survived;
    without it every error is raised.
    """
    failures = 0
    pause = rhythm.interval_seconds * chance()
    bell = wake if wake is not None else asyncio.Event()
    while not await _pause(pause, clock, stop, bell):
        bell.clear()
        try:
            wanted = await step()
        except Exception as error:
            failures += 1
            wanted = on_error(error, failures) if on_error is not None else None
            if wanted is None:
                raise
        else:
            failures = 0
        if wanted is None:
            wanted = rhythm.interval_seconds * (1.0 - rhythm.jitter * chance())
        pause = wanted


async def _pause(seconds: float, clock: Clock, stop: asyncio.Event, bell: asyncio.Event) -> bool:
    """Wait for the time or the bell. True when it is time to stop."""
    if seconds <= 0:
        await clock.sleep(0)
    else:
        await wait_any(stop, bell, seconds=seconds, clock=clock)
    return stop.is_set()


@asynccontextmanager
async def background(
    work: Coroutine[Any, Any, None], name: str, on_failure: Callable[[str, BaseException], None]
) -> AsyncIterator[asyncio.Task[None]]:
    """Run `work` beside the body; cancel it when the body ends, and wait until it has.

    A work that fails tells `on_failure` at once, since nobody awaits it before the end.
    """
    task = asyncio.create_task(work, name=name)

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            on_failure(name, error)

    task.add_done_callback(ended)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))
