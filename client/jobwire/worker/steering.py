"""How a handler steers its job, and what it is told when it must stop.

`Fail`, `Retry`, `Snooze` and `Cancel` may be returned or raised. `Cancelled` and `LeaseLost` come out of
`JobContext.check()`; like asyncio's CancelledError they are no `Exception`, so that `except Exception` in a handler
does not keep a job alive that must stop.
"""

from __future__ import annotations

from jobwire.durations import Duration, parse_duration


class Steering(Exception):
    """A handler's word on what becomes of its job."""


class Fail(Steering):
    """This attempt failed and no other will help: the job goes to FAILED.

    `type` names the error for machines (`JobError.type`), at most 200 characters.
    """

    def __init__(self, message: str = "", *, type: str = "Fail") -> None:  # noqa: A002 (the contract's word)
        super().__init__(message)
        self.message = message
        self.type = type


class Retry(Steering):
    """This attempt failed; try again after the policy's backoff, or after `after`. Costs an attempt."""

    def __init__(self, reason: str = "", *, after: Duration | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_seconds = None if after is None else parse_duration(after, name="after").total_seconds()


class Snooze(Steering):
    """Not now: run the job again after `delay` (more than 0). Costs no attempt."""

    def __init__(self, delay: Duration) -> None:
        self.delay_seconds = parse_duration(delay, name="delay").total_seconds()
        if self.delay_seconds <= 0:
            raise ValueError("Snooze needs a delay of more than 0: without one the job would come straight back.")
        super().__init__(delay)


class Cancel(Steering):
    """The job is not wanted any more: it ends as CANCELLED."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Cancelled(BaseException):
    """The handler was told to stop (cancelled, timed out, or the worker is draining): clean up and let it pass."""


class LeaseLost(Cancelled):
    """The lease is over, another worker may have the job: whatever the handler still does counts for nothing."""
