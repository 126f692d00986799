"""Async handlers, on an event loop of their own in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from jobwire.worker.clock import Clock
from jobwire.worker.executors.base import Post
from jobwire.worker.invoke import invoke_async
from jobwire.worker.run import Run

CLEAN_UP_SECONDS = 1.0
"""For handlers that are cancelled because the worker stops."""


class LoopExecutor:
    """One task per run. A handler that blocks the loop stops the others, but never the runtime: when it is given up,
    a new loop in a new thread takes over."""

    def __init__(self, *, clock: Clock, post: Post) -> None:
        self._clock = clock
        self._post = post
        self._lane: _Lane | None = None

    def start(self, runs: Sequence[Run]) -> None:
        """See `Executor`."""
        lane = self._lane
        if lane is None:
            lane = self._lane = _Lane(self._clock, self._post)
        for run in runs:
            run.handle = lane
        lane.start(runs)

    def stop(self, run: Run) -> None:
        """See `Executor`: the handler gets a CancelledError."""
        run.handle.cancel(run)

    def kill(self, run: Run) -> bool:  # noqa: ARG002 (the seam's)
        """See `Executor`. A coroutine that swallows its cancellation cannot be ended."""
        return False

    def give_up(self, run: Run) -> None:
        """See `Executor`: if the loop did not even hear the order to stop, it is blocked, and replaced."""
        lane = self._lane
        if lane is not None and lane is run.handle and lane.is_deaf(run):
            lane.retire()
            self._lane = None

    def returned(self, run: Run) -> None:
        """See `Executor`. Nothing to do: a loop that was replaced ends by itself when its last handler does."""

    async def close(self) -> None:
        """See `Executor`: cancels what still runs."""
        if self._lane is not None:
            lane, self._lane = self._lane, None
            lane.close()
            await asyncio.to_thread(lane.thread.join, 2 * CLEAN_UP_SECONDS)


class _Lane:
    """A loop in its thread."""

    def __init__(self, clock: Clock, post: Post) -> None:
        self._clock = clock
        self._post = post
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[Run, asyncio.Task[None]] = {}
        self._deaf_to: set[Run] = set()
        self._retired = False
        self.thread = threading.Thread(target=self._turn, name="jobwire-handler-loop", daemon=True)
        self.thread.start()

    def start(self, runs: Sequence[Run]) -> None:
        self._loop.call_soon_threadsafe(self._begin, runs)

    def cancel(self, run: Run) -> None:
        self._deaf_to.add(run)
        self._loop.call_soon_threadsafe(self._cancel, run)

    def is_deaf(self, run: Run) -> bool:
        return run in self._deaf_to

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def retire(self) -> None:
        """End when the last handler has."""
        self._loop.call_soon_threadsafe(self._retire)

    def _retire(self) -> None:
        self._retired = True
        if not self._tasks:
            self._loop.stop()

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._wind_up()
        finally:
            self._loop.close()

    def _wind_up(self) -> None:
        """Give cancelled handlers one chance to clean up, as asyncio.run does."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=CLEAN_UP_SECONDS))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    def _begin(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._tasks[run] = self._loop.create_task(self._run(run))

    def _cancel(self, run: Run) -> None:
        self._deaf_to.discard(run)
        # Before its first step there is nothing to interrupt: the run sees its cause and never calls the handler.
        if run.started and (task := self._tasks.get(run)) is not None:
            task.cancel()

    async def _run(self, run: Run) -> None:
        outcome = await invoke_async(run, self._clock)
        del self._tasks[run]
        self._post((run, outcome))
        if self._retired and not self._tasks:
            self._loop.stop()
