"""A child process of the worker: its pipes, its signals, its end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import BinaryIO, cast

from jobwire.contexts import CLIENT_VARIABLES
from jobwire.worker.attempt import Cause
from jobwire.worker.frames import Frame, read_frame, write_frame
from jobwire.worker.run import Run


class ChildProcess:
    """One child process and its pipes, as its keeper and the event loop see it."""

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
        self.jobs_done = 0
        self.grew_to_bytes: int | None = None
        """Its memory when it was killed for it."""

    @property
    def pid(self) -> int:
        """Process id; means nothing once it was ended."""
        return self._process.pid

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
    """What a child may see: all but our own settings, which may hold secrets; those of a client hold none."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("JOBWIRE_") or name in CLIENT_VARIABLES
    }


def told(code: int | None) -> str:
    """Say how a process ended."""
    if code is None:
        return "it is gone"
    if code < 0:
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
