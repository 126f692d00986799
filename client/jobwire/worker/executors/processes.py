"""Handlers in child processes, where a time limit is hard and CPU work has a GIL of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import BinaryIO, cast

from jobwire.worker.attempt import Cause
from jobwire.worker.executors.base import Post
from jobwire.worker.frames import Frame, FrameBroken, checkpoint_of, job_frame, outcome_of, read_frame, write_frame
from jobwire.worker.run import Event, Run, Sign
from jobwire.worker.text import bounded
from jobwire.worker.transport import Failure, Outcome, Stopped

_log = logging.getLogger("jobwire.worker")

START_SECONDS = 60.0
"""A child that has not imported the application by then is killed."""
MAX_TRIES = 3
"""Children that a job is offered to before it fails: each of them died without having begun it."""
END_SECONDS = 1.0
"""An idle child that was asked to end is killed after this."""


class ProcessExecutor:
    """At most `limit` children, each kept by a thread of its own and used again for the next job.

    The keeper waits for its child (so the event loop never does) and outlives it: the kernel takes the death of the
    thread that started a process for the death of its parent.
    """

    def __init__(self, *, limit: int, app_path: str, post: Post) -> None:
        self._limit = limit
        self._app_path = app_path
        self._post = post
        self._queue: SimpleQueue[Run | None] = SimpleQueue()
        self._keepers: list[_Keeper] = []
        self._stuck = 0
        self._surplus = 0
        self._closed = False

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
        self._closed = True
        for keeper in self._keepers:
            self._queue.put(None)
            keeper.kill_if_busy()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for keeper in self._keepers:
            keeper.thread.join(3 * END_SECONDS)  # after one of them the child is killed

    def _grow(self, wanted: int) -> None:
        if self._closed:
            return
        room = self._limit + self._stuck + self._surplus - len(self._keepers)
        for _ in range(min(wanted, room)):
            keeper = _Keeper(self._app_path, self._queue, self._post)
            self._keepers.append(keeper)
            keeper.thread.start()


class _Keeper:
    """A thread that keeps one child at a time busy."""

    def __init__(self, app_path: str, runs: SimpleQueue[Run | None], post: Post) -> None:
        self._app_path = app_path
        self._runs = runs
        self._post = post
        self._child: _Process | None = None
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
        self._part(END_SECONDS)

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

    def _hand_over(self, child: _Process, run: Run) -> Event | None:
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
        outcome, begun = self._follow(child, run)
        if outcome is not None:
            return self._take(child, run, outcome)
        code = self._part(0)
        if not begun:
            return None
        job = run.assignment
        _log.warning("The child process that ran job %s (%s) died: %s.", job.job_id, job.type, _told(code))
        return Sign.DIED

    def _follow(self, child: _Process, run: Run) -> tuple[Outcome | None, bool]:
        """Listen until the run is over: its outcome, None when the child died, and whether it had begun."""
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
                case strange:
                    raise FrameBroken(f"It said {strange!r}, which means nothing.")
        return None, begun

    def _take(self, child: _Process, run: Run, outcome: Outcome) -> Outcome:
        """The run is over; so is its child when it was interrupted: it leaves by itself."""
        with self._stopping:
            child.running = None
        if run.cause not in {None, Cause.CANCEL}:
            self._part(END_SECONDS)
        return outcome

    def _begin(self) -> _Process | Failure:
        """Start a child and wait until it has imported the application."""
        child = _Process()
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
        return Failure("CHILD_NOT_STARTED", f"The child process died before it was ready: {_told(code)}.")

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


class _Process:
    """One child process and its pipes."""

    def __init__(self) -> None:
        """Start it: a new interpreter in a session of its own, with no file of ours but the pipes and stderr."""
        self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-m", "jobwire.worker.child", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            close_fds=True,
            start_new_session=True,
            env=child_environment(os.environ),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._target = self._process.stdin.fileno()
        self._source = cast("BinaryIO", os.fdopen(os.dup(self._process.stdout.fileno()), "rb"))
        self._signalling = threading.Lock()
        self._reaped = False
        self.running: Run | None = None
        """The run that it was sent, which stop orders are for."""

    def say(self, frame: Frame) -> None:
        """Write a frame; waits while the pipe is full."""
        write_frame(self._target, frame)

    def read(self) -> Frame | None:
        """Read a frame; None when the child is gone."""
        return read_frame(self._source)

    def stop(self, cause: Cause, reason: str) -> None:
        """Pass a stop order on, without waiting: a pipe that takes a byte takes an order (PIPE_BUF), and one that
        takes none belongs to a child that does not read, which only a signal can reach."""
        order = Frame({"is": "stop", "cause": int(cause), "reason": reason[:300]})
        writable = select.poll()
        writable.register(self._target, select.POLLOUT)
        try:
            if writable.poll(0):
                write_frame(self._target, order)
        except OSError:
            return  # it is gone, and its keeper will say so
        if cause is not Cause.CANCEL:
            self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child (SIGKILL: to all that it started, too), unless it was reaped already."""
        with self._signalling:
            if self._reaped:
                return
            try:
                if number is signal.SIGKILL:
                    os.killpg(self._process.pid, number)
                else:
                    os.kill(self._process.pid, number)
            except ProcessLookupError:
                return

    def end(self, patience_seconds: float) -> int:
        """Ask it to end, kill it after the patience, and reap it. Returns its exit code."""
        if patience_seconds:
            try:
                self.say(Frame({"is": "end"}))
            except OSError:
                patience_seconds = 0
        killer = threading.Timer(patience_seconds, self.signal, (signal.SIGKILL,))
        killer.daemon = True
        killer.start()
        # Waiting without reaping: as long as it is a zombie, nobody else can get its number.
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        killer.cancel()
        self.signal(signal.SIGKILL)  # what it started and left behind
        with self._signalling:
            self._reaped = True
            code = self._process.wait()
        self._source.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return code


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child may see: all but our own settings, which may hold secrets; the address is none."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("JOBWIRE_") or name == "JOBWIRE_ADDRESS"
    }


def _told(code: int | None) -> str:
    if code is None:
        return "it is gone"
    if code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
