"""The child process that runs handlers with `runner="process"`, one job at a time: `python -m jobwire.worker.child`.

It speaks frames on the pipes it was born with (moved away from stdin and stdout, which a handler may use: what it
prints goes to stderr). It never outlives its worker: the kernel kills it when the worker dies (Linux), and a thread
that reads the pipe ends it at end of file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import sys
import threading
from asyncio import Runner, current_task
from asyncio import Task as AsyncTask
from collections.abc import Mapping
from contextvars import Context
from types import FrameType
from typing import Any, BinaryIO, NoReturn

from jobwire.worker.attempt import Attempt, Cause
from jobwire.worker.clock import Clock, SystemClock
from jobwire.worker.frames import (
    Frame,
    FrameBroken,
    assignment_of,
    checkpoint_frame,
    outcome_frame,
    read_frame,
    write_frame,
)
from jobwire.worker.handler import Handler
from jobwire.worker.invoke import failure_of, invoke, invoke_async, outcome_of_error
from jobwire.worker.loading import find
from jobwire.worker.run import Run
from jobwire.worker.steering import Cancelled
from jobwire.worker.transport import Failure, Outcome

PROGRESS_PAUSE_SECONDS = 0.05

_PR_SET_PDEATHSIG = 1


class Child:
    """Reads jobs, runs them in the main thread, and tells how they ended."""

    def __init__(self, source: BinaryIO, target: int, clock: Clock) -> None:
        self._source = source
        self._target = target
        self._clock = clock
        self._handlers: Mapping[str, Handler[..., Any]] = {}
        self._jobs: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._run: Run | None = None
        self._task: AsyncTask[Any] | None = None
        self._runner = Runner()
        self._interruptible = False
        self._leaving = False
        self._moved = threading.Event()

    def serve(self) -> int:
        """Work until told to end; returns the exit code."""
        init = read_frame(self._source)
        if init is None:
            return 0
        # Before the application is imported: that may take long, and the worker may die meanwhile.
        threading.Thread(target=self._listen, name="jobwire-child-listener", daemon=True).start()
        sys.path[:] = init.header["import_path"]
        try:
            self._handlers = find(init.header["app"]).handlers
        except BaseException as error:  # noqa: BLE001 (whatever importing an application raises, the worker is told)
            fault = failure_of(error)
            self._say(
                Frame({"is": "broken", "message": f"{fault.error_type}: {fault.message}", "detail": fault.detail})
            )
            return 1
        threading.Thread(target=self._pass_progress_on, name="jobwire-child-progress", daemon=True).start()
        signal.signal(signal.SIGTERM, self._interrupt)
        self._say(Frame({"is": "ready"}))
        while not self._leaving and (frame := self._jobs.get()) is not None:
            self._do(frame)
        self._runner.close()
        return 0

    def _do(self, frame: Frame) -> None:
        assignment = assignment_of(frame)
        handler = self._handlers.get(assignment.type)
        if handler is None:
            self._say(Frame({"is": "unknown"}))
            return
        run = Run(assignment, handler, self._note_progress)
        if assignment.timeout_seconds is not None:
            run.deadline = self._clock.monotonic() + assignment.timeout_seconds
        self._run = run
        self._say(Frame({"is": "began"}))
        outcome = self._outcome_of(run)
        self._run = self._task = None
        self._pass_checkpoint_on(run)
        try:
            self._say(outcome_frame(outcome))
        except FrameBroken as error:
            self._say(outcome_frame(Failure("RESULT_UNFIT", f"The result is too large: {error}", retryable=False)))

    def _outcome_of(self, run: Run) -> Outcome:
        try:
            self._interruptible = True
            if run.handler.is_async:
                return self._runner.run(self._async(run))
            return Context().run(invoke, run, self._clock)
        except BaseException as error:  # noqa: BLE001 (an interrupt that came between our own lines, too)
            return outcome_of_error(run, error)
        finally:
            self._interruptible = False

    async def _async(self, run: Run) -> Outcome:
        self._task = current_task()
        return await invoke_async(run, self._clock)

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        """SIGTERM: the worker has lost its patience. Clean up and leave; what is left after its grace is killed."""
        self._leaving = True
        run = self._run
        if run is None:
            os._exit(0)
        # Who has heard it already is cleaning up, and must not be disturbed: async handlers are cancelled by the order
        # that comes with the signal, plain ones may have seen it in `check`.
        if self._interruptible and not run.handler.is_async and not run.obeying:
            run.cause = run.cause or Cause.DRAIN
            self._interruptible = False
            raise Cancelled(run.reason)

    def _listen(self) -> None:
        """Read what the worker says. When it is gone, everything ends here and now."""
        try:
            while (frame := read_frame(self._source)) is not None:
                self._hear(frame)
        finally:
            end_at_once()

    def _hear(self, frame: Frame) -> None:
        match frame.kind:
            case "job":
                self._jobs.put(frame)
            case "end":
                self._jobs.put(None)
            case "stop":
                self._stop(Cause(frame.header["cause"]), str(frame.header["reason"]))
            case strange:
                raise FrameBroken(f"The worker said {strange!r}, which means nothing.")

    def _stop(self, cause: Cause, reason: str) -> None:
        run, task = self._run, self._task
        if run is None or (run.cause is not None and cause <= run.cause):
            return  # it ended just now, or was told already
        run.reason = reason
        run.cause = cause
        if task is not None:
            self._runner.get_loop().call_soon_threadsafe(task.cancel)

    def _note_progress(self, _attempt: Attempt) -> None:
        self._moved.set()

    def _pass_progress_on(self) -> None:
        """Send the newest progress and the newest checkpoint, not every one."""
        pause = threading.Event()
        while self._moved.wait():
            self._moved.clear()
            if (run := self._run) is not None:
                self._pass_checkpoint_on(run)
                with self._writing:
                    # Not after its outcome: the worker would take it for the next job's.
                    if self._run is run and (progress := run.progress) is not run.told:
                        run.told = progress
                        write_frame(self._target, Frame({"is": "progress", "progress": progress}))
            pause.wait(PROGRESS_PAUSE_SECONDS)

    def _pass_checkpoint_on(self, run: Run) -> None:
        """Send the run's newest checkpoint if it was not sent: by the thread above, or right before the outcome."""
        with self._writing, contextlib.suppress(FrameBroken):  # one that is too long for the pipe is lost
            if (checkpoint := run.unsaved()) is not None:
                run.kept = checkpoint
                write_frame(self._target, checkpoint_frame(checkpoint))

    def _say(self, frame: Frame) -> None:
        with self._writing:
            write_frame(self._target, frame)


def end_at_once() -> NoReturn:
    """End this process and all that it started, without another line of Python in any other thread."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def die_with(parent_pid: int) -> None:
    """See to it that this process does not outlive its worker, whatever a handler does with the GIL."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the line above
        end_at_once()


def take_pipes() -> tuple[BinaryIO, int]:
    """Move the pipes away from stdin and stdout; the copies are not inherited by what a handler starts."""
    source, target = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(source, "rb"), target


def main() -> int:
    """Entry point: the worker's process id is the only argument."""
    die_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = take_pipes()
    return Child(source, target, SystemClock()).serve()


if __name__ == "__main__":
    sys.exit(main())
