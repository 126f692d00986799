"""One assignment on its way through the worker."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from jobwire.worker.attempt import Attempt
from jobwire.worker.handler import Handler
from jobwire.worker.transport import Assignment, Outcome


class Sign(Enum):
    """What an executor may report of a run beside its outcome."""

    BEGAN = auto()
    """The handler starts now (executors that need a while to start)."""
    DIED = auto()
    """The process that ran the handler died without an outcome."""
    UNKNOWN = auto()
    """The child process has no handler for it: nothing was done."""


Event = Outcome | Sign


class Run(Attempt):
    """An assignment, its handler, and where it stands. Everything here belongs to the runtime's event loop."""

    __slots__ = ("handle", "handler", "lease_deadline", "runner", "started", "stop_deadline", "strikes")

    def __init__(
        self,
        assignment: Assignment,
        handler: Handler[..., Any],
        on_progress: Callable[[Attempt], None] | None = None,
    ) -> None:
        super().__init__(assignment, on_progress)
        self.handler = handler
        self.runner = handler.runner
        """Where it runs."""
        self.lease_deadline = 0.0
        """Monotonic end of the lease, never later than the server's."""
        self.stop_deadline: float | None = None
        """Monotonic end of the patience with a handler that was told to stop."""
        self.started = False
        """Set by the executor right before the handler is called."""
        self.strikes = 0
        """How often that patience ran out."""
        self.handle: Any = None
        """The executor's own."""

    @property
    def timeout_seconds(self) -> float | None:
        """Longest run of this attempt: the tighter of the job's and the handler's own bound."""
        mine, theirs = self.handler.timeout_seconds, self.assignment.timeout_seconds
        if mine is None or theirs is None:
            return theirs if mine is None else mine
        return min(mine, theirs)
