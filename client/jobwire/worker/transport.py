"""The seam between the worker runtime and whatever hands it jobs.

Plain batch types, no gRPC: the direct transport calls the dispatcher in the same process, the Work stream (later)
carries the same batches over the wire. Durations are seconds as floats; nothing here is an absolute time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

from jobwire.payload import Payload


class Hello(NamedTuple):
    """How a worker introduces itself."""

    worker_id: str
    instance_id: str
    """Random per process start."""
    types: tuple[str, ...]
    """Job types it has handlers for; it gets no other."""
    max_in_flight: int
    """Credit window: most assignments at once, absolute."""


class Welcome(NamedTuple):
    """The server's answer to a hello."""

    lease_seconds: float
    heartbeat_seconds: float
    """Send an update for every held lease at least this often."""
    cancel_grace_seconds: float
    """Time a handler has between a cancel order and the loss of its lease."""


class Assignment(NamedTuple):
    """A job leased to this worker. The lease was committed before this was made."""

    token: bytes | int
    """Names the lease; opaque, handed back in every report."""
    job_id: str
    queue: str
    type: str
    attempt: int
    max_attempts: int
    fence: int
    payload: Payload | None
    headers: Mapping[str, str]
    lease_seconds: float
    timeout_seconds: float | None
    """Longest run of this attempt (attempt timeout and expire time taken together); None = no bound."""


class Success(NamedTuple):
    """The handler returned."""

    result: Payload | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The handler raised, timed out, or asked for a retry."""

    error_type: str
    message: str = ""
    detail: str = ""
    retryable: bool = True
    retry_delay_seconds: float | None = None
    """Overrides the policy's backoff."""


@dataclass(frozen=True, slots=True)
class Release:
    """Given back unfinished: costs no attempt. With a delay it is a snooze."""

    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Stopped:
    """The handler obeyed a cancel order, or cancelled its own job."""

    reason: str = ""


Outcome = Success | Failure | Release | Stopped


class OutcomeReport(NamedTuple):
    """How one assignment ended."""

    token: bytes | int
    outcome: Outcome


class AckCode(IntEnum):
    """What became of an outcome (numbers of the contract)."""

    RECORDED = 1
    DUPLICATE = 2
    LEASE_LOST = 3
    INVALID = 4
    RETRY = 5


class Ack(NamedTuple):
    """Durable answer to an outcome. RETRY: a passing fault, send it again. INVALID: the lease still stands."""

    token: bytes | int
    code: AckCode
    message: str = ""


class LeaseUpdate(NamedTuple):
    """Keeps a lease alive, and carries progress if there is any."""

    token: bytes | int
    progress_percent: float | None = None
    progress_message: str | None = None


class LeaseState(NamedTuple):
    """A lease as the server sees it."""

    token: bytes | int
    valid: bool
    cancel_requested: bool
    remaining_seconds: float


class CancelOrder(NamedTuple):
    """Stop this job and report `Stopped` (or any outcome) within the grace, or the lease is fenced."""

    token: bytes | int
    reason: str
    grace_seconds: float


class Inbox(Protocol):
    """What the runtime offers its transport. Called on the event loop; never blocks, never raises."""

    def assign(self, assignments: Sequence[Assignment]) -> None:
        """Take assignments: never more than the window leaves room for."""

    def cancel(self, orders: Sequence[CancelOrder]) -> None:
        """Stop these jobs; unknown tokens are ignored."""

    def lose(self, tokens: Sequence[bytes | int]) -> None:
        """These leases are over: stop the handlers, report nothing."""

    def drain(self, reason: str) -> None:
        """The server goes away: take nothing new."""


class Transport(Protocol):
    """What the runtime needs of a server."""

    async def open(self, hello: Hello, inbox: Inbox) -> Welcome:
        """Introduce the worker. No assignment arrives before the first `resize`."""

    async def resize(self, max_in_flight: int) -> None:
        """Set the credit window, absolute; 0 pauses. The first call with more than 0 lets assignments flow."""

    async def report(self, reports: Sequence[OutcomeReport]) -> Sequence[Ack]:
        """Record outcomes, each on its own; answers in order, after the commit. Raises ConnectionError when nothing
        is known of them: send them again."""

    async def abandon(self, tokens: Sequence[bytes | int]) -> None:
        """These attempts died without an outcome (the process of the handler is gone): end their leases now, as lost.

        Counts as a lost lease, with all that follows from it; a lease that is over already is passed by. Raises
        ConnectionError when nothing is known of it: call it again.
        """

    async def update(self, updates: Sequence[LeaseUpdate]) -> Sequence[LeaseState]:
        """Heartbeat and progress; answers in order."""

    async def close(self) -> None:
        """Say goodbye. Leases that are still held end by time (release them first)."""
