"""What a store should hold, as plain dictionaries: the reference of the state machine.

It knows the lifecycle from `domain.lifecycle` alone (`step`, `decide`) and nothing of SQL, transactions or groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from jobwire_server.domain.job import (
    DAY_US,
    DEFAULT_RETRY_POLICY,
    TERMINAL_STATES,
    WAITING_STATES,
    Content,
    NewJob,
    RetryPolicy,
    State,
)
from jobwire_server.domain.lifecycle import AttemptFacts, Event, decide, step
from jobwire_server.domain.outcome import LeaseLost, Outcome, Released, Stopped, Succeeded
from jobwire_server.store.base import Lane, Owner, QueueShare, ReportCode, Transport

CANCEL_GRACE_US = 10_000_000
"""What a heartbeat leaves of a lease whose job shall be cancelled."""

Name = tuple[str, str]
"""(tenant, job id)."""

CHANCE = 0.5


class Change(NamedTuple):
    """What one event must say."""

    name: Name
    sequence: int
    previous: State | None
    state: State
    attempt: int
    fence: int


@dataclass(slots=True, kw_only=True)
class ModelJob:
    """One job, as the outside may know it."""

    name: Name
    key: int
    lane: Lane
    priority: int
    state: State
    due_us: int
    create_us: int
    chosen: bool
    labels: dict[str, str]
    batch_id: str
    policy: RetryPolicy
    expire_us: int | None
    retention_us: int | None
    max_attempts: int
    attempt: int = 0
    fence: int = 0
    losses: int = 0
    sequence: int = 1
    cancel: bool = False
    cancel_us: int = 0
    """When that was asked for."""
    owner: Owner | None = None
    lease_end_us: int | None = None
    finish_us: int | None = None
    lease_us: int | None = None
    """When it was leased last."""
    error: str | None = None
    result: Content | None = None
    checkpoint: Content | None = None

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.name[0]

    def row(self) -> tuple[object, ...]:
        """What must stand in the table (`ROW` of the state machine)."""
        return (
            *self.name, self.state, self.attempt, self.max_attempts, self.fence, self.losses, self.sequence,
            self.due_us, self.lease_end_us, self.finish_us, self.cancel, self.checkpoint is not None,
            *(self.owner if self.state is State.PROCESSING and self.owner else (None, None, None))[1:],
        )  # fmt: skip


@dataclass(slots=True)
class Key:
    """An idempotency key."""

    fingerprint: bytes
    names: list[Name]
    batch_id: str
    create_us: int


@dataclass(slots=True)
class Model:
    """All jobs, keys and tombstones; each verb returns what it answers and appends what it changes."""

    now_us: int
    jobs: dict[Name, ModelJob] = field(default_factory=dict)
    keys: dict[Name, Key] = field(default_factory=dict)
    tombstones: dict[Name, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def taken(self, name: Name) -> bool:
        """Whether a chosen id is, or was."""
        return name in self.jobs or self.tombstones.get(name, 0) > self.now_us

    def create(self, tenant: str, job: NewJob, key: int, batch_id: str) -> ModelJob:
        """Add a job whose refusal has been ruled out."""
        ahead = job.schedule_time_us is not None and job.schedule_time_us > self.now_us
        policy = job.retry_policy or DEFAULT_RETRY_POLICY
        added = ModelJob(
            name=(tenant, job.job_id),
            key=key,
            lane=Lane(job.queue, job.type),
            priority=job.priority,
            state=State.SCHEDULED if ahead else State.PENDING,
            due_us=job.schedule_time_us if ahead and job.schedule_time_us is not None else self.now_us,
            create_us=self.now_us,
            chosen=job.id_chosen,
            labels=dict(job.labels or {}),
            batch_id=batch_id,
            policy=policy,
            expire_us=job.expire_time_us,
            retention_us=job.retention_us,
            max_attempts=policy.max_attempts,
        )
        self.jobs[added.name] = added
        self.changes.append(Change(added.name, 1, None, added.state, 0, 0))
        return added

    def lease(
        self, lanes: Iterable[Lane], limit: int, owner: Owner, lease_us: int, shares: Sequence[QueueShare] = ()
    ) -> list[ModelJob]:
        """Choose and lease, in the order promised."""
        wanted = set(lanes)
        ready = [
            job
            for job in self.jobs.values()
            if job.state is State.PENDING and job.lane in wanted and not self._expired(job)
        ]
        ready.sort(key=lambda job: (-job.priority, job.due_us, job.key))
        chosen = _in_turn(ready, {share.queue: share for share in shares}, limit) if shares else ready[:limit]
        for job in chosen:
            self._move(job, Event.LEASE)
            job.owner, job.lease_us, job.lease_end_us = owner, self.now_us, self.now_us + lease_us
        return chosen

    def report(self, key: int, fence: int, outcome: Outcome) -> tuple[bool, ModelJob | None]:
        """Whether the report counts, and its job."""
        job = next((job for job in self.jobs.values() if job.key == key), None)
        if job is None or job.state is not State.PROCESSING or job.fence != fence:
            return False, job
        self._end(job, outcome)
        if isinstance(outcome, Succeeded | Stopped):
            job.result = outcome.result
        if job.state is State.COMPLETED:
            job.checkpoint = None
        return True, job

    def extend(self, key: int, fence: int, lease_us: int, checkpoint: Content | None) -> ModelJob | None:
        """The job whose lease was extended."""
        job = self._held(key, fence)
        if job is not None:
            job.lease_end_us = self.now_us + lease_us
            if job.cancel:
                job.lease_end_us = min(job.lease_end_us, job.cancel_us + CANCEL_GRACE_US)
            job.checkpoint = checkpoint or job.checkpoint
        return job

    def reattach(self, owner: Owner, held: Iterable[tuple[int, int]]) -> tuple[list[ModelJob | None], int]:
        """The jobs of the leases that stand, and how many were given back."""
        named = [self._held(key, fence) for key, fence in held]
        lost = [job for job in self.held_by(owner.instance_id) if job not in named]
        for job in lost:
            self._end(job, Released())
        for job in named:
            if job is not None:
                job.owner = owner
        return named, len(lost)

    def stands(self, key: int, fence: int) -> bool:
        """Whether a lease is its job's current one."""
        return self._held(key, fence) is not None

    def held_by(self, instance_id: str) -> list[ModelJob]:
        """What an instance holds, oldest lease first."""
        held = [
            job
            for job in self._processing()
            if job.owner and job.owner.instance_id == instance_id and not self._over(job)
        ]
        return sorted(held, key=lambda job: (job.lease_us, job.key))

    def cancel(self, job: ModelJob, *, force: bool) -> None:
        """Cancel a job that has not ended."""
        if job.state is State.CANCELLED or (job.state is State.PROCESSING and job.cancel and not force):
            return
        first, job.cancel = not job.cancel, True
        job.cancel_us = self.now_us if first else job.cancel_us
        if job.state is State.PROCESSING and not force:
            assert first
            job.sequence += 1
            self.changes.append(Change(job.name, job.sequence, job.state, job.state, job.attempt, job.fence))
            return
        self._move(job, Event.CANCEL)

    def retry(self, job: ModelJob, additional: int, schedule_us: int | None) -> None:
        """Put a job that ended badly back."""
        later = schedule_us is not None and schedule_us > self.now_us
        self._move(job, Event.REQUEUE_LATER if later else Event.REQUEUE)
        job.max_attempts = job.attempt + (additional or job.policy.max_attempts)
        job.due_us = schedule_us if later and schedule_us is not None else self.now_us
        job.losses, job.cancel, job.finish_us, job.error, job.result = 0, False, None, None, None
        if self._expired(job):
            job.expire_us = None

    def delete(self, job: ModelJob) -> None:
        """Remove a terminal job."""
        del self.jobs[job.name]
        if job.chosen:
            self.tombstones[job.name] = self.now_us + 30 * DAY_US
        self.changes.append(Change(job.name, job.sequence + 1, job.state, job.state, job.attempt, job.fence))

    def recover(self, instance_id: str) -> list[ModelJob]:
        """Void the leases of dead pools and those that are over."""
        lost = [
            job
            for job in self._processing()
            if self._over(job)
            or (job.owner and job.owner.transport is Transport.DIRECT and job.owner.instance_id != instance_id)
        ]
        for job in lost:
            self._end(job, LeaseLost(at_startup=True))
        return lost

    def expire_leases(self) -> list[ModelJob]:
        """End the leases that are over."""
        lost = [job for job in self._processing() if self._over(job)]
        for job in lost:
            self._end(job, LeaseLost())
        return lost

    def promote_due(self) -> list[ModelJob]:
        """What waits for its time and need not any more."""
        due = [
            job
            for job in self.jobs.values()
            if job.state in (State.SCHEDULED, State.RETRYING) and job.due_us <= self.now_us
        ]
        for job in due:
            self._move(job, Event.DUE)
        return due

    def expire_jobs(self) -> list[ModelJob]:
        """What waited too long."""
        late = [job for job in self.jobs.values() if job.state in WAITING_STATES and self._expired(job)]
        for job in late:
            self._move(job, Event.EXPIRE)
        return late

    def purge(self) -> None:
        """Remove what has outlived its retention."""
        for job in [job for job in self.jobs.values() if job.state in TERMINAL_STATES]:
            default = 30 * DAY_US if job.state is State.FAILED else 7 * DAY_US
            assert job.finish_us is not None
            if job.finish_us + (default if job.retention_us is None else job.retention_us) <= self.now_us:
                self.delete(job)
        self.keys = {
            name: key
            for name, key in self.keys.items()
            if key.create_us >= self.now_us - DAY_US or any(one in self.jobs for one in key.names)
        }
        self.tombstones = {name: until for name, until in self.tombstones.items() if until > self.now_us}

    def _end(self, job: ModelJob, outcome: Outcome) -> None:
        facts = AttemptFacts(job.attempt, job.max_attempts, job.policy, job.cancel, self._expired(job), job.losses)
        decision = decide(facts, outcome, jitter=CHANCE)
        self._move(job, decision.event)
        job.losses = decision.losses
        if job.state in (State.RETRYING, State.SCHEDULED):
            job.due_us = self.now_us + decision.delay_us
        if decision.error is not None:
            job.error = decision.error.type

    def _move(self, job: ModelJob, event: Event) -> None:
        change = step(job.state, event)
        previous, job.state = job.state, change.to
        job.attempt += change.attempt
        job.fence += change.fence
        job.sequence += 1
        job.lease_end_us = None
        job.finish_us = self.now_us if job.state in TERMINAL_STATES else None
        self.changes.append(Change(job.name, job.sequence, previous, job.state, job.attempt, job.fence))

    def _held(self, key: int, fence: int) -> ModelJob | None:
        return next((job for job in self._processing() if (job.key, job.fence) == (key, fence)), None)

    def _processing(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state is State.PROCESSING]

    def _expired(self, job: ModelJob) -> bool:
        return job.expire_us is not None and job.expire_us <= self.now_us

    def _over(self, job: ModelJob) -> bool:
        return job.lease_end_us is not None and job.lease_end_us <= self.now_us


def _in_turn(ready: Sequence[ModelJob], shares: Mapping[str, QueueShare], limit: int) -> list[ModelJob]:
    """Serve the queue whose turn is lowest, again and again."""
    chosen: list[ModelJob] = []
    for _ in range(limit):
        turns = []
        for queue in {job.lane.queue for job in ready if job not in chosen}:
            share = shares.get(queue, QueueShare(queue))
            served = sum(job.lane.queue == queue for job in chosen)
            if share.limit is None or served < share.limit:
                turns.append((share.turn + served / share.weight, queue))
        if not turns:
            break
        queue = min(turns)[1]
        chosen.append(next(job for job in ready if job.lane.queue == queue and job not in chosen))
    return chosen


def stale_code(job: ModelJob | None, fence: int, outcome_ends_in_success: bool) -> ReportCode:
    """What a report that changes nothing is told."""
    if job is None or job.fence != fence or job.state is State.PROCESSING:
        return ReportCode.LEASE_LOST
    if (job.state is State.COMPLETED) == outcome_ends_in_success:
        return ReportCode.DUPLICATE
    return ReportCode.LEASE_LOST
