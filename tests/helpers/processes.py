"""Real server processes under a test's thumb: start, hear, kill, and never leave one behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import psutil

REPOSITORY: Final = Path(__file__).resolve().parents[2]
JOBWIRE: Final = (str(Path(sys.executable).with_name("jobwire")),)
"""The installed command, as a user would start it."""

_READY: Final = re.compile(r"^ready (\S+)")
_START_SECONDS: Final = 60.0


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it has started, and wait for its end; one that has ended already is left alone."""
    if process.poll() is None:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(timeout=30)


class NotReady(Exception):
    """The server ended, or kept silent, where it should have said `ready`."""


class ServerProcess:
    """One life of one server process. Use on a running event loop; `destroy` ends whatever is left of it."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        command: Sequence[str] = JOBWIRE,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        file_size_limit: int | None = None,
    ) -> None:
        """`log` collects standard error; `file_size_limit` bounds every file it writes, in bytes."""
        limit = () if file_size_limit is None else ("prlimit", f"--fsize={file_size_limit}:")
        self._loop = asyncio.get_running_loop()
        self._first_line: asyncio.Future[None] = self._loop.create_future()
        self._address: asyncio.Future[str | None] = self._loop.create_future()
        self._code: asyncio.Future[int] = self._loop.create_future()
        self.lines: list[str] = []
        self._log = log
        self._popen = subprocess.Popen(
            [*limit, *command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(environment or {}),
            cwd=REPOSITORY,
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(target=self._listen, args=(self._popen.stderr,), daemon=True),
            threading.Thread(target=self._reap, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Id of the process, and of its group."""
        return self._popen.pid

    async def first_line(self) -> None:
        """Wait until it has said anything: from then on it listens to signals."""
        await asyncio.wait([self._first_line, self._code], timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    async def ready(self) -> str | None:
        """Wait for its `ready` line and return the address, or None when it ended before."""
        waits: list[asyncio.Future[object]] = [self._address, self._code]  # type: ignore[list-item]
        done, _ = await asyncio.wait(waits, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise NotReady(f"no `ready` within {_START_SECONDS} s:\n{self.tail()}")
        return self._address.result() if self._address.done() else None

    async def expect_ready(self) -> str:
        """Wait for its `ready` line and return the address; raise `NotReady` when it ended before."""
        address = await self.ready()
        if address is None:
            raise NotReady(f"the server ended with {self._code.result()} before it was ready:\n{self.tail()}")
        return address

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, if it is still there."""
        if not self._code.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self, seconds: float) -> int | None:
        """Wait for its end; returns the exit code (negative = the signal that ended it), None when it lives on."""
        await asyncio.wait([self._code], timeout=seconds)
        return self._code.result() if self._code.done() else None

    async def autopsy(self) -> str:
        """End it with a signal that makes it say where each of its threads stands; returns its last lines."""
        self.send(signal.SIGABRT)
        await self.wait(_START_SECONDS)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 1.0)
        return self.tail(80)

    async def destroy(self) -> None:
        """Kill it and every process it left behind."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._code
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def tail(self, lines: int = 30) -> str:
        """The last lines it wrote."""
        return "\n".join(self.lines[-lines:])

    # --- in threads of their own ------------------------------------------------------------------------------------

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip("\n")
                self.lines.append(text)
                if self._log is not None:
                    with self._log.open("a", encoding="utf-8") as log:
                        log.write(f"{self.pid} {text}\n")
                self._on_loop(self._heard, text)

    def _reap(self) -> None:
        self._on_loop(self._ended, self._popen.wait())

    def _on_loop(self, function: object, argument: object) -> None:
        with suppress(RuntimeError):  # the loop of a test that is over
            self._loop.call_soon_threadsafe(function, argument)  # type: ignore[arg-type]

    def _heard(self, text: str) -> None:
        if not self._first_line.done():
            self._first_line.set_result(None)
        ready = _READY.match(text)
        if ready and not self._address.done():
            self._address.set_result(ready[1])

    def _ended(self, code: int) -> None:
        self._code.set_result(code)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOBWIRE_")}
    paths = [str(REPOSITORY), *filter(None, [inherited.get("PYTHONPATH")])]
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths), "PYTHONFAULTHANDLER": "1", **more}
