"""The end of a process that takes too long to end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from jobwire_server.kernel.telemetry import Log, LogEvent

LastResort = Callable[[float, int], AbstractContextManager[None]]
"""(seconds, exit code) → a context: unless it is left in time, the process ends at once with that code."""


def last_resort(log: Log) -> LastResort:
    """Return a last resort that really ends this process, whatever its event loop or its threads are waiting for.

    Safe at any moment: what was acknowledged is on disk, and recovery returns what was running.
    """

    @contextmanager
    def end_at_latest(seconds: float, code: int) -> Iterator[None]:
        def end() -> None:
            log.error(LogEvent.SERVER_OVERDUE, seconds=seconds)
            os._exit(code)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    return end_at_latest


@contextmanager
def no_last_resort(seconds: float, code: int) -> Iterator[None]:  # noqa: ARG001 - the same signature
    """Let it take as long as it takes: for servers inside other programs."""
    yield
