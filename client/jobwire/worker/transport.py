"""The seam between the worker runtime and whatever hands it jobs.

Plain batch types, no gRPC: the direct transport calls the dispatcher in the same process, the gRPC transport carries
the same batches over the Work stream. Durations are seconds as floats; nothing here is an absolute time, but for
`Assignment.create_time_seconds`, which is information.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

from jobwire.payload import Payload
from jobwire.v1.job_service_pb2 import SubmitJobRequest

Token = bytes | int
"""Names a lease; opaque, handed back in every report."""

ANY_QUEUE = "*"
MAX_WINDOW = 10_000
"""Most assignments that a worker may hold at once."""


class Subscription(NamedTuple):
    """A queue (`ANY_QUEUE` = every one that is not named beside it) and its share against the others."""

    queue: str
    weight: int = 1
    max_in_flight: int = 0
    """Most assignments of this queue at once; 0 = only the window."""


class Hello(NamedTuple):
    """How a worker introduces itself."""

    worker_id: str
    instance_id: str
    """Random per process start."""
    types: tuple[str, ...]
    """Job types it has handlers for; it gets no other."""
    max_in_flight: int
    """Credit window: most assignments at once, absolute."""
    queues: tuple[Subscription, ...] = (Subscription(ANY_QUEUE),)
    max_in_flight_bytes: int = 0
    """Most payload bytes at once, 0 = no bound."""
    lease_seconds: float | None = None
    """Wished lease; None = the server's own."""


class Welcome(NamedTuple):
    """The server's answer to a hello."""

    lease_seconds: float
    heartbeat_seconds: float
    """Send an update for every held lease at least this often."""
    cancel_grace_seconds: float
    """Time a handler has between a cancel order and the loss of its lease."""


class Assignment(NamedTuple):
    """A job leased to this worker. The lease was committed before this was made."""

    token: Token
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
    labels: Mapping[str, str] = {}
    checkpoint: Payload | None = None
    """What an earlier attempt left for this one."""
    lost_leases: int = 0
    """Leases of this job lost in a row before this one: above 0 its handler may be what kills workers."""
    create_time_seconds: float = 0.0
    """Submit time, seconds since the epoch by the server's clock."""


class Success(NamedTuple):
    """The handler returned."""

    result: Payload | None = None
    follow_ups: tuple[SubmitJobRequest, ...] = ()
    """Jobs created in the transaction that records the success: all of it happens, or none."""


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
    reason: str = ""
    """For the server's log."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The handler obeyed a cancel order, or cancelled its own job."""

    reason: str = ""
    result: Payload | None = None
    """Whatever was done so far."""


Outcome = Success | Failure | Release | Stopped


class OutcomeReport(NamedTuple):
    """How one assignment ended."""

    token: Token
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

    token: Token
    code: AckCode
    message: str = ""


class LeaseUpdate(NamedTuple):
    """Keeps a lease alive, and carries progress and a checkpoint if there are any."""

    token: Token
    progress_percent: float | None = None
    progress_message: str | None = None
    checkpoint: Payload | None = None
    """Kept with the job and handed to the next attempt, if there is one."""


class LeaseState(NamedTuple):
    """A lease as the server sees it."""

    token: Token
    valid: bool
    cancel_requested: bool
    remaining_seconds: float


class CancelOrder(NamedTuple):
    """Stop this job and report `Stopped` (or any outcome) within the grace, or the lease is fenced."""

    token: Token
    reason: str
    grace_seconds: float


class Inbox(Protocol):
    """What the runtime offers its transport. Called on the event loop; never blocks, never raises."""

    def assign(self, assignments: Sequence[Assignment]) -> None:
        """Take assignments: never more than the window leaves room for."""

    def cancel(self, orders: Sequence[CancelOrder]) -> None:
        """Stop these jobs; unknown tokens are ignored."""

    def lose(self, tokens: Sequence[Token]) -> None:
        """These leases are over: stop the handlers, report nothing."""

    def drain(self, reason: str) -> None:
        """The server goes away for good (it will not be reached again under its address): take nothing new."""

    def held(self) -> Sequence[Token]:
        """Every lease that this worker still holds, those with unacknowledged outcomes included: what a transport
        that has to introduce the worker again says that it holds."""

    def renewed(self, welcome: Welcome, states: Sequence[LeaseState]) -> None:
        """What the server said when the worker was introduced again: its terms, and what became of held leases."""

    def refuse(self, reason: str) -> None:
        """The server will not have this worker any more and says why: the transport has given up for good."""


class Transport(Protocol):
    """What the runtime needs of a server.

    A transport that loses its server connects again by itself, with jitter, and introduces the worker anew; meanwhile
    `report`, `abandon` and `update` raise ConnectionError, handlers run on, and leases end by their local deadline.
    """

    async def open(self, hello: Hello, inbox: Inbox) -> Welcome:
        """Introduce the worker. No assignment arrives before the first `resize`."""

    async def resize(self, max_in_flight: int) -> None:
        """Set the credit window, absolute; 0 pauses. The first call with more than 0 lets assignments flow."""

    async def report(self, reports: Sequence[OutcomeReport]) -> Sequence[Ack]:
        """Record outcomes, each on its own; answers in order, after the commit. Raises ConnectionError when nothing
        is known of them: send them again."""

    async def abandon(self, tokens: Sequence[Token]) -> None:
        """These attempts died without an outcome (the process of the handler is gone): end their leases now, as lost.

        Counts as a lost lease, with all that follows from it; a lease that is over already is passed by. Raises
        ConnectionError when nothing is known of it: call it again.
        """

    async def update(self, updates: Sequence[LeaseUpdate]) -> Sequence[LeaseState]:
        """Heartbeat and progress; answers in order."""

    async def close(self) -> None:
        """Say goodbye. Leases that are still held end by time (release them first)."""
