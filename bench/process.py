"""Processes that are started to be measured."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120
STOP_SECONDS = 40
POLL_SECONDS = 0.005


class Process:
    """A process that is measured."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu_seconds(self) -> float:
        """CPU time of all its threads, those that have ended included."""
        # Linux has a clock for each process, in nanoseconds; /proc/PID/stat counts in hundredths of a second.
        return time.clock_gettime(int(~self.pid << 3 | 2))

    def rss_mib(self) -> float:
        """Resident memory."""
        return float(psutil.Process(self.pid).memory_info().rss / (1 << 20))

    def descendants(self) -> list[Process]:
        """Its children and theirs, those that live now: the pool of a server."""
        return [Process(child.pid) for child in psutil.Process(self.pid).children(recursive=True)]


def cpu_seconds(processes: Iterable[Process]) -> float:
    """CPU time of several processes together."""
    return sum(process.cpu_seconds() for process in processes)


class Child(Process):
    """A process that was started here."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        super().__init__(popen.pid)
        self._popen = popen
        self._log = log

    def check(self) -> None:
        """Raise RuntimeError, with the end of its log, when it has ended."""
        if (code := self._popen.poll()) is not None:
            end = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"{self._popen.args!r} ended with {code}: {end}")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Ask until it is so. Raises RuntimeError when the process ends, or when it takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._popen.args!r} was not ready in {START_SECONDS} s")
            time.sleep(POLL_SECONDS)


@contextmanager
def running(log: Path, *command: str) -> Iterator[Child]:
    """Run a process until the block ends. Raises RuntimeError when it did not live that long."""
    with log.open("ab") as output:
        popen = subprocess.Popen(command, cwd=ROOT, stderr=output, stdout=output)
    child = Child(popen, log)
    try:
        yield child
    finally:
        try:
            child.check()
        finally:
            _end(popen)


def _end(popen: subprocess.Popen[bytes]) -> None:
    popen.send_signal(signal.SIGTERM)
    try:
        popen.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
