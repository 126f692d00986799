"""What a worker may say of an attempt, and what may befall one without a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jobwire_server.domain.job import Content, JobError, NewJob


class Succeeded(NamedTuple):
    """The handler returned."""

    result: Content | None = None
    follow_ups: Sequence[NewJob] = ()
    """Jobs of the same tenant, created in the transaction that records the success: all of it happens, or none."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised, timed out, or ruled a retry in or out."""

    error: JobError
    retry_delay_us: int | None = None
    """Overrides the policy's backoff."""


@dataclass(frozen=True, slots=True)
class Released:
    """Given back unfinished (drain), or proven undelivered: costs no attempt."""

    reason: str = ""
    """For the log."""


@dataclass(frozen=True, slots=True)
class Snoozed:
    """A release with a delay, asked for by the handler: costs no attempt."""

    delay_us: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The handler obeyed a cancel wish, or cancelled its own job."""

    reason: str = ""
    result: Content | None = None
    """Whatever was done so far; kept as the job's result."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The lease ended without a word of its worker.

    `at_startup`: found by recovery before the first lease is granted (the server died, not the handler).
    """

    at_startup: bool = False


Outcome = Succeeded | Failed | Released | Snoozed | Stopped | LeaseLost
