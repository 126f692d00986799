"""Random lives of a store beside a small model of it: every step compares everything that can be seen."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from jobwire_server.domain.errors import (
    JobIdTaken,
    JobNotFound,
    JobNotTerminal,
    JobSucceeded,
    JobTerminal,
    JobwireError,
    Refused,
    RequestIdReused,
    RevisionCompacted,
)
from jobwire_server.domain.job import (
    DAY_US,
    SECOND_US,
    TERMINAL_STATES,
    Content,
    Job,
    JobError,
    NewJob,
    RetryPolicy,
    State,
)
from jobwire_server.domain.outcome import Failed, Outcome, Released, Snoozed, Stopped, Succeeded
from jobwire_server.store.base import (
    EventKind,
    JobEvent,
    JobFilter,
    Lane,
    Lease,
    LeaseRequest,
    LeaseUpdate,
    ListQuery,
    Owner,
    QueueShare,
    Report,
    ReportCode,
    Submission,
    Submitted,
    Transport,
)
from tests.helpers.factories import new_job
from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import StoreRig
from tests.store.model import Change, Key, Model, ModelJob, Name, stale_code

T = TypeVar("T")

TENANTS = ("default", "red")
LANES = (Lane("a", "x"), Lane("a", "y"), Lane("b", "x"))
OWNERS = (
    Owner("pool", "boot-1", Transport.DIRECT),
    Owner("pool", "boot-2", Transport.DIRECT),
    Owner("remote", "elsewhere", Transport.STREAM),
    Owner("remote", "elsewhere", Transport.UNARY),
)
CHECKPOINT = Content(b"1", "c/p")
EVENTS_KEPT = 25
EVENT_AGE_S = 60
ROW = (
    "SELECT tenant, id, state, attempt, max_attempts, fence, losses, sequence, due_us, lease_expire_us, finish_us, "
    "cancel_us IS NOT NULL, checkpointed, instance_id, transport FROM job"
)

tenants = st.sampled_from(TENANTS)
picks = st.integers(0, 1000)
lanes = st.sampled_from(LANES)
outcomes: dict[str, st.SearchStrategy[Outcome]] = {
    "failed": st.builds(
        Failed,
        st.builds(JobError, type=st.sampled_from(["OSError", "Excluded"]), retryable=st.booleans()),
        st.sampled_from([None, 0, 5 * SECOND_US]),
    ),
    "snoozed": st.builds(Snoozed, st.sampled_from([0, 3 * SECOND_US])),
    "stopped": st.builds(Stopped, st.just(""), st.sampled_from([None, Content(b"so far"), Content(bytes(300))])),
}


class StoreMachine(RuleBasedStateMachine):
    """Drives a store on a file and the model through the same verbs."""

    leases: Bundle[Lease] = Bundle("leases")
    cursors: Bundle[int] = Bundle("cursors")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.rig = self.new_rig(
            event_retention_us=EVENT_AGE_S * SECOND_US,
            event_retention_count=EVENTS_KEPT,
            inline_content_bytes=8,
        )
        self.run(self.rig.open())
        self.model = Model(self.rig.clock.wall_us())
        self.log: list[JobEvent] = []
        self.floor = 0
        self.expected: list[Change] = []
        self.ids = itertools.count(1)

    def new_rig(self, **settings: Any) -> StoreRig:
        """The store that is driven."""
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="jobwire-model-", dir=memory if memory.is_dir() else None))
        return StoreRig(self.folder / "jobs.db", **settings)

    def remove_rig(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder)

    def run(self, verb: Coroutine[Any, Any, T]) -> T:
        """Wait for one verb."""
        return self.runner.run(verb)

    def refusal(self, verb: Coroutine[Any, Any, object]) -> type[JobwireError] | None:
        """Wait for one verb; return what it was refused with."""
        try:
            self.run(verb)
        except Refused as error:
            return type(error)
        return None

    def job(self, pick: int) -> ModelJob | None:
        """Any job of the model; None when there is none."""
        jobs = list(self.model.jobs.values())
        return jobs[pick % len(jobs)] if jobs else None

    def teardown(self) -> None:
        """Check the store once more from end to end."""
        try:
            self.run(self.rig.close())
            self.runner.close()
        finally:
            self.remove_rig()

    @initialize(target=cursors)
    def begin(self) -> int:
        """A watch from the very beginning."""
        return 0

    @initialize(target=leases, jobs=st.integers(1, 8), leased=st.integers(0, 8), owner=st.sampled_from(OWNERS))
    def populate(self, jobs: int, leased: int, owner: Owner) -> Any:
        """Some jobs, some of them leased, and one of these with a checkpoint."""
        self.submit("default", *(self.new(expire_time_us=self.model.now_us + 20 * SECOND_US) for _ in range(jobs)))
        granted = self.grant(LANES, leased, owner, 10)
        for lease in granted[:1]:
            self.extend(lease, 10, None, CHECKPOINT)
        return multiple(*granted)

    # --- submitting -----------------------------------------------------------------------------------------

    def new(self, lane: Lane = LANES[0], **fields: Any) -> NewJob:
        """A job with a numbered id, unless it is chosen."""
        defaults: dict[str, Any] = {"job_id": f"j{next(self.ids)}", "queue": lane.queue, "type": lane.type}
        return new_job(**{**defaults, **fields})

    def submit(self, tenant: str, *jobs: NewJob, **fields: Any) -> None:
        """Submit on both sides and compare, element by element."""
        before = self.newest
        submission = Submission(tenant, jobs, **fields)
        if submission.atomic:
            self._submit_atomic(submission, before)
            return
        receipt = self.run(self.rig.store.submit(submission))
        assert receipt.time_us == self.model.now_us
        fresh = itertools.count(before + 1)
        for job, answer in zip(jobs, receipt.answers, strict=True):
            self._expect_one(tenant, job, answer, fresh)

    def _expect_one(self, tenant: str, job: NewJob, answer: object, fresh: itertools.count[int]) -> None:
        key = self.model.keys.get((tenant, job.request_id)) if job.request_id else None
        if key is not None and key.fingerprint != job.fingerprint:
            assert isinstance(answer, RequestIdReused)
        elif key is not None:
            self._expect_found(key.names[0], answer)
        elif job.id_chosen and self.model.taken((tenant, job.job_id)):
            assert isinstance(answer, JobIdTaken)
        else:
            created = self.model.create(tenant, job, next(fresh), "")
            assert answer == Submitted(job.job_id, True, created.state, created.key)
            if job.request_id:
                self.model.keys[tenant, job.request_id] = Key(job.fingerprint, [created.name], "", self.model.now_us)

    def _expect_found(self, name: Name, answer: object) -> None:
        found = self.model.jobs.get(name)
        if found is None:
            assert isinstance(answer, JobNotFound)
        else:
            assert isinstance(answer, Submitted)
            assert (answer.job_id, answer.created, answer.state) == (name[1], False, found.state)

    def _submit_atomic(self, submission: Submission, before: int) -> None:
        tenant, jobs = submission.tenant, submission.jobs
        key = self.model.keys.get((tenant, submission.request_id)) if submission.request_id else None
        expected: type[JobwireError] | None = None
        chosen = [(tenant, job.job_id) for job in jobs if job.id_chosen]
        if key is not None and key.fingerprint != submission.fingerprint:
            expected = RequestIdReused
        elif key is not None and any(name not in self.model.jobs for name in key.names):
            expected = JobNotFound
        elif key is None and (len(set(chosen)) < len(chosen) or any(map(self.model.taken, chosen))):
            expected = JobIdTaken
        if expected is not None:
            assert self.refusal(self.rig.store.submit(submission)) is expected
            return
        receipt = self.run(self.rig.store.submit(submission))
        if key is not None:
            assert receipt.batch_id == key.batch_id
            for name, answer in zip(key.names, receipt.answers, strict=True):
                self._expect_found(name, answer)
            return
        fresh = itertools.count(before + 1)
        created = [self.model.create(tenant, job, next(fresh), submission.batch_id) for job in jobs]
        if submission.request_id:
            names = [job.name for job in created]
            batch = Key(submission.fingerprint, names, submission.batch_id, self.model.now_us)
            self.model.keys[tenant, submission.request_id] = batch

    @rule(tenant=tenants, lane=lanes, priority=st.integers(0, 9), label=st.sampled_from("01"))
    def submit_plain(self, tenant: str, lane: Lane, priority: int, label: str) -> None:
        """A job that may run at once."""
        self.submit(tenant, self.new(lane, priority=priority, labels={"l": label}))

    @rule(lane=lanes, attempts=st.integers(1, 3), retention=st.sampled_from([None, SECOND_US]))
    def submit_with_policy(self, lane: Lane, attempts: int, retention: int | None) -> None:
        """A job with few attempts, one error that is never retried, and maybe a short afterlife."""
        policy = RetryPolicy(max_attempts=attempts, non_retryable_error_types=("Excluded",))
        payload = Content(bytes(range(20)), "a/b")
        self.submit("default", self.new(lane, retry_policy=policy, retention_us=retention, payload=payload))

    @rule(lane=lanes, delay_s=st.sampled_from([-5, 0, 2, 20]))
    def submit_scheduled(self, lane: Lane, delay_s: int) -> None:
        """A job for later."""
        self.submit("default", self.new(lane, schedule_time_us=self.model.now_us + delay_s * SECOND_US))

    @rule(lane=lanes, delay_s=st.sampled_from([0, 3, 30]))
    def submit_expiring(self, lane: Lane, delay_s: int) -> None:
        """A job that is of no use later."""
        self.submit("default", self.new(lane, expire_time_us=self.model.now_us + delay_s * SECOND_US))

    @rule(tenant=tenants, request_id=st.sampled_from("kl"), content=st.sampled_from([b"f", b"g"]))
    def submit_with_key(self, tenant: str, request_id: str, content: bytes) -> None:
        """A request that may be a repetition."""
        self.submit(tenant, self.new(request_id=request_id, fingerprint=content, retention_us=SECOND_US))

    @rule(tenant=tenants, job_id=st.sampled_from(["mine", "yours"]))
    def submit_chosen_id(self, tenant: str, job_id: str) -> None:
        """A job whose id may be taken."""
        self.submit(tenant, self.new(job_id=job_id, id_chosen=True))

    @rule(
        size=st.integers(1, 4),
        request_id=st.sampled_from(["", "k", "b"]),
        content=st.sampled_from([b"f", b"g"]),
        chosen=st.booleans(),
    )
    def submit_atomic_batch(self, size: int, request_id: str, content: bytes, chosen: bool) -> None:
        """All or none."""
        jobs = [self.new(LANES[number % 3]) for number in range(size)]
        if chosen:
            jobs.append(self.new(job_id="mine", id_chosen=True))
        number = next(self.ids)
        self.submit("default", *jobs, atomic=True, request_id=request_id, fingerprint=content, batch_id=f"b{number}")

    @rule(request_ids=st.lists(st.sampled_from(["", "k", "l", "m"]), min_size=2, max_size=5), chosen=st.booleans())
    def submit_independent_batch(self, request_ids: list[str], chosen: bool) -> None:
        """Each on its own, the same key more than once maybe."""
        jobs = [self.new(request_id=request_id, fingerprint=b"f") for request_id in request_ids]
        if chosen:
            jobs += [self.new(job_id="yours", id_chosen=True) for _ in range(2)]
        self.submit("default", *jobs)

    @rule(size=st.integers(2, 6))
    def submit_concurrently(self, size: int) -> None:
        """Callers in flight together; one of them fails in a way that nobody foresaw."""
        jobs = [self.new() for _ in range(size)]
        bad = self.new(priority=99)

        async def all_at_once() -> list[Any]:
            verbs = [self.rig.store.submit(Submission("default", [job])) for job in [*jobs[:1], bad, *jobs[1:]]]
            tasks: list[asyncio.Task[Any]] = []
            async with asyncio.TaskGroup() as group:
                tasks += [group.create_task(_outcome(verb)) for verb in verbs]
            return [task.result() for task in tasks]

        first, failed, *others = self.run(all_at_once())
        assert isinstance(failed, Exception)
        for job, receipt in zip(jobs, [first, *others], strict=True):
            created = self.model.create("default", job, receipt.answers[0].revision, "")
            assert receipt.answers[0].job_id == created.name[1]

    # --- working --------------------------------------------------------------------------------------------

    @rule(
        target=leases,
        wanted=st.lists(lanes, min_size=1, max_size=3),
        limit=st.integers(1, 4),
        owner=st.sampled_from(OWNERS),
        lease_s=st.sampled_from([1, 10, 100]),
    )
    def lease(self, wanted: list[Lane], limit: int, owner: Owner, lease_s: int) -> Any:
        """Lease what is next."""
        return multiple(*self.grant(wanted, limit, owner, lease_s))

    @rule(
        target=leases,
        wanted=st.lists(lanes, min_size=1, max_size=3),
        limit=st.integers(1, 6),
        shares=st.lists(
            st.builds(
                QueueShare,
                st.sampled_from(["a", "b"]),
                st.integers(1, 3),
                st.sampled_from([0.0, 0.5, 2.0]),
                st.sampled_from([None, 0, 1, 2]),
            ),
            min_size=1,
            max_size=2,
            unique_by=lambda share: share.queue,
        ),
    )
    def lease_fairly(self, wanted: list[Lane], limit: int, shares: list[QueueShare]) -> Any:
        """Lease so that each queue gets its share."""
        return multiple(*self.grant(wanted, limit, OWNERS[2], 10, shares))

    def grant(
        self, wanted: Sequence[Lane], limit: int, owner: Owner, lease_s: int, shares: Sequence[QueueShare] = ()
    ) -> list[Lease]:
        """Lease on both sides and compare."""
        request = LeaseRequest(owner, wanted, limit, lease_s * SECOND_US, shares=shares)
        granted = self.run(self.rig.store.lease(request))
        expected = self.model.lease(wanted, limit, owner, lease_s * SECOND_US, shares)
        assert [_facts(lease) for lease in granted] == [_expected(job) for job in expected]
        assert all(one.lease_us == lease_s * SECOND_US for one in granted)
        return granted

    @rule(owner=st.sampled_from(OWNERS), some=st.lists(leases, max_size=4))
    def reattach(self, owner: Owner, some: list[Lease]) -> None:
        """A worker process comes back with some leases, its own or not, that stand or not; then says so again."""
        held = [(lease.key, lease.fence) for lease in some]
        found = self.run(self.rig.store.reattach(owner, held))
        named, returned = self.model.reattach(owner, held)
        assert [(state.valid, state.cancel_requested) for state in found.states] == [
            (job is not None, job is not None and job.cancel) for job in named
        ]
        standing = list({job.key: job for job in named if job is not None}.values())
        assert [_facts(lease)[:-1] for lease in found.leases] == [_expected(job)[:-1] for job in standing]
        assert found.returned == returned
        assert self.run(self.rig.store.reattach(owner, held)) == found._replace(returned=0)

    @rule(owner=st.sampled_from(OWNERS), limit=st.sampled_from([1, 100]))
    def look_at_what_is_held(self, owner: Owner, limit: int) -> None:
        """What an instance holds."""
        held = self.run(self.rig.store.held_by(owner.instance_id, limit=limit))
        expected = self.model.held_by(owner.instance_id)[:limit]
        assert [_facts(lease) for lease in held] == [_expected(job) for job in expected]

    @rule(lease=leases, size=st.integers(1, 3), key=st.sampled_from(["", "k", "n"]), chosen=st.booleans())
    def report_success_with_follow_ups(self, lease: Lease, size: int, key: str, chosen: bool) -> None:
        """A success and what follows it, or neither."""
        jobs = [self.new(LANES[number % 3]) for number in range(size)]
        jobs[0] = jobs[0]._replace(request_id=key, fingerprint=b"f")
        if chosen:
            jobs.append(self.new(job_id="mine", id_chosen=True))
        before, outcome = self.newest, Succeeded(None, jobs)
        [answer] = self.run(self.rig.store.report([Report(lease.key, lease.fence, outcome)]))
        seen = self.model.keys.get((lease.tenant, key)) if key else None
        refused = (
            (seen is not None and (seen.fingerprint != b"f" or seen.names[0] not in self.model.jobs))
            or (chosen and self.model.taken((lease.tenant, "mine")))
        )  # fmt: skip
        if refused and self.model.stands(lease.key, lease.fence):
            assert answer.code is ReportCode.REFUSED
            assert isinstance(answer.refusal, RequestIdReused | JobNotFound | JobIdTaken)
            return
        counted, job = self.model.report(lease.key, lease.fence, outcome)
        assert answer.code is (ReportCode.RECORDED if counted else stale_code(job, lease.fence, True))
        if counted:
            fresh = itertools.count(before + 1)
            created = [self.model.create(lease.tenant, one, next(fresh), "") for one in (jobs[1:] if seen else jobs)]
            if key and not seen:
                self.model.keys[lease.tenant, key] = Key(b"f", [created[0].name], "", self.model.now_us)

    def report(self, lease: Lease, outcome: Outcome) -> None:
        """Report on both sides and compare."""
        [answer] = self.run(self.rig.store.report([Report(lease.key, lease.fence, outcome)]))
        counted, job = self.model.report(lease.key, lease.fence, outcome)
        if counted:
            assert answer.code is ReportCode.RECORDED
        else:
            assert answer.code is stale_code(job, lease.fence, isinstance(outcome, Succeeded))
        assert answer.state == (job.state if job else None)
        waits = counted and job is not None and job.state in (State.RETRYING, State.SCHEDULED)
        assert answer.due_in_us == (job.due_us - self.model.now_us if waits and job else None)

    @rule(
        target=leases,
        lane=lanes,
        outcome=st.one_of(st.just(Succeeded()), *outcomes.values(), st.none()),
        lease_s=st.sampled_from([1, 10]),
        checkpoint=st.sampled_from([CHECKPOINT, None]),
    )
    def work_on_the_next(self, lane: Lane, outcome: Outcome | None, lease_s: int, checkpoint: Content | None) -> Any:
        """A worker takes the next job, and ends its attempt or vanishes; a new lease always outdates the old."""
        granted = self.grant([lane], 1, OWNERS[0], lease_s)
        for lease in granted:
            if checkpoint is not None:
                self.extend(lease, lease_s, None, checkpoint)
            if outcome is None:
                self.advance(lease_s)
                self.expire_leases(100)
            else:
                self.report(lease, outcome)
        return multiple(*granted)

    @rule(lease=leases, size=st.sampled_from([None, 0, 3, 300]))
    def report_success(self, lease: Lease, size: int | None) -> None:
        """The handler returned; the lease may be long over."""
        self.report(lease, Succeeded(None if size is None else Content(bytes(size), "r/s")))

    @rule(lease=leases, outcome=outcomes["failed"])
    def report_failure(self, lease: Lease, outcome: Failed) -> None:
        """The handler raised."""
        self.report(lease, outcome)

    @rule(lease=leases)
    def report_release(self, lease: Lease) -> None:
        """Given back."""
        self.report(lease, Released())

    @rule(lease=leases, outcome=outcomes["snoozed"])
    def report_snooze(self, lease: Lease, outcome: Snoozed) -> None:
        """Given back for later."""
        self.report(lease, outcome)

    @rule(lease=leases, outcome=outcomes["stopped"])
    def report_stop(self, lease: Lease, outcome: Stopped) -> None:
        """The handler cancelled its job."""
        self.report(lease, outcome)

    @rule(lease=leases, shift=st.sampled_from([-1, 1, 1000]))
    def report_with_a_fence_of_nobody(self, lease: Lease, shift: int) -> None:
        """A forged or stale fence."""
        forged = lease._replace(fence=lease.fence + shift)
        self.report(forged, Succeeded())

    @rule(lease=consumes(leases), outcome=outcomes["failed"])
    def report_twice(self, lease: Lease, outcome: Failed) -> None:
        """The answer to the first report was lost."""
        self.report(lease, outcome)
        self.report(lease, outcome)

    @rule(some=st.lists(leases, min_size=2, max_size=5, unique_by=lambda lease: lease.key))
    def report_many(self, some: list[Lease]) -> None:
        """Several outcomes in one call, each judged on its own."""
        cycle = itertools.cycle([Succeeded(), Failed(JobError(type="E")), Released()])
        reports = [Report(lease.key, lease.fence, outcome) for lease, outcome in zip(some, cycle, strict=False)]
        answers = self.run(self.rig.store.report(reports))
        for report, answer in zip(reports, answers, strict=True):
            counted, job = self.model.report(*report)
            assert (answer.code is ReportCode.RECORDED) is counted
            assert answer.state == (job.state if job else None)

    @rule(
        lease=leases,
        lease_s=st.sampled_from([1, 50]),
        percent=st.sampled_from([None, 0.0, 99.5]),
        checkpoint=st.sampled_from([CHECKPOINT, Content(b"22"), None]),
    )
    def extend(self, lease: Lease, lease_s: int, percent: float | None, checkpoint: Content | None) -> None:
        """A heartbeat."""
        update = LeaseUpdate(lease.key, lease.fence, lease_s * SECOND_US, percent, checkpoint=checkpoint)
        [state] = self.run(self.rig.store.extend([update]))
        job = self.model.extend(lease.key, lease.fence, lease_s * SECOND_US, checkpoint)
        assert state.valid is (job is not None)
        if job is not None:
            assert job.lease_end_us is not None
            assert (state.cancel_requested, state.remaining_us) == (job.cancel, job.lease_end_us - self.model.now_us)

    # --- clients --------------------------------------------------------------------------------------------

    @rule(pick=picks, force=st.booleans())
    def cancel(self, pick: int, force: bool) -> None:
        """Cancel any job, in whatever state."""
        job = self.job(pick)
        if job is None:
            assert self.refusal(self.rig.store.cancel("default", "nobody")) is JobNotFound
            return
        refused = self.refusal(self.rig.store.cancel(*job.name, force=force))
        if job.state in TERMINAL_STATES - {State.CANCELLED}:
            assert refused is JobTerminal
        else:
            assert refused is None
            self.model.cancel(job, force=force)

    @rule(pick=picks, additional=st.sampled_from([0, 1, 3]), delay_s=st.sampled_from([None, -1, 5]))
    def retry(self, pick: int, additional: int, delay_s: int | None) -> None:
        """Retry any job, in whatever state."""
        job = self.job(pick)
        if job is None:
            return
        at_us = None if delay_s is None else self.model.now_us + delay_s * SECOND_US
        refused = self.refusal(self.rig.store.retry(*job.name, additional_attempts=additional, schedule_time_us=at_us))
        if job.state is State.COMPLETED:
            assert refused is JobSucceeded
        elif job.state not in TERMINAL_STATES:
            assert refused is JobNotTerminal
        else:
            assert refused is None
            self.model.retry(job, additional, at_us)

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        """Delete any job, in whatever state."""
        job = self.job(pick)
        if job is None:
            assert self.run(self.rig.store.delete("default", "nobody")) is False
        elif job.state in TERMINAL_STATES:
            assert self.run(self.rig.store.delete(*job.name)) is True
            self.model.delete(job)
        else:
            assert self.refusal(self.rig.store.delete(*job.name)) is JobNotTerminal

    @rule(pick=picks)
    def reach_for_the_job_of_another_tenant(self, pick: int) -> None:
        """As if it were not there."""
        job = self.job(pick)
        if job is None or ("blue", job.name[1]) in self.model.jobs:
            return
        stranger = ("blue", job.name[1])
        assert self.run(self.rig.store.get("blue", [job.name[1]], full=True)) == [None]
        assert self.refusal(self.rig.store.cancel(*stranger, force=True)) is JobNotFound
        assert self.refusal(self.rig.store.retry(*stranger)) is JobNotFound
        assert self.run(self.rig.store.delete(*stranger)) is False

    # --- sweeps ---------------------------------------------------------------------------------------------

    @rule(instance_id=st.sampled_from(["boot-1", "boot-2", "boot-3"]), limit=st.sampled_from([1, 2, 100]))
    def recover(self, instance_id: str, limit: int) -> None:
        """A server starts under this name and recovers, batch by batch."""
        expected = self.model.recover(instance_id)
        totals = {State.PENDING: 0, State.FAILED: 0, State.CANCELLED: 0}
        for _ in range(len(expected) + 2):
            batch = self.run(self.rig.store.recover(instance_id=instance_id, limit=limit))
            totals[State.PENDING] += batch.returned
            totals[State.FAILED] += batch.failed
            totals[State.CANCELLED] += batch.cancelled
            if not batch.more:
                break
        else:
            raise AssertionError("recovery never ends")
        ends = [State.CANCELLED if job.state is State.EXPIRED else job.state for job in expected]
        assert totals == {state: ends.count(state) for state in totals}

    def sweep(self, name: str, limit: int, expected: Sequence[ModelJob]) -> None:
        """Repeat a bounded sweep until it says that nothing is left."""
        changed = 0
        for _ in range(len(expected) + 2):
            result = self.run(getattr(self.rig.store, name)(limit=limit))
            assert result.changed <= limit
            changed += result.changed
            if not result.more:
                break
        assert changed == len(expected)

    @rule(limit=st.sampled_from([1, 3, 100]))
    def expire_leases(self, limit: int) -> None:
        """End the leases that are over."""
        self.sweep("expire_leases", limit, self.model.expire_leases())

    @rule(limit=st.sampled_from([1, 3, 100]))
    def promote_due(self, limit: int) -> None:
        """Promote what is due."""
        self.sweep("promote_due", limit, self.model.promote_due())

    @rule(limit=st.sampled_from([1, 3, 100]))
    def expire_jobs(self, limit: int) -> None:
        """Expire what waited too long."""
        self.sweep("expire_jobs", limit, self.model.expire_jobs())

    @rule()
    def purge(self) -> None:
        """Remove what has outlived its retention, the log included."""
        self.run(self.rig.store.purge(limit=1000))
        self.model.purge()
        self._read_log()
        old_us = self.model.now_us - EVENT_AGE_S * SECOND_US
        gone = [one.revision for one in self.log if one.revision <= self.newest - EVENTS_KEPT and one.time_us < old_us]
        self.floor = max([self.floor, *gone])

    # --- time and trouble -----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 1, 1, 3, 10, 15, 120, 86_400, 8 * 86_400, 31 * 86_400]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._read_log()
        self.rig.clock.advance(seconds)
        self.model.now_us += round(seconds * SECOND_US)

    @rule(seconds=st.sampled_from([-7200, -1, 1, 7200]))
    def jump_wall_clock(self, seconds: int) -> None:
        """Somebody sets the server's clock. A store in a file notices at its next start, and only forwards; one in a
        database never does."""
        self.rig.clock.jump_wall(seconds)

    def _restarted(self) -> None:
        newest_us = self.log[-1].time_us if self.log and self.log[-1].revision > self.floor else 0
        self.model.now_us = self.rig.time_after_restart(newest_us)

    @rule()
    def crash(self) -> None:
        """Killed at this instant, and started again."""
        self.run(self.rig.crash())
        self._restarted()

    @rule()
    def restart(self) -> None:
        """Stopped in order, and started again."""
        self.run(self.rig.reopen())
        self._restarted()

    # --- reading --------------------------------------------------------------------------------------------

    @property
    def newest(self) -> int:
        """The newest revision seen."""
        return self.log[-1].revision if self.log else 0

    @rule(target=cursors, cursor=cursors, limit=st.integers(1, 10))
    def read_the_log(self, cursor: int, limit: int) -> int:
        """A watcher reads a page and keeps its cursor; it misses nothing and sees nothing twice."""
        if cursor < self.floor:
            assert self.refusal(self.rig.store.events(after=cursor, limit=limit)) is RevisionCompacted
            return self.floor
        page = self.run(self.rig.store.events(after=cursor, limit=limit))
        assert page == [event for event in self.log if event.revision > cursor][:limit]
        return page[-1].revision if page else cursor

    @rule(cursor=cursors, tenant=tenants, pick=picks, other=picks)
    def read_a_part_of_the_log(self, cursor: int, tenant: str, pick: int, other: int) -> None:
        """Of a tenant, and of some jobs."""
        after = max(cursor, self.floor)
        page = self.run(self.rig.store.events(after=after, limit=1000, tenant=tenant))
        assert page == [event for event in self.log if event.revision > after and event.tenant == tenant]

        jobs = [job for job in (self.job(pick), self.job(other)) if job and job.tenant == "default"]
        ids = sorted({job.name[1] for job in jobs})
        if ids:
            page = self.run(self.rig.store.events(after=0, limit=1000, tenant="default", job_ids=ids))
            assert page == [
                event
                for event in self.log
                if event.revision > self.floor and event.tenant == "default" and event.job_id in ids
            ]

    @rule(
        tenant=tenants,
        limit=st.integers(1, 5),
        wanted=st.builds(
            JobFilter,
            queues=st.sampled_from([(), ("a",), ("a", "b")]),
            types=st.sampled_from([(), ("x",), ("y", "x")]),
            states=st.lists(st.sampled_from(State), max_size=3).map(tuple),
            labels=st.sampled_from([{}, {"l": "0"}]),
        ),
    )
    def list_jobs(self, tenant: str, limit: int, wanted: JobFilter) -> None:
        """All pages of a list."""
        expected = [job for job in self.model.jobs.values() if job.tenant == tenant and _matches(job, wanted)]
        found: list[Job] = []
        before: int | None = None
        while True:
            page = self.run(self.rig.store.list_jobs(tenant, ListQuery(wanted, limit, before)))
            found += page.jobs
            before = page.next_key
            if before is None:
                break
        assert [job.key for job in found] == sorted((job.key for job in expected), reverse=True)
        assert page.position.revision == self.newest

    @rule(pick=picks)
    def look(self, pick: int) -> None:
        """One job in full; numbers and lanes."""
        self._count()
        job = self.job(pick)
        if job is None:
            return
        [seen] = self.run(self.rig.store.get(job.tenant, [job.name[1]], full=True))
        assert seen is not None
        status = seen.status
        assert (status.state, status.attempt, status.max_attempts) == (job.state, job.attempt, job.max_attempts)
        assert (seen.key, seen.fence, seen.create_time_us) == (job.key, job.fence, job.create_us)
        assert (status.last_error.type if status.last_error else None) == job.error
        assert status.result == job.result
        assert (seen.batch_id, seen.spec.labels, seen.spec.expire_time_us) == (job.batch_id, job.labels, job.expire_us)
        assert (status.next_attempt_time_us is not None) == (job.state in (State.SCHEDULED, State.RETRYING))

    def _count(self) -> None:
        counts = self.run(self.rig.store.counts())
        states = [job.state for job in self.model.jobs.values()]
        assert counts.by_state == {state: states.count(state) for state in set(states)}
        pending = {job.lane for job in self.model.jobs.values() if job.state is State.PENDING}
        assert set(self.run(self.rig.store.pending_lanes(["x", "y"]))) == pending
        assert set(self.run(self.rig.store.pending_lanes(None))) == pending
        in_a = {lane for lane in pending if lane.queue == "a"}
        assert set(self.run(self.rig.store.pending_lanes(None, ["a", "c"]))) == in_a

    # --- after every step -----------------------------------------------------------------------------------

    @invariant()
    def the_table_holds_what_the_model_holds(self) -> None:
        """Every row, in everything that decides what may happen next."""
        rows = {row[:2]: row for row in self.rig.sql(ROW)}
        assert rows == {name: job.row() for name, job in self.model.jobs.items()}

    @invariant()
    def every_change_has_its_event_and_every_event_its_change(self) -> None:
        """The log grew by what the model did, job by job in order, with rising revisions."""
        self._read_log()
        assert sorted(self.expected) == sorted(self.model.changes)
        self.expected.clear()
        self.model.changes.clear()
        position = self.run(self.rig.store.position())
        assert (position.revision, position.compacted) == (self.newest, self.floor)

    def _read_log(self) -> None:
        for event in self.run(self.rig.store.events(after=max(self.newest, self.floor), limit=10_000)):
            assert event.revision > self.newest
            assert event.time_us == self.model.now_us
            assert (event.previous_state is None) == (event.kind is EventKind.CREATED)
            self.log.append(event)
            change = (event.sequence, event.previous_state, event.state, event.attempt, event.fence)
            self.expected.append(Change((event.tenant, event.job_id), *change))


def _facts(lease: Lease) -> tuple[object, ...]:
    return (
        lease.key, lease.tenant, lease.job_id, lease.attempt, lease.fence, lease.max_attempts, lease.losses,
        dict(lease.labels), lease.checkpoint,
    )  # fmt: skip


def _expected(job: ModelJob) -> tuple[object, ...]:
    """What a lease of the job says (`_facts`)."""
    return (
        job.key, *job.name, job.attempt, job.fence, job.max_attempts, job.losses, job.labels, job.checkpoint,
    )  # fmt: skip


def _matches(job: ModelJob, wanted: JobFilter) -> bool:
    return (
        (not wanted.queues or job.lane.queue in wanted.queues)
        and (not wanted.types or job.lane.type in wanted.types)
        and (not wanted.states or job.state in wanted.states)
        and all(job.labels.get(name) == value for name, value in wanted.labels.items())
    )


async def _outcome(verb: Coroutine[Any, Any, object]) -> object:
    try:
        return await verb
    except Exception as error:  # noqa: BLE001 - compared by the caller
        return error


assert DAY_US


class PostgresMachine(StoreMachine):
    """The same lives on PostgreSQL."""

    server: ClassVar[PostgresServer]

    def new_rig(self, **settings: Any) -> StoreRig:
        """See `StoreMachine.new_rig`."""
        return PostgresRig(self.server, **settings)

    def remove_rig(self) -> None:
        """See `StoreMachine.remove_rig`."""
        assert isinstance(self.rig, PostgresRig)
        self.rig.dispose()


@pytest.fixture(scope="class")
def postgres_for_machine(postgres: PostgresServer) -> None:
    """Lets the machine know the server."""
    PostgresMachine.server = postgres


def _lives(examples: int) -> settings:
    return settings(
        max_examples=examples * int(os.environ.get("SCALE") or 1),
        stateful_step_count=60,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


# A failure takes its time to shrink.
TestStoreMachine = pytest.mark.timeout(300)(StoreMachine.TestCase)
TestStoreMachine.settings = _lives(40)
TestPostgresMachine = pytest.mark.timeout(300)(
    pytest.mark.usefixtures("postgres_for_machine")(PostgresMachine.TestCase)
)
TestPostgresMachine.settings = _lives(20)
