"""Starts programs for one slot of a worker, one at a time, and lets none of them outlive it.

A script of its own, run as `python -I -S launcher.py FD`: it imports nothing of ours, and takes no part in the worker's
threads and locks. Its process is the parent of the programs, so it alone may signal them: a number is theirs until it
has been waited for. When the worker is gone, whatever way it went, the socket FD is at its end: then the program and
all of its process group are killed.

Messages are 4 bytes of length and JSON. From the worker: `{"start": [argv, environment]}` with the files for 0, 1, 2
and 3 attached, `{"signal": number}`. To the worker: `{"started": pid}` or `{"failed": text}`, then `{"ended": status}`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
from typing import Any

LENGTH = struct.Struct(">I")
FILES = 4
"""What a program is given: stdin, stdout, stderr, and where it tells of its progress."""
_ABOVE_FILES = 10


class Launcher:
    """One program at a time."""

    def __init__(self, link: socket.socket) -> None:
        link.set_inheritable(False)
        self._link = link
        self._child_ended, wake = os.pipe()
        os.set_blocking(self._child_ended, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Do what the worker says until it is gone."""
        while (said := self._hear()) is not None:
            order, files = said
            if "start" not in order:
                continue  # a signal for a program that ended meanwhile
            try:
                argv, environment = order["start"]
                pid = _start(argv, environment, files)
            except (OSError, ValueError) as error:
                self._say({"failed": getattr(error, "strerror", None) or str(error)})
                continue
            try:
                self._say({"started": pid})
                status = self._follow(pid)
            except BaseException:  # the worker is gone, in the middle of a word or not
                _signal_group(pid, signal.SIGKILL)
                raise
            self._say({"ended": status})

    def _follow(self, pid: int) -> int:
        """Pass signals on until the program has ended; returns its status as `waitpid` has it."""
        while True:
            ready, _, _ = select.select([self._link.fileno(), self._child_ended], [], [])
            if self._link.fileno() in ready:
                said = self._hear()
                if said is None:
                    raise ConnectionError("the worker is gone")
                _signal_group(pid, said[0]["signal"])
            if self._child_ended in ready:
                os.read(self._child_ended, 4096)
            # Looked at before it is waited for: until then nobody else can have its number, nor its group's.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                _signal_group(pid, signal.SIGKILL)  # what it started and left behind
                return os.waitpid(pid, 0)[1]

    def _hear(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message with its files; None when the worker is gone."""
        head, received, _, _ = socket.recv_fds(self._link, LENGTH.size, FILES)
        files = [_moved(file) for file in received]
        head = self._read(LENGTH.size, head)
        body = self._read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""
        return (json.loads(body), files) if body else None

    def _read(self, length: int, data: bytes = b"") -> bytes:
        while len(data) < length and (piece := self._link.recv(length - len(data))):
            data += piece
        return data if len(data) == length else b""

    def _say(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        self._link.sendall(LENGTH.pack(len(body)) + body)


def _start(argv: list[str], environment: dict[str, str], files: list[int]) -> int:
    """Start a program in a process group of its own, with these files and no others, and signals as at birth."""
    try:
        return os.posix_spawnp(
            argv[0],
            argv,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM),
        )
    finally:
        for file in files:  # or their readers would never see an end
            os.close(file)


def _moved(file: int) -> int:
    """The file under a number that none of the program's has, not to be inherited."""
    import fcntl  # noqa: PLC0415 - beside its only use

    moved = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _ABOVE_FILES)
    os.close(file)
    return moved


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except OSError:
        return  # nobody of it is left


if __name__ == "__main__":
    try:
        Launcher(socket.socket(fileno=int(sys.argv[1]))).serve()
    except OSError:
        sys.exit(1)  # the worker is gone
