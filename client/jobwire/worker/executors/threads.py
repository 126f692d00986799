"""Plain handlers, in threads of our own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import Context
from queue import SimpleQueue

from jobwire.worker.clock import Clock
from jobwire.worker.executors.base import Post
from jobwire.worker.invoke import invoke
from jobwire.worker.run import Run


class ThreadExecutor:
    """At most `limit` threads that work, and one more for each that hangs.

    The threads take runs from one queue, so that a burst of short ones is done by a single thread without a switch
    for each; a thread that finds more work wakes the next. They are daemons: a handler that hangs must not keep the
    process from ending.
    """

    def __init__(self, *, limit: int, clock: Clock, post: Post) -> None:
        self._limit = limit
        self._clock = clock
        self._post = post
        self._queue: SimpleQueue[Run | None] = SimpleQueue()
        self._threads = 0
        self._hung = 0
        self._closed = False

    def start(self, runs: Sequence[Run]) -> None:
        """See `Executor`."""
        for run in runs:
            self._queue.put(run)
        self._grow(len(runs))

    def stop(self, run: Run) -> None:
        """See `Executor`. Nothing to do: `JobContext.check` reads the cause."""

    def kill(self, run: Run) -> bool:  # noqa: ARG002 (the seam's)
        """See `Executor`. Threads cannot be killed."""
        return False

    def give_up(self, run: Run) -> None:  # noqa: ARG002 (the seam's)
        """See `Executor`: the thread is written off, and the next run may have a new one."""
        self._hung += 1

    def returned(self, run: Run) -> None:  # noqa: ARG002 (the seam's)
        """See `Executor`: the thread is back, so one too many."""
        self._hung -= 1
        self._threads -= 1
        self._queue.put(None)

    async def close(self) -> None:
        """See `Executor`. Idle threads end at once, busy ones with their handler."""
        self._closed = True
        for _ in range(self._threads):
            self._queue.put(None)

    def _grow(self, wanted: int) -> None:
        if self._closed:
            return
        for _ in range(min(wanted, self._limit + self._hung - self._threads)):
            self._threads += 1
            threading.Thread(target=self._work, name=f"jobwire-handler-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        take, post, clock = self._queue.get, self._post, self._clock
        while (run := take()) is not None:
            post((run, Context().run(invoke, run, clock)))
