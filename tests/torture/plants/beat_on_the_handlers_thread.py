"""The bug: handlers run on the thread that sends heartbeats, so that a long one silences its worker."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context

from jobwire.worker.executors.threads import ThreadExecutor
from jobwire.worker.invoke import invoke
from jobwire.worker.run import Run


def plant() -> None:
    """Put the bug in."""

    def start(self: ThreadExecutor, runs: Sequence[Run]) -> None:
        for run in runs:
            self._post((run, Context().run(invoke, run, self._clock)))

    ThreadExecutor.start = start  # type: ignore[method-assign]
