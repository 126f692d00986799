"""The one table of transitions, and the one function that reads it for an attempt.

Every change in the system, recovery included, goes through `TRANSITIONS`; the database refuses the others,
the diagram in the docs is drawn from it, and the tests are generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, assert_never

from jobwire_server.domain.job import DAY_US, TERMINAL_STATES, JobError, RetryPolicy, State
from jobwire_server.domain.outcome import (
    Failed,
    LeaseLost,
    Outcome,
    Released,
    Snoozed,
    Stopped,
    Succeeded,
)
from jobwire_server.domain.retry import backoff_us

MAX_DELAY_US: Final = 3650 * DAY_US
"""Longest wait that a handler may ask for."""
POISON_LOSSES: Final = 3
"""Leases lost in a row, while the server lived, after which a job is taken for the cause."""


class Event(StrEnum):
    """Why a job changes state."""

    DUE = "due"
    UNBLOCK = "unblock"
    LEASE = "lease"
    SUCCEED = "succeed"
    RETRY = "retry"
    EXHAUST = "exhaust"
    RELEASE = "release"
    SNOOZE = "snooze"
    STOP = "stop"
    LAPSE = "lapse"
    """Its worker ended the attempt of a job that has expired meanwhile (EXPIRE takes it from whoever holds it)."""
    LOSE = "lose"
    LOSE_LAST = "lose-last"
    RECOVER = "recover"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REQUEUE = "requeue"
    REQUEUE_LATER = "requeue-later"


class Step(NamedTuple):
    """Where an event leads, and what it does to the counters of the job."""

    to: State
    attempt: int = 0
    """Added to `attempt`: +1 when leased, -1 when released or proven undelivered."""
    fence: int = 0
    """Added to `fence`: 1 wherever an earlier holder may still be writing."""


_CANCEL = Step(State.CANCELLED)
_EXPIRE = Step(State.EXPIRED)
_REQUEUES: Final = MappingProxyType({Event.REQUEUE: Step(State.PENDING), Event.REQUEUE_LATER: Step(State.SCHEDULED)})

INITIAL_STATES: Final = frozenset({State.SCHEDULED, State.PENDING})

TRANSITIONS: Final[Mapping[State, Mapping[Event, Step]]] = MappingProxyType(
    {
        State.SCHEDULED: {Event.DUE: Step(State.PENDING), Event.CANCEL: _CANCEL, Event.EXPIRE: _EXPIRE},
        State.BLOCKED: {Event.UNBLOCK: Step(State.PENDING), Event.CANCEL: _CANCEL, Event.EXPIRE: _EXPIRE},
        State.PENDING: {
            Event.LEASE: Step(State.PROCESSING, attempt=1, fence=1),
            Event.CANCEL: _CANCEL,
            Event.EXPIRE: _EXPIRE,
        },
        State.RETRYING: {Event.DUE: Step(State.PENDING), Event.CANCEL: _CANCEL, Event.EXPIRE: _EXPIRE},
        State.PROCESSING: {
            Event.SUCCEED: Step(State.COMPLETED),
            Event.RETRY: Step(State.RETRYING),
            Event.EXHAUST: Step(State.FAILED),
            Event.RELEASE: Step(State.PENDING, attempt=-1),
            Event.SNOOZE: Step(State.SCHEDULED, attempt=-1),
            Event.STOP: Step(State.CANCELLED),
            Event.LAPSE: Step(State.EXPIRED),
            Event.LOSE: Step(State.RETRYING, fence=1),
            Event.LOSE_LAST: Step(State.FAILED, fence=1),
            Event.RECOVER: Step(State.PENDING, fence=1),
            Event.CANCEL: Step(State.CANCELLED, fence=1),
            Event.EXPIRE: Step(State.EXPIRED, fence=1),
        },
        State.COMPLETED: {},
        State.FAILED: _REQUEUES,
        State.CANCELLED: _REQUEUES,
        State.EXPIRED: _REQUEUES,
    }
)


class IllegalTransition(Exception):
    """A change was asked for that the table does not hold; a bug of the caller, never a user's mistake."""


def step(state: State, event: Event) -> Step:
    """Return what `event` does to a job in `state`; raise `IllegalTransition` when nothing may."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"a job that is {state.name} cannot {event.value}") from None


class AttemptFacts(NamedTuple):
    """What a decision about a running attempt needs to know, read in the transaction that applies it."""

    attempt: int
    max_attempts: int
    policy: RetryPolicy
    cancel_requested: bool = False
    expired: bool = False
    """True when the job's `expire_time` has passed by the store's clock."""
    losses: int = 0
    """Leases lost in a row, while the server lived, before this attempt."""


class Decision(NamedTuple):
    """What becomes of a running attempt. Durations only: the store adds them to its own time."""

    event: Event
    step: Step
    delay_us: int = 0
    """Time until the job is due again; 0 unless it goes to RETRYING or SCHEDULED."""
    error: JobError | None = None
    """Recorded as the job's last error, None = leave it."""
    losses: int = 0
    """New value of the count of leases lost in a row."""


def decide(facts: AttemptFacts, outcome: Outcome, *, jitter: float) -> Decision:
    """Say what `outcome` does to a PROCESSING job. Pure and total: every outcome has an answer.

    `jitter` is a random number in [0, 1), used only where a backoff is drawn. A success that is recorded
    first wins over a cancel wish and over an expiry. Any other end of an attempt under a cancel wish cancels
    the job, and one past its expiry expires it: nothing is run again that nobody wants any more. A delay that
    a handler asked for is held to 0 … `MAX_DELAY_US`.
    """
    match outcome:
        case Succeeded():
            return _decision(Event.SUCCEED)
        case Stopped():
            return _decision(Event.STOP)
        case Failed():
            return _failed(facts, outcome, jitter)
        case Released():
            return _reported_unwanted(facts) or _decision(Event.RELEASE, losses=facts.losses)
        case Snoozed():
            return _reported_unwanted(facts) or _decision(Event.SNOOZE, delay_us=_bounded(outcome.delay_us))
        case LeaseLost():
            return _lost(facts, outcome, jitter)
        case _:
            assert_never(outcome)


def _decision(event: Event, *, delay_us: int = 0, error: JobError | None = None, losses: int = 0) -> Decision:
    return Decision(event, TRANSITIONS[State.PROCESSING][event], delay_us, error, losses)


def _reported_unwanted(facts: AttemptFacts, error: JobError | None = None) -> Decision | None:
    """Decide for a job whose worker spoke after a cancel wish or the expiry; None when it is still wanted.

    The fence stays, so that the same report, sent again, is known as a duplicate.
    """
    if facts.cancel_requested:
        return _decision(Event.STOP, error=error)
    if facts.expired:
        return _decision(Event.LAPSE, error=error)
    return None


def _failed(facts: AttemptFacts, outcome: Failed, jitter: float) -> Decision:
    error = outcome.error
    unwanted = _reported_unwanted(facts, error)
    if unwanted is not None:
        return unwanted
    final = not error.retryable or error.type in facts.policy.non_retryable_error_types
    if final or facts.attempt >= facts.max_attempts:
        return _decision(Event.EXHAUST, error=error)
    if outcome.retry_delay_us is None:
        delay_us = backoff_us(facts.policy, facts.attempt, jitter)
    else:
        delay_us = _bounded(outcome.retry_delay_us)
    return _decision(Event.RETRY, delay_us=delay_us, error=error)


def _bounded(delay_us: int) -> int:
    return min(max(0, delay_us), MAX_DELAY_US)


def _lost(facts: AttemptFacts, outcome: LeaseLost, jitter: float) -> Decision:
    losses = facts.losses if outcome.at_startup else facts.losses + 1
    lost = JobError(
        type="LEASE_LOST",
        message="The worker's lease ended without an outcome.",
        retryable=True,
    )
    if facts.cancel_requested:
        return _decision(Event.CANCEL, error=lost)
    if facts.expired:
        return _decision(Event.EXPIRE, error=lost)
    if losses >= POISON_LOSSES and not outcome.at_startup:
        message = f"{losses} leases in a row were lost while the server lived; this job is the suspect."
        poisoned = JobError(type="POISONED", message=message, retryable=False)
        return _decision(Event.LOSE_LAST, error=poisoned, losses=losses)
    if facts.attempt >= facts.max_attempts:
        return _decision(Event.LOSE_LAST, error=lost, losses=losses)
    if outcome.at_startup:
        return _decision(Event.RECOVER, error=lost, losses=losses)
    return _decision(Event.LOSE, delay_us=backoff_us(facts.policy, facts.attempt, jitter), error=lost, losses=losses)


def is_terminal(state: State) -> bool:
    """Tell whether a job in `state` has ended (only RetryJob leads on, and not from COMPLETED)."""
    return state in TERMINAL_STATES
