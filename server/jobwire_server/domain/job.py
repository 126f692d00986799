"""The values a job is made of.

The ones that exist once per job in a batch of a thousand (`NewJob`, `Lease`, `Report` …) are named tuples,
since building a frozen dataclass costs four times as much; the others are frozen dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

DEFAULT_TENANT = "default"
DEFAULT_QUEUE = "default"
DEFAULT_PRIORITY = 5


class State(IntEnum):
    """Life cycle of a job. The numbers are those of the contract's `JobState` and of the database."""

    SCHEDULED = 1
    PENDING = 2
    PROCESSING = 3
    RETRYING = 4
    COMPLETED = 5
    FAILED = 6
    CANCELLED = 7
    EXPIRED = 8
    BLOCKED = 9


TERMINAL_STATES = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.EXPIRED})
WAITING_STATES = frozenset({State.SCHEDULED, State.BLOCKED, State.PENDING, State.RETRYING})


class Content(NamedTuple):
    """Opaque data of a payload or a result: stored and returned byte for byte, never parsed."""

    data: bytes
    content_type: str = ""
    content_encoding: str = ""
    is_text: bool = False
    """True when the caller used the `text` arm; `data` is then valid UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """What to do when an attempt fails. The defaults are the service's."""

    max_attempts: int = 20
    """Attempts in all, the first one included; 1 = never again."""
    initial_backoff_us: int = 2 * SECOND_US
    backoff_multiplier: float = 2.0
    max_backoff_us: int = HOUR_US
    jitter: float = 0.2
    """Random part of each backoff, 0 to 1."""
    non_retryable_error_types: tuple[str, ...] = ()


DEFAULT_RETRY_POLICY = RetryPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why an attempt or a job failed; a fact about the job, not a gRPC status."""

    type: str
    message: str = ""
    detail: str = ""
    retryable: bool = True


class NewJob(NamedTuple):
    """A job as its submitter wants it, checked and with every default filled in, ready to be stored."""

    job_id: str
    id_chosen: bool
    """True when the caller chose the id: it may be taken, and leaves a tombstone when it goes."""
    type: str
    queue: str = DEFAULT_QUEUE
    priority: int = DEFAULT_PRIORITY
    payload: Content | None = None
    schedule_time_us: int | None = None
    expire_time_us: int | None = None
    attempt_timeout_us: int | None = None
    retry_policy: RetryPolicy | None = None
    """None = the service's default."""
    labels: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    retention_us: int | None = None
    request_id: str = ""
    """Idempotency key of this element alone ("" in an atomic batch, whose key stands on the submission)."""
    fingerprint: bytes = b""
    """Hash of the element's content; only compared when `request_id` was seen before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the submitter decided, as stored. Payload is None in a basic view and when there is none."""

    type: str
    queue: str = DEFAULT_QUEUE
    priority: int = DEFAULT_PRIORITY
    payload: Content | None = None
    schedule_time_us: int | None = None
    expire_time_us: int | None = None
    attempt_timeout_us: int | None = None
    retry_policy: RetryPolicy | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    retention_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """The part of a job that changes while it lives."""

    state: State
    revision: int
    attempt: int
    max_attempts: int
    progress_percent: float | None = None
    progress_message: str = ""
    last_error: JobError | None = None
    result: Content | None = None
    worker_id: str = ""
    cancel_request_time_us: int | None = None
    start_time_us: int | None = None
    finish_time_us: int | None = None
    next_attempt_time_us: int | None = None
    lease_expire_time_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a job that has ended, or the running one (`finish_time_us` None)."""

    number: int
    worker_id: str
    start_time_us: int
    finish_time_us: int | None = None
    error: JobError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the store knows it."""

    tenant: str
    job_id: str
    spec: JobSpec
    status: JobStatus
    create_time_us: int
    batch_id: str = ""
    fence: int = 0
    key: int = 0
    """The store's own handle: the revision of its creation, unique for ever."""
    attempts: tuple[Attempt, ...] = ()
    """Newest last, bounded; empty in a basic view."""
