"""What a handler may know of its job, and say while it runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextvars import ContextVar

from jobwire.worker.attempt import Attempt, Cause
from jobwire.worker.clock import Clock, SystemClock
from jobwire.worker.steering import Cancelled, LeaseLost
from jobwire.worker.text import bounded
from jobwire.worker.transport import Assignment

MAX_PROGRESS_MESSAGE_BYTES = 256


class JobContext:
    """The running job, as its handler sees it. Safe to use from any thread.

    A handler gets it when its first parameter is annotated `JobContext` (or is called `ctx` and has no annotation);
    deeper down, `current_job()` finds it.
    """

    __slots__ = ("_attempt", "_clock")

    def __init__(self, attempt: Attempt, clock: Clock) -> None:
        self._attempt = attempt
        self._clock = clock

    def __repr__(self) -> str:
        return f"<JobContext {self.job_id} ({self.type}), attempt {self.attempt}>"

    @property
    def job_id(self) -> str:
        """Id of the job; empty outside of a job."""
        return self._attempt.assignment.job_id

    @property
    def type(self) -> str:
        """Type of the job."""
        return self._attempt.assignment.type

    @property
    def queue(self) -> str:
        """Queue of the job."""
        return self._attempt.assignment.queue

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self._attempt.assignment.attempt

    @property
    def max_attempts(self) -> int:
        """Attempts allowed in all."""
        return self._attempt.assignment.max_attempts

    @property
    def fence(self) -> int:
        """Rises with every lease of this job: hand it to storages that can refuse a late writer."""
        return self._attempt.assignment.fence

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the job, such as `traceparent`."""
        return self._attempt.assignment.headers

    @property
    def remaining_seconds(self) -> float | None:
        """Time left of this attempt, at least 0; None = no bound."""
        deadline = self._attempt.deadline
        return None if deadline is None else max(0.0, deadline - self._clock.monotonic())

    @property
    def cancelled(self) -> bool:
        """True once the handler should stop."""
        return self._attempt.cause is not None

    @property
    def cancel_reason(self) -> str:
        """Why it should stop; empty while it need not."""
        return self._attempt.reason

    @property
    def logger(self) -> logging.Logger:
        """Logger `jobwire.job.<type>`."""
        return logging.getLogger(f"jobwire.job.{self.type}")

    def check(self) -> None:
        """Call this at safe points. Raises Cancelled when the handler should stop, LeaseLost when it is too late."""
        cause = self._attempt.cause
        if cause is None:
            return
        self._attempt.obeying = True
        raise LeaseLost(self._attempt.reason) if cause is Cause.LOST else Cancelled(self._attempt.reason)

    def progress(self, current: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the job is: `progress(40)` is a percentage, `progress(3, total=8)` makes one.

        Never blocks; of many calls in a row only the newest is sent. The percentage is held between 0 and 100, the
        message cut to 256 bytes. Raises ValueError when a number is not finite or `total` is not above 0.
        """
        percent = float(current)
        if total is not None:
            if not total > 0:
                raise ValueError(f"total must be more than 0, not {total!r}.")
            percent = 100.0 * percent / total
        if not math.isfinite(percent):
            raise ValueError(f"progress must be a finite number, not {current!r} of {total!r}.")
        text = None if message is None else bounded(str(message), MAX_PROGRESS_MESSAGE_BYTES)
        self._attempt.tell(min(100.0, max(0.0, percent)), text)


current_context: ContextVar[JobContext] = ContextVar("jobwire_current_job")


def current_job() -> JobContext:
    """Return the context of the job that runs here; outside of a job one that is never cancelled and tells nobody."""
    context = current_context.get(None)
    if context is None:
        nothing = Assignment(
            token=b"", job_id="", queue="", type="", attempt=1, max_attempts=1, fence=0, payload=None, headers={},
            lease_seconds=math.inf, timeout_seconds=None,
        )  # fmt: skip
        return JobContext(Attempt(nothing), SystemClock())
    return context
