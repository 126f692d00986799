"""What the client hands out: frozen values with the contract's names, never a protobuf message.

Times are aware datetimes in UTC, durations timedeltas. Enums have an UNKNOWN member for what a newer server may send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from jobwire.payload import Payload


class JobState(StrEnum):
    """Where a job is in its life."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    RETRYING = "RETRYING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    BLOCKED = "BLOCKED"
    UNKNOWN = "UNKNOWN"
    """A state that this version does not know; not terminal."""

    @property
    def is_terminal(self) -> bool:
        """True when the job has ended (RetryJob may still revive it, but for COMPLETED)."""
        return self in _TERMINAL


_TERMINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


class JobEventType(StrEnum):
    """Kind of event in a watch over many jobs."""

    SNAPSHOT = "SNAPSHOT"
    """Synthetic: the state of a job when the watch began, or began anew."""
    CREATED = "CREATED"
    UPDATED = "UPDATED"
    PROGRESS = "PROGRESS"
    """Live only: not in the log, so never sent again."""
    DELETED = "DELETED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """What to do when an attempt fails. None means the server's default."""

    max_attempts: int | None = None
    """Attempts in all, the first included; 1 = never retry. Default 20."""
    initial_backoff: timedelta | None = None
    """Default 2 s."""
    backoff_multiplier: float | None = None
    """Default 2."""
    max_backoff: timedelta | None = None
    """Default 1 h."""
    jitter: float | None = None
    """Random part of each backoff, 0 to 1. Default 0.2."""
    non_retryable_error_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why an attempt or a job failed. A value; the exception that carries it is `JobFailed`."""

    type: str
    message: str = ""
    detail: str = ""
    retryable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the submitter decided, with the server's defaults filled in."""

    type: str
    queue: str = ""
    payload: Payload | None = None
    """Only in the full view."""
    priority: int | None = None
    schedule_time: datetime | None = None
    expire_time: datetime | None = None
    attempt_timeout: timedelta | None = None
    retry_policy: RetryPolicy | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    retention: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """The part of a job that changes while it lives."""

    state: JobState
    revision: int = 0
    attempt: int = 0
    """Attempts begun so far."""
    max_attempts: int = 0
    progress_percent: float | None = None
    progress_message: str = ""
    last_error: JobError | None = None
    result: Payload | None = None
    """Only in the full view. `jobwire.decode` makes a value of it."""
    worker_id: str = ""
    cancel_request_time: datetime | None = None
    start_time: datetime | None = None
    finish_time: datetime | None = None
    next_attempt_time: datetime | None = None
    lease_expire_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """One step of a job's life, as `watch()` yields it."""

    job_id: str
    status: JobStatus
    skipped: bool = False
    """True when the steps before this one are no longer known one by one."""

    @property
    def state(self) -> JobState:
        """State after the step."""
        return self.status.state

    @property
    def revision(self) -> int:
        """Revision of the job's last durable change."""
        return self.status.revision

    @property
    def progress(self) -> float | None:
        """Progress 0 to 100, or None when the handler reports none."""
        return self.status.progress_percent

    @property
    def message(self) -> str:
        """Progress text."""
        return self.status.progress_message


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a job."""

    number: int
    worker_id: str = ""
    start_time: datetime | None = None
    finish_time: datetime | None = None
    """None while it runs."""
    error: JobError | None = None
    """None for success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the server knew it when it answered."""

    job_id: str
    spec: JobSpec
    status: JobStatus
    create_time: datetime | None = None
    batch_id: str = ""
    attempts: tuple[Attempt, ...] = ()
    """Newest last, bounded; only in the full view."""

    @property
    def state(self) -> JobState:
        """State of the job."""
        return self.status.state


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Conditions that all must hold; within a tuple any may. An empty field is no condition."""

    queues: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    states: tuple[JobState, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    batch_id: str = ""
    create_time_min: datetime | None = None
    """Created at or after."""
    create_time_max: datetime | None = None
    """Created before."""


@dataclass(frozen=True, slots=True)
class WatchCursor:
    """A place in the event log of one store: everything up to `revision` has been seen."""

    epoch: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One change of one job."""

    revision: int
    """Unique and increasing; 0 for PROGRESS; for SNAPSHOT that of the job's last change."""
    event_type: JobEventType
    job_id: str
    status: JobStatus
    queue: str = ""
    job_type: str = ""
    event_time: datetime | None = None
    job: Job | None = None
    """When the watch asked for it."""
    cursor: WatchCursor | None = None
    """Resume after this event with this; None for SNAPSHOT and PROGRESS, which have no place in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryReport:
    """What the server's recovery did at its start."""

    returned_count: int = 0
    still_leased_count: int = 0
    failed_count: int = 0
    waiting_count: int = 0
    duration: timedelta = timedelta(0)
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The server: version, limits, place in its log."""

    version: str
    capabilities: tuple[str, ...] = ()
    store: str = ""
    current: WatchCursor | None = None
    compacted: WatchCursor | None = None
    max_message_bytes: int = 0
    max_payload_bytes: int = 0
    max_batch_size: int = 0
    max_depth: int = 0
    start_time: datetime | None = None
    current_time: datetime | None = None
    """The clock that leases and due times go by, when the server answered."""
    recovery: RecoveryReport | None = None
    pool_trouble: str = ""
    """Why the server's own pool runs no jobs; empty = it does, or there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker, as its server sees it."""

    worker_id: str
    instance_id: str = ""
    """Random per process start; empty for workers that poll."""
    user_agent: str = ""
    queues: tuple[str, ...] = ()
    """Queues that it takes jobs of; "*" is every other one."""
    types: tuple[str, ...] = ()
    """Job types that it runs; empty = any."""
    max_in_flight: int = 0
    """Most jobs that it wants at once."""
    in_flight: int = 0
    """Jobs that it has."""
    last_seen_time: datetime | None = None
    connected: bool = False
    """True while a stream is open."""
