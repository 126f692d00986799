"""Handlers in child processes, where a time limit is hard and CPU work has a GIL of its own."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from jobwire.worker.attempt import Cause
from jobwire.worker.executors.base import Post
from jobwire.worker.executors.child_process import ChildProcess, told
from jobwire.worker.executors.memory import resident_bytes
from jobwire.worker.frames import Frame, FrameBroken, checkpoint_of, job_frame, outcome_of
from jobwire.worker.run import Event, Run, Sign
from jobwire.worker.text import bounded
from jobwire.worker.transport import Failure, Stopped

_log = logging.getLogger("jobwire.worker")

START_SECONDS = 60.0
"""A child that has not imported the application by then is killed."""
MAX_TRIES = 3
"""Children that a job is offered to before it fails: each of them died without having begun it."""
END_SECONDS = 1.0
"""An idle child that was asked to end is killed after this."""
MEMORY_SECONDS = 0.2
"""How often the memory of busy children is looked at, when it is bounded."""
WORN_SHARE = 0.75
"""A child that holds more than this share of its bound after a job is replaced: the next job would pay for it."""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """When a child is replaced, or killed. None = never."""

    jobs: int | None = None
    """Jobs that one child runs before a new one takes over: for handlers, or libraries of theirs, that leak."""
    memory_bytes: int | None = None
    """Resident memory of a child while it runs a job; beyond it the child is killed, and the job's lease is lost, as
    with any process that dies. (A limit that the kernel keeps would be a MemoryError, which handlers catch.)"""


class ProcessExecutor:
    """At most `limit` children, each kept by a thread of its own and used again for the next job.

    The keeper waits for its child (so the event loop never does) and outlives it: the kernel takes the death of the
    thread that started a process for the death of its parent.
    """

    def __init__(self, *, limit: int, app_path: str, post: Post, limits: ChildLimits = ChildLimits()) -> None:
        self._limit = limit
        self._limits = limits
        self._app_path = app_path
        self._post = post
        self._queue: SimpleQueue[Run | None] = SimpleQueue()
        self._keepers: list[_Keeper] = []
        self._stuck = 0
        self._surplus = 0
        self._closed = threading.Event()

    def start(self, runs: Sequence[Run]) -> None:
        """See `Executor`."""
        for run in runs:
            self._queue.put(run)
        self._grow(len(runs))

    def stop(self, run: Run) -> None:
        """See `Executor`: the child is told; for more than a cancel wish it also gets SIGTERM."""
        if isinstance(keeper := run.handle, _Keeper):
            keeper.stop(run)

    def kill(self, run: Run) -> bool:
        """See `Executor`: SIGKILL, for the child and all that it started."""
        if isinstance(keeper := run.handle, _Keeper):
            keeper.kill()
        return True

    def give_up(self, run: Run) -> None:  # noqa: ARG002 (the seam's)
        """See `Executor`: even SIGKILL has to wait for a process that hangs in the kernel."""
        self._stuck += 1

    def returned(self, run: Run) -> None:  # noqa: ARG002 (the seam's)
        """See `Executor`."""
        self._stuck -= 1
        self._surplus += 1
        self._queue.put(None)

    async def close(self) -> None:
        """See `Executor`. Busy children are killed; idle ones are asked to end, and killed if they do not."""
        self._closed.set()
        for keeper in self._keepers:
            self._queue.put(None)
            keeper.kill_if_busy()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for keeper in self._keepers:
            keeper.thread.join(3 * END_SECONDS)  # after one of them the child is killed

    def _grow(self, wanted: int) -> None:
        if self._closed.is_set():
            return
        if not self._keepers and self._limits.memory_bytes is not None:
            threading.Thread(target=self._watch_memory, args=(self._limits.memory_bytes,), daemon=True).start()
        room = self._limit + self._stuck + self._surplus - len(self._keepers)
        for _ in range(min(wanted, room)):
            keeper = _Keeper(self._app_path, self._queue, self._post, self._limits)
            self._keepers.append(keeper)
            keeper.thread.start()

    def _watch_memory(self, limit_bytes: int) -> None:
        """Kill busy children that grow beyond the limit, until the executor is closed."""
        while not self._closed.wait(MEMORY_SECONDS):
            for keeper in list(self._keepers):
                keeper.bound_memory(limit_bytes)


class _Keeper:
    """A thread that keeps one child at a time busy."""

    def __init__(self, app_path: str, runs: SimpleQueue[Run | None], post: Post, limits: ChildLimits) -> None:
        self._app_path = app_path
        self._limits = limits
        self._runs = runs
        self._post = post
        self._child: ChildProcess | None = None
        self._busy = False
        # Stop orders come from the event loop: this lock is never held while anything waits for a child.
        self._stopping = threading.Lock()
        self.thread = threading.Thread(target=self.work, name="jobwire-child-keeper", daemon=True)

    # On the keeper's thread.

    def work(self) -> None:
        """Serve runs until told to end."""
        while (run := self._runs.get()) is not None:
            self._busy = True
            event = self._serve_safely(run)
            self._busy = False
            self._post((run, event))
            if self._is_worn():
                self._part(END_SECONDS)
        self._part(END_SECONDS)

    def _is_worn(self) -> bool:
        """Whether the child, idle now, has had its time."""
        child, limits = self._child, self._limits
        if child is None:
            return False
        if limits.jobs is not None and child.jobs_done >= limits.jobs:
            return True
        return limits.memory_bytes is not None and resident_bytes(child.pid) > WORN_SHARE * limits.memory_bytes

    def _serve_safely(self, run: Run) -> Event:
        try:
            return self._serve(run)
        except Exception as error:  # noqa: BLE001 (a keeper must not die: a slot would die with it)
            _log.exception("The child process for job %s is of no use.", run.assignment.job_id)
            self._part(0)
            return Failure("CHILD_UNUSABLE", bounded(f"The child process could not be used: {error}", 1024))

    def _serve(self, run: Run) -> Event:
        run.handle = self
        for _ in range(MAX_TRIES):
            if run.must_stop():
                return Stopped(run.reason)
            child = self._child or self._begin()
            if isinstance(child, Failure):
                return child
            if (event := self._hand_over(child, run)) is not None:
                return event
        return Failure("CHILD_UNUSABLE", f"{MAX_TRIES} child processes died before they could begin the job.")

    def _hand_over(self, child: ChildProcess, run: Run) -> Event | None:
        """Have the child run it. None when the child died (while it was idle, most likely) without having begun."""
        try:
            child.say(job_frame(run))
        except BrokenPipeError:
            self._part(0)
            return None
        with self._stopping:
            child.running = run
        if run.must_stop():  # the order came while the child was starting
            self.stop(run)
        end, begun = self._follow(child, run)
        if end is not None:
            return self._take(child, run, end)
        code = self._part(0)
        if not begun:
            return None
        why = told(code)
        if child.grew_to_bytes is not None:
            why = f"it was killed, for it used {child.grew_to_bytes} bytes of memory, more than its limit"
        job = run.assignment
        _log.warning("The child process that ran job %s (%s) died: %s.", job.job_id, job.type, why)
        return Sign.DIED

    def _follow(self, child: ChildProcess, run: Run) -> tuple[Event | None, bool]:
        """Listen until the run is over: how it ended, None when the child died, and whether it had begun."""
        begun = False
        while (frame := child.read()) is not None:
            match frame.kind:
                case "began":
                    begun = True
                    self._post((run, Sign.BEGAN))
                case "progress":
                    run.tell(*frame.header["progress"])
                case "checkpoint":
                    run.save(checkpoint_of(frame))
                case "outcome":
                    return outcome_of(frame), True
                case "unknown":
                    return Sign.UNKNOWN, False
                case strange:
                    raise FrameBroken(f"It said {strange!r}, which means nothing.")
        return None, begun

    def _take(self, child: ChildProcess, run: Run, end: Event) -> Event:
        """The run is over; so is its child when it was interrupted: it leaves by itself."""
        with self._stopping:
            child.running = None
            child.jobs_done += 1
        if run.cause not in {None, Cause.CANCEL}:
            self._part(END_SECONDS)
        return end

    def _begin(self) -> ChildProcess | Failure:
        """Start a child and wait until it has imported the application."""
        child = ChildProcess()
        with self._stopping:
            self._child = child
        late = threading.Timer(START_SECONDS, child.signal, (signal.SIGKILL,))
        late.daemon = True
        late.start()
        try:
            child.say(Frame({"is": "init", "app": self._app_path, "import_path": sys.path}))
            frame = child.read()
        except BrokenPipeError:
            frame = None
        finally:
            late.cancel()
        if frame is not None and frame.kind == "ready":
            return child
        code = self._part(END_SECONDS if frame else 0)
        if frame is not None and frame.kind == "broken":
            message = f"The child process cannot import {self._app_path}: {frame.header['message']}"
            return Failure("CHILD_NOT_STARTED", bounded(message, 1024), str(frame.header["detail"]))
        return Failure("CHILD_NOT_STARTED", f"The child process died before it was ready: {told(code)}.")

    def _part(self, patience_seconds: float) -> int | None:
        """Be rid of the child; returns its exit code."""
        with self._stopping:
            child, self._child = self._child, None
        return None if child is None else child.end(patience_seconds)

    # On the event loop.

    def stop(self, run: Run) -> None:
        """Tell the child to stop this run, if it has it."""
        with self._stopping:
            child = self._child
            if child is not None and child.running is run and run.cause is not None:
                child.stop(run.cause, run.reason)

    def kill(self) -> None:
        """End the child, whatever it does."""
        with self._stopping:
            if self._child is not None:
                self._child.signal(signal.SIGKILL)

    def kill_if_busy(self) -> None:
        """End the child if it has a job."""
        if self._busy:
            self.kill()

    # On the thread that watches memory.

    def bound_memory(self, limit_bytes: int) -> None:
        """Kill the child if it is busy and beyond its limit."""
        with self._stopping:
            child = self._child
            if child is None or child.running is None:
                return
            size_bytes = resident_bytes(child.pid)
            if size_bytes > limit_bytes:
                child.grew_to_bytes = size_bytes
                child.signal(signal.SIGKILL)
