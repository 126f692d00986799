"""The worker's side of a launcher."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from jobwire.worker.executors.child_process import child_environment
from jobwire.worker.programs import launcher

END_SECONDS = 5.0
"""A launcher whose socket is closed ends at once; one that does not by then is killed."""


class NotStarted(Exception):
    """The program cannot be started; the text says why, as the system has it."""


class LauncherGone(Exception):
    """The launcher died: whoever killed it has killed the program as well, or will never hear of it."""


class Launching:
    """A launcher and the socket that leads to it. One thread starts programs and reads; any may signal."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._link = ours
        self._sending = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and script)
                [sys.executable, "-I", "-S", "-B", launcher.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl+C is for the worker, which drains
                env=child_environment(os.environ),
            )

    def fileno(self) -> int:
        """What to wait at for `ended`."""
        return self._link.fileno()

    def start(self, argv: Sequence[str], environment: Mapping[str, str], files: Sequence[int]) -> int:
        """Start a program; returns its process id, which is its group's as well. Raises NotStarted, LauncherGone."""
        body = json.dumps({"start": [list(argv), dict(environment)]}).encode()
        with self._sending:
            try:
                head = launcher.LENGTH.pack(len(body))
                sent = socket.send_fds(self._link, [head], list(files))
                self._link.sendall(head[sent:] + body)
            except OSError as error:
                raise LauncherGone from error
        answer = self._hear()
        if "failed" in answer:
            raise NotStarted(answer["failed"])
        return int(answer["started"])

    def ended(self) -> int:
        """Wait for the end of the program; returns its exit code, or the negative number of the signal that killed it.

        Raises LauncherGone.
        """
        return os.waitstatus_to_exitcode(self._hear()["ended"])

    def signal(self, number: signal.Signals) -> None:
        """Signal the program and its group, if it runs. Safe from any thread, and never waits for the program."""
        body = json.dumps({"signal": int(number)}).encode()
        with self._sending:
            try:
                self._link.sendall(launcher.LENGTH.pack(len(body)) + body)
            except OSError:
                return  # it is gone, and whoever reads will find out

    def close(self) -> None:
        """End the launcher, and with it what it started."""
        self._link.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _hear(self) -> dict[str, Any]:
        try:
            length = launcher.LENGTH.unpack(self._read(launcher.LENGTH.size))[0]
            answer: dict[str, Any] = json.loads(self._read(length))
        except OSError as error:
            raise LauncherGone from error
        return answer

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self._link.recv(length - len(data))
            if not piece:
                raise LauncherGone
            data += piece
        return data
