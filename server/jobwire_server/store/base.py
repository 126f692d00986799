"""The store seam. Every docstring here is a clause that the conformance suite holds each driver to.

General clauses
- All job state lives in the store and nowhere else. A verb that returned has committed (as durably as the store was
  opened to be); a verb that raised `Refused` changed nothing; one that raised `Unavailable` may have done either.
- Verbs are safe to call concurrently. What is in flight together may share one transaction (group commit): one
  intent that is refused or fails takes nobody with it.
- The store stamps its own time and takes durations, never an absolute now.
- Client verbs act for exactly one tenant and see no other; leases, reports and sweeps act for all.
- Every change of state follows `domain.lifecycle.TRANSITIONS`, takes the next revision, and writes exactly one event
  row, in the same transaction. Revisions are store-wide and strictly increasing in commit order; gaps are allowed.
- Pages and batches are bounded; a bound that is exceeded is a `Refused`, never a silent cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.job import Content, Job, JobError, NewJob, State
from jobwire_server.domain.outcome import Outcome


class Transport(IntEnum):
    """How a lease holder is connected; recovery voids DIRECT leases of dead incarnations only."""

    DIRECT = 0
    STREAM = 1
    UNARY = 2


class Owner(NamedTuple):
    """Who holds a lease. `instance_id` is random per process start, never a host name."""

    worker_id: str
    instance_id: str
    transport: Transport

    @classmethod
    def in_pool(cls, worker_id: str, server: str, process: str) -> Owner:
        """A process of a server's own pool: recovery leaves it alone while that server is there."""
        return cls(worker_id, f"{server}/{process}", Transport.DIRECT)


class Lane(NamedTuple):
    """A (queue, type) pair: what the claim index leads with."""

    queue: str
    type: str


class Position(NamedTuple):
    """Where the event log stands."""

    epoch: str
    """Identity of the store; changes when a backup is restored."""
    revision: int
    """Newest committed revision."""
    compacted: int
    """Events up to and including this revision may be gone."""


# --- submitting ---------------------------------------------------------------------------------------------------


class Submission(NamedTuple):
    """Jobs of one call. Atomic: all or none, under one key. Otherwise each element stands alone, with its own key."""

    tenant: str
    jobs: Sequence[NewJob]
    atomic: bool = False
    request_id: str = ""
    fingerprint: bytes = b""
    batch_id: str = ""


class Submitted(NamedTuple):
    """One element that exists now: created by this call, or found under its key."""

    job_id: str
    created: bool
    state: State
    revision: int
    """Revision of the creation when created, else the job's current one."""


class SubmitReceipt(NamedTuple):
    """Answer to a submission, element by element, in order."""

    answers: Sequence[Submitted | JobwireError]
    """An error stands only in a submission that is not atomic."""
    position: Position
    """Taken inside the transaction: everything that follows the creation has a greater revision."""
    time_us: int
    """The store's time of the transaction: `create_time` of the created jobs."""
    batch_id: str
    """Batch id of the jobs; that of the first call when the key was seen before."""


# --- leasing ------------------------------------------------------------------------------------------------------


class QueueShare(NamedTuple):
    """What one queue may get of a lease request. See `domain.fairness`, which shares by these numbers."""

    queue: str
    weight: int = 1
    turn: float = 0.0
    """Where the queue stands in the order of service: the lowest turn is served next, and each job served adds
    1 / weight to it."""
    limit: int | None = None
    """Most jobs of this queue; None = only the request's own limit."""


class LeaseRequest(NamedTuple):
    """Ask for up to `limit` PENDING jobs of `lanes`, together at most `max_bytes` of payload (but at least one job)."""

    owner: Owner
    lanes: Sequence[Lane]
    limit: int
    lease_us: int
    max_bytes: int = 4 << 20
    shares: Sequence[QueueShare] = ()
    """How the queues of the lanes share the limit; a queue without a share has weight 1, turn 0 and no limit of its
    own. Empty = one order over all lanes, whatever their queues."""


class Lease(NamedTuple):
    """A job in the hands of one owner until `lease_us` from now, unless extended."""

    key: int
    """The store's own handle of the job: opaque, never reused."""
    tenant: str
    job_id: str
    queue: str
    type: str
    attempt: int
    max_attempts: int
    fence: int
    payload: Content | None
    headers: Mapping[str, str]
    lease_us: int
    attempt_timeout_us: int | None
    """Longest run of this attempt."""
    expire_in_us: int | None
    """Time left until the job's expire_time."""
    priority: int
    create_time_us: int
    labels: Mapping[str, str] = {}
    checkpoint: Content | None = None
    """What an earlier attempt left for this one."""
    losses: int = 0
    """Leases of the job that were lost in a row, while the server lived, before this one."""
    lease_expire_us: int = 0
    """When the lease ends, by the store's clock."""


class Report(NamedTuple):
    """The end of the attempt (key, fence)."""

    key: int
    fence: int
    outcome: Outcome


class ReportCode(IntEnum):
    """What became of a report."""

    RECORDED = 1
    """Committed now."""
    DUPLICATE = 2
    """This attempt had been ended before, under this very fence, by an outcome of the same kind (a success, or
    anything else); nothing changed."""
    LEASE_LOST = 3
    """The fence is no longer current, or the job is not PROCESSING; nothing changed."""
    REFUSED = 4
    """The follow-ups cannot be created (`ReportAnswer.refusal` says why); nothing changed, the lease stands."""


class ReportAnswer(NamedTuple):
    """Durable answer to a report."""

    code: ReportCode
    state: State | None
    """State of the job now; None when the job is gone."""
    due_in_us: int | None = None
    """Time until the next attempt of a job that went to RETRYING or SCHEDULED by this very report."""
    refusal: JobwireError | None = None
    """Set with REFUSED."""


class LeaseUpdate(NamedTuple):
    """Keep the lease (key, fence) alive for `lease_us` from now, and record progress and checkpoint if given."""

    key: int
    fence: int
    lease_us: int
    progress_percent: float | None = None
    progress_message: str | None = None
    checkpoint: Content | None = None
    """Replaces the job's checkpoint; it goes to the next attempt, if there is one."""


class RunName(NamedTuple):
    """Whose attempt a lease is, for those who are told of its progress."""

    tenant: str
    job_id: str
    queue: str
    type: str
    attempt: int


class LeaseState(NamedTuple):
    """A lease as the store sees it."""

    valid: bool
    cancel_requested: bool
    remaining_us: int
    name: RunName | None = None
    """Set where the update carried progress and the lease is valid."""


class LeaseEnd(NamedTuple):
    """When a lease ends, by the store's clock: another time than that of `Lease` when it was extended since."""

    lease_expire_us: int
    remaining_us: int


class Reattached(NamedTuple):
    """What became of the leases of a worker process that has come back."""

    states: Sequence[LeaseState]
    """One per lease that it said it holds, in order."""
    leases: Sequence[Lease]
    """Those of them that stand, in the same order, without payload and checkpoint."""
    returned: int
    """Leases of its instance that it did not name: never received, so released, at no cost to their attempts."""


# --- reading ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Conjunction of conditions; each tuple is an OR, an empty one is no condition. Each is served by an index."""

    queues: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    batch_id: str = ""
    create_time_min_us: int | None = None
    create_time_max_us: int | None = None


class ListQuery(NamedTuple):
    """A page of a list, newest first."""

    filter: JobFilter
    limit: int
    before_key: int | None = None
    """Only jobs created before this key (`JobPage.next_key` of the page before)."""
    full: bool = False
    max_bytes: int = 4 << 20
    """End the page early when payloads and results grow beyond this; a page holds at least one job if any matches."""


class JobPage(NamedTuple):
    """One page of a list."""

    jobs: Sequence[Job]
    next_key: int | None
    """None = the end."""
    position: Position
    """Read in the same snapshot."""


class EventKind(IntEnum):
    """Kinds of events in the log; the numbers are the contract's."""

    CREATED = 2
    UPDATED = 3
    DELETED = 5


class JobEvent(NamedTuple):
    """One row of the event log: the job's status after one change, and what filters need."""

    revision: int
    kind: EventKind
    tenant: str
    key: int
    job_id: str
    sequence: int
    """1, 2, 3 … per job, without gap."""
    queue: str
    type: str
    batch_id: str
    labels: Mapping[str, str]
    create_time_us: int
    previous_state: State | None
    state: State
    attempt: int
    max_attempts: int
    fence: int
    worker_id: str
    last_error: JobError | None
    start_time_us: int | None
    finish_time_us: int | None
    next_attempt_time_us: int | None
    lease_expire_time_us: int | None
    cancel_request_time_us: int | None
    time_us: int


# --- sweeping -----------------------------------------------------------------------------------------------------


class RecoveryBatch(NamedTuple):
    """What one bounded batch of recovery did."""

    returned: int
    """Put back to PENDING."""
    failed: int
    """FAILED: no attempt left, or could not be reset."""
    cancelled: int
    """Ended as CANCELLED or EXPIRED, since somebody had asked or the time had passed."""
    more: bool
    """Call again."""


class Sweep(NamedTuple):
    """What one bounded step of a sweep did."""

    changed: int
    more: bool
    """Work was left because of the bound: call again."""
    next_in_us: int | None = None
    """Time until the next job is due for this sweep, None when there is none (or the sweep does not look ahead)."""


class StoreCounts(NamedTuple):
    """Numbers of jobs."""

    by_state: Mapping[State, int]
    still_leased: int
    """PROCESSING under an unexpired lease."""


class CommitNotice(NamedTuple):
    """A hint after each commit; correctness never rests on it."""

    revision: int
    """Newest committed revision."""
    pending: frozenset[Lane]
    """Lanes in which jobs may have become PENDING."""
    cancelled: tuple[tuple[int, int], ...]
    """(key, fence) of PROCESSING jobs whose cancel was asked for, or that were ended by force."""
    due_in_us: int | None
    """Earliest due time among jobs that became SCHEDULED or RETRYING."""


class ProgressNote(NamedTuple):
    """What a worker said of a running attempt between two changes of its state."""

    tenant: str
    key: int
    job_id: str
    queue: str
    type: str
    attempt: int
    percent: float | None
    message: str


class Store(Protocol):
    """The durable truth of one jobwire service."""

    # life -------------------------------------------------------------------------------------------------------
    async def open(self) -> Position:
        """Open, check and migrate the store; take the exclusive lock. Raises `StoreUnavailable` with the remedy."""

    async def close(self) -> None:
        """Finish what is queued, sync, and release the lock. Idempotent."""

    def subscribe(self, listener: Callable[[CommitNotice], None]) -> None:
        """Call `listener` on the event loop after each commit, in commit order. It must not block or raise."""

    def subscribe_progress(self, listener: Callable[[ProgressNote], None]) -> None:
        """Call `listener` on the event loop with progress that another server of this store has heard of. A hint: some
        of it may be missing, and the job's row has the newest."""

    # clients ----------------------------------------------------------------------------------------------------
    async def submit(self, submission: Submission) -> SubmitReceipt:
        """Create the jobs of a submission durably.

        State is SCHEDULED when `schedule_time` lies ahead of the store's time, else PENDING. A `request_id` that was
        seen before with the same fingerprint answers with the jobs of the first call (created = False) and changes
        nothing; with another fingerprint it is `RequestIdReused`. A chosen id that is or was taken is `JobIdTaken`.
        Beyond the service's depth `QueueFull`; on a full disk `StoreFull`. Atomic: one refusal refuses all (raised);
        otherwise the refusal stands in its element's place and the others are created.
        """

    async def cancel(self, tenant: str, job_id: str, *, reason: str = "", force: bool = False) -> Job:
        """Cancel a job and return it (basic), as this very call left it. Waiting: CANCELLED at once. PROCESSING: the
        wish is recorded, the worker is asked; with `force` the lease is fenced and the job CANCELLED now. CANCELLED
        already: no change. Raises `JobNotFound`, `JobTerminal`."""

    async def retry(
        self, tenant: str, job_id: str, *, additional_attempts: int = 0, schedule_time_us: int | None = None
    ) -> Job:
        """Put a FAILED, CANCELLED or EXPIRED job back to PENDING (SCHEDULED when the time lies ahead), and grant
        `additional_attempts` on top of those used (0 = as many as its policy says). Clears result, error, cancel
        wish, an expiry that has passed, and the count of lost leases. Returns the job (basic) as this very call left
        it. Raises `JobNotFound`, `JobNotTerminal`,
        `JobSucceeded`."""

    async def delete(self, tenant: str, job_id: str) -> bool:
        """Remove a terminal job for good, False when there is none; its events stay until their own retention, and
        a chosen id leaves a tombstone. Raises `JobNotTerminal`."""

    async def get(self, tenant: str, job_ids: Sequence[str], *, full: bool) -> list[Job | None]:
        """Read jobs by id, in order, None where there is none; one snapshot. Full adds payload, result, attempts."""

    async def list_jobs(self, tenant: str, query: ListQuery) -> JobPage:
        """Read one page, newest first, in one snapshot with its position."""

    # workers ----------------------------------------------------------------------------------------------------
    async def lease(self, request: LeaseRequest) -> list[Lease]:
        """Lease due jobs of the lanes to the owner: priority first, then due time, then age; each job to exactly one
        owner; attempt and fence rise by one, durably, before this returns. Never more than `limit`. Empty = none."""

    async def report(self, reports: Sequence[Report]) -> list[ReportAnswer]:
        """Record how attempts ended, each on its own, in order. Fenced: a report whose fence is not the job's current
        one, or whose job is not PROCESSING, changes nothing at all. What follows is `lifecycle.decide`, on facts read
        in the same transaction. A success and its follow-ups are one: created with it, in the job's tenant, under the
        rules of an atomic `submit`; a refusal of one of them refuses the report alone (REFUSED). A COMPLETED job
        keeps no checkpoint."""

    async def extend(self, updates: Sequence[LeaseUpdate]) -> list[LeaseState]:
        """Extend leases, record progress and checkpoints, each on its own, fenced as `report`. Writes no event. A lease
        is never extended beyond the attempt's timeout (and a grace in which its outcome may be reported), nor, once its
        cancel was asked for, beyond the grace that a handler has for that. A checkpoint
        outlives lost leases, failures, releases and a RetryJob; it goes with the success, or with the job."""

    async def reattach(self, owner: Owner, held: Sequence[tuple[int, int]]) -> Reattached:
        """A worker process has come back, and names the leases (key, fence) that it holds. Those that stand are the
        owner's from now on (whatever they were before; their time is not changed). Every other lease of
        `owner.instance_id` was never received and is released, unless its time is over: its holder may have given it
        up, and the sweep ends it as lost. One transaction; twice in a row changes nothing."""

    async def held_by(self, instance_id: str, *, limit: int) -> list[Lease]:
        """Read the unexpired leases of one instance, payload and checkpoint included, oldest first; served by an
        index. Changes nothing."""

    async def lease_ends(self, leases: Sequence[tuple[int, int]]) -> list[LeaseEnd | None]:
        """Read when these leases (key, fence) end, in order; None = it is over. Changes nothing."""

    # sweeps -----------------------------------------------------------------------------------------------------
    async def recover(self, *, instance_id: str, limit: int) -> RecoveryBatch:
        """Void up to `limit` leases of DIRECT owners other than `instance_id`, and expired leases of anybody, as
        lost at start-up. A row that cannot be reset goes to FAILED with reason RECOVERY_FAILED and stops nobody."""

    async def expire_leases(self, *, limit: int) -> Sweep:
        """End leases whose time is over by the store's clock, as lost while the server lived."""

    async def promote_due(self, *, limit: int) -> Sweep:
        """SCHEDULED and RETRYING jobs whose time has come become PENDING, earliest first."""

    async def expire_jobs(self, *, limit: int) -> Sweep:
        """Waiting jobs whose expire_time has passed become EXPIRED (a running one when its attempt ends)."""

    async def purge(self, *, limit: int) -> Sweep:
        """Remove, `limit` rows of each at most: terminal jobs past their retention (a DELETED event each), events
        beyond the log's retention (the floor rises first), request keys and tombstones past theirs."""

    # log --------------------------------------------------------------------------------------------------------
    async def position(self) -> Position:
        """Where the log stands now."""

    async def events(
        self, *, after: int, limit: int, tenant: str | None = None, job_ids: Sequence[str] = ()
    ) -> list[JobEvent]:
        """Read the log after a revision, in order, at most `limit` rows: all of it, or of one tenant, or of some jobs
        of one tenant (served by an index). Raises `RevisionCompacted` when rows after `after` may be gone (not when
        `job_ids` are named: what is left of them is returned)."""

    async def pending_lanes(self, types: Sequence[str] | None, queues: Sequence[str] | None = None) -> list[Lane]:
        """Lanes of these types and queues (None = any) that hold a PENDING job now; an index seek per lane."""

    async def counts(self) -> StoreCounts:
        """Jobs per state."""

    async def secret(self, purpose: str) -> bytes:
        """A 32-byte key for `purpose`, made at first use, kept in the store: the same after any restart."""
