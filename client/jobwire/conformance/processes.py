"""The processes of a run: the private server, and the program under test."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import grpc

START_SECONDS: Final = 30.0
LEASE_SECONDS: Final = 2.0
CANCEL_GRACE_SECONDS: Final = 6.0
_DRAIN_SECONDS: Final = 1.0
_KEPT_LINES: Final = 200
_LINE_BYTES: Final = 1 << 16
_READY: Final = re.compile(r"^ready (\S+)")


class ServerBroken(Exception):
    """The private server did not start, or ended by itself: the fault is not the program's."""


class Process:
    """A process in a group of its own. Its output is gathered, the last lines are kept."""

    def __init__(self, inner: asyncio.subprocess.Process) -> None:
        self._inner = inner
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        """Of both outputs."""
        self.printed: deque[str] = deque(maxlen=_KEPT_LINES)
        """Of standard output alone."""
        self.code: int | None = None
        self._over = asyncio.Event()
        self._listening: Sequence[asyncio.Task[None]] = ()

    @classmethod
    async def start(
        cls,
        words: Sequence[str],
        environment: Mapping[str, str],
        tasks: asyncio.TaskGroup,
        *,
        heard: Callable[[str], None] = lambda _line: None,
        folder: Path | None = None,
    ) -> Self:
        """Start a program; `tasks` owns what listens to it. Raises OSError when it cannot be run."""
        inner = await asyncio.create_subprocess_exec(
            *words,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
            limit=_LINE_BYTES,
        )
        process = cls(inner)
        assert inner.stdout is not None
        assert inner.stderr is not None
        process._listening = (
            tasks.create_task(process._listen(inner.stdout, process.printed.append)),
            tasks.create_task(process._listen(inner.stderr, heard)),
        )
        tasks.create_task(process._reap())
        return process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, if it is still there."""
        with suppress(ProcessLookupError):
            self._inner.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; the exit code, negative = the signal that ended it."""
        await self._over.wait()
        assert self.code is not None
        return self.code

    async def destroy(self) -> None:
        """Kill it with all that it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._inner.pid, signal.SIGKILL)
        await self._over.wait()
        for task in self._listening:  # a child that left the group may hold the pipes open for ever
            task.cancel()

    async def output(self) -> str:
        """All of standard output, once the process has ended."""
        await asyncio.wait(self._listening)
        return "\n".join(self.printed)

    async def _listen(self, stream: asyncio.StreamReader, heard: Callable[[str], None]) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the limit; what was read of it is gone
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip("\r\n")
            self.lines.append(text)
            heard(text)

    async def _reap(self) -> None:
        self.code = await self._inner.wait()
        self._over.set()


class Server:
    """A private server on a file and a socket of its own, which survive its lives."""

    def __init__(self, folder: Path, tasks: asyncio.TaskGroup) -> None:
        self._folder = folder
        self._tasks = tasks
        self._process: Process | None = None
        self.target = f"unix:{folder / 's'}"
        self.channel: Any = None
        """To the server, past every proxy."""

    async def start(self) -> None:
        """Start it, or start it again, and return when it is ready. Raises `ServerBroken`."""
        (self._folder / "empty.toml").touch()
        ready = asyncio.Event()
        self._process = process = await Process.start(
            [*_JOBWIRE, *self._arguments()],
            {name: value for name, value in os.environ.items() if not name.startswith("JOBWIRE_")},
            self._tasks,
            heard=lambda line: ready.set() if _READY.match(line) else None,
            folder=self._folder,
        )
        waits = [self._tasks.create_task(ready.wait()), self._tasks.create_task(process.ended())]
        try:
            await asyncio.wait(waits, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not ready.is_set():
            raise ServerBroken("The private server did not start. It wrote:\n" + "\n".join(process.lines))
        if self.channel is None:
            self.channel = grpc.aio.insecure_channel(self.target, _CHANNEL_OPTIONS)

    async def end(self, number: signal.Signals) -> None:
        """Send a signal, and wait for its end."""
        if self._process is not None:
            self._process.signal(number)
            await self._process.ended()

    async def destroy(self) -> None:
        """End what is left of it."""
        if self.channel is not None:
            await self.channel.close()
        if self._process is not None:
            await self._process.destroy()

    def _arguments(self) -> Sequence[str]:
        return [
            "serve",
            "--listen", self.target,
            "--db", str(self._folder / "jobs.db"),
            "--config", str(self._folder / "empty.toml"),  # whatever file lies about says nothing here
            "--lease", f"{LEASE_SECONDS:g}s",
            "--cancel-grace", f"{CANCEL_GRACE_SECONDS:g}s",
            "--grace", f"{_DRAIN_SECONDS:g}s",
        ]  # fmt: skip


_JOBWIRE: Final = (sys.executable, "-c", "import sys; from jobwire.cli import main; sys.exit(main())")
"""The command `jobwire` of this very installation."""

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 200),
)
