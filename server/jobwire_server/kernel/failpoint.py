"""Named places at which a test may kill, stop or fail the process; nothing at all in production.

`JOBWIRE_FAILPOINTS="submit.after_commit=kill@3,recover.before_commit=error"`: the third hit of the first kills the
process (SIGKILL), each hit of the second raises. Names are listed in `FAILPOINTS`, so that a campaign can visit all.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

Failpoint = Callable[[str], None]

FAILPOINTS: Final = (
    "group.after_begin",
    "group.before_commit",
    "group.after_commit",
    "submit.before_reply",
    "lease.after_commit",
    "report.after_commit",
    "recover.before_commit",
    "recover.after_commit",
    "migrate.before_commit",
    "migrate.after_commit",
    "startup.before_recovery",
    "startup.after_recovery",
    "startup.before_serving",
)


class InjectedFault(Exception):
    """Raised by a failpoint that was told to fail."""


class _Plan(NamedTuple):
    action: str
    hit: int


def no_failpoint(name: str) -> None:
    """Do nothing."""


class Failpoints:
    """Failpoints armed by a specification; counts hits per name."""

    def __init__(self, specification: str) -> None:
        self._plans: Mapping[str, _Plan] = dict(_parse(part) for part in specification.split(",") if part)
        self._hits: dict[str, int] = dict.fromkeys(self._plans, 0)

    def __call__(self, name: str) -> None:
        """Act if `name` is armed and this is its hit (every hit when none was named)."""
        plan = self._plans.get(name)
        if plan is None:
            return
        self._hits[name] += 1
        if plan.hit not in (0, self._hits[name]):
            return
        if plan.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if plan.action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if plan.action == "error":
            raise InjectedFault(name)


def _parse(part: str) -> tuple[str, _Plan]:
    name, _, action = part.strip().partition("=")
    action, _, hit = action.partition("@")
    if name not in FAILPOINTS or action not in ("kill", "stop", "error"):
        raise ValueError(f"JOBWIRE_FAILPOINTS: {part!r} is not NAME=kill|stop|error[@HIT] with a known name")
    return name, _Plan(action, int(hit or 0))
