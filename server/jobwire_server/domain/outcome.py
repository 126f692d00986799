"""What a worker may say of an attempt, and what may befall one without a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jobwire_server.domain.job import Content, JobError


class Succeeded(NamedTuple):
    """The handler returned."""

    result: Content | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised, timed out, or ruled a retry in or out."""

    error: JobError
    retry_delay_us: int | None = None
    """Overrides the policy's backoff."""


@dataclass(frozen=True, slots=True)
class Released:
    """Given back unfinished (drain), or proven undelivered: costs no attempt."""


@dataclass(frozen=True, slots=True)
class Snoozed:
    """A release with a delay, asked for by the handler: costs no attempt."""

    delay_us: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The handler obeyed a cancel wish, or cancelled its own job."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The lease ended without a word of its worker.

    `at_startup`: found by recovery before the first lease is granted (the server died, not the handler).
    """

    at_startup: bool = False


Outcome = Succeeded | Failed | Released | Snoozed | Stopped | LeaseLost
