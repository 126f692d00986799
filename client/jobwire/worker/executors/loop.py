"""Async handlers, on an event loop of their own in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import types
from collections import deque
from collections.abc import Coroutine, Generator, Sequence
from contextvars import Context, copy_context
from typing import Any, cast

from jobwire.worker.clock import Clock
from jobwire.worker.executors.base import Post
from jobwire.worker.invoke import invoke_async
from jobwire.worker.run import Run
from jobwire.worker.transport import Outcome

CLEAN_UP_SECONDS = 1.0
"""For handlers that are cancelled because the worker stops."""


class LoopExecutor:
    """A handler that blocks the loop stops the others, but never the runtime: when it is given up, a new loop in a new
    thread takes over."""

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
    """A loop in its thread.

    Handlers that are started together share a task until one of them has to wait for something: then the task is that
    handler's alone, to its end, and the others go on in the next one. So a handler that never waits costs no task, and
    one that does is in the same task from its first line to its last: `current_task`, timeouts and cancellation are
    what they would be with a task for each. Every handler has a context (contextvars) of its own.
    """

    def __init__(self, clock: Clock, post: Post) -> None:
        self._clock = clock
        self._post = post
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[Run, asyncio.Task[None]] = {}
        """Of handlers that wait for something."""
        self._working: set[asyncio.Task[None]] = set()
        """All tasks, for a loop keeps only weak references."""
        self._unfinished = 0
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
        if not self._unfinished:
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
        self._unfinished += len(runs)
        self._go_on(deque(runs))

    def _cancel(self, run: Run) -> None:
        self._deaf_to.discard(run)
        # Whose turn has not come yet is not interrupted: it will see its cause and never call the handler.
        if (task := self._tasks.get(run)) is not None:
            task.cancel()

    def _go_on(self, runs: deque[Run]) -> None:
        """Run these in a task of their own."""
        task = self._loop.create_task(self._work(runs))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, runs: deque[Run]) -> None:
        """Run one after the other, until one has to wait; it has this task to itself then."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        context = copy_context()
        while runs:
            run = runs.popleft()
            own = context.copy()
            coroutine = invoke_async(run, self._clock)
            try:
                awaited = own.run(coroutine.send, None)
            except StopIteration as end:
                outcome: Outcome = end.value
            else:
                if runs:
                    self._go_on(runs)
                    runs = deque()
                self._tasks[run] = task
                outcome = await _rest(coroutine, awaited, own)
                del self._tasks[run]
            self._unfinished -= 1
            self._post((run, outcome))
            if runs and task.cancelling():  # a handler cancelled itself, and ended before it was hit: not the next one
                self._go_on(runs)
                break
        if self._retired and not self._unfinished:
            self._loop.stop()


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, Outcome], awaited: Any, context: Context) -> Generator[Any, Any, Outcome]:
    """Await a coroutine that was begun by hand and waits for `awaited` now, each of its steps in its own context."""
    try:
        while True:
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 (cancellation is thrown in here, and is the handler's to see)
                awaited = context.run(coroutine.throw, error)
            else:
                awaited = context.run(coroutine.send, sent)
    except StopIteration as end:
        return cast("Outcome", end.value)
