"""Leasing, heartbeats, and outcomes of every kind: in time, late, forged, twice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import consumes, initialize, multiple, rule

from jobwire_server.domain.errors import JobIdTaken, JobNotFound, RequestIdReused
from jobwire_server.domain.job import SECOND_US, Content, JobError, State
from jobwire_server.domain.outcome import Failed, Outcome, Released, Snoozed, Stopped, Succeeded
from jobwire_server.store.base import (
    Lane,
    Lease,
    LeaseRequest,
    LeaseUpdate,
    Owner,
    QueueShare,
    Report,
    ReportCode,
)
from tests.store.lives.life import CHECKPOINT, LANES, OWNERS, Life, lanes
from tests.store.lives.submitting import Submitting
from tests.store.lives.sweeping import Sweeping
from tests.store.model import Key, ModelJob, stale_code

outcomes: dict[str, st.SearchStrategy[Outcome]] = {
    "failed": st.builds(
        Failed,
        st.builds(JobError, type=st.sampled_from(["OSError", "Excluded"]), retryable=st.booleans()),
        st.sampled_from([None, 0, 5 * SECOND_US]),
    ),
    "snoozed": st.builds(Snoozed, st.sampled_from([0, 3 * SECOND_US])),
    "stopped": st.builds(Stopped, st.just(""), st.sampled_from([None, Content(b"so far"), Content(bytes(300))])),
}


class Working(Submitting, Sweeping):
    """What workers do."""

    @initialize(target=Life.leases, jobs=st.integers(1, 8), leased=st.integers(0, 8), owner=st.sampled_from(OWNERS))
    def populate(self, jobs: int, leased: int, owner: Owner) -> Any:
        """Some jobs, some of them leased, and one of these with a checkpoint."""
        self.submit("default", *(self.new(expire_time_us=self.model.now_us + 20 * SECOND_US) for _ in range(jobs)))
        granted = self.grant(LANES, leased, owner, 10)
        for lease in granted[:1]:
            self.extend(lease, 10, None, CHECKPOINT)
        return multiple(*granted)

    @rule(
        target=Life.leases,
        wanted=st.lists(lanes, min_size=1, max_size=3),
        limit=st.integers(1, 4),
        owner=st.sampled_from(OWNERS),
        lease_s=st.sampled_from([1, 10, 100]),
    )
    def lease(self, wanted: list[Lane], limit: int, owner: Owner, lease_s: int) -> Any:
        """Lease what is next."""
        return multiple(*self.grant(wanted, limit, owner, lease_s))

    @rule(
        target=Life.leases,
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

    @rule(owner=st.sampled_from(OWNERS), some=st.lists(Life.leases, max_size=4))
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

    @rule(lease=Life.leases, size=st.integers(1, 3), key=st.sampled_from(["", "k", "n"]), chosen=st.booleans())
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
        target=Life.leases,
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

    @rule(lease=Life.leases, size=st.sampled_from([None, 0, 3, 300]))
    def report_success(self, lease: Lease, size: int | None) -> None:
        """The handler returned; the lease may be long over."""
        self.report(lease, Succeeded(None if size is None else Content(bytes(size), "r/s")))

    @rule(lease=Life.leases, outcome=outcomes["failed"])
    def report_failure(self, lease: Lease, outcome: Failed) -> None:
        """The handler raised."""
        self.report(lease, outcome)

    @rule(lease=Life.leases)
    def report_release(self, lease: Lease) -> None:
        """Given back."""
        self.report(lease, Released())

    @rule(lease=Life.leases, outcome=outcomes["snoozed"])
    def report_snooze(self, lease: Lease, outcome: Snoozed) -> None:
        """Given back for later."""
        self.report(lease, outcome)

    @rule(lease=Life.leases, outcome=outcomes["stopped"])
    def report_stop(self, lease: Lease, outcome: Stopped) -> None:
        """The handler cancelled its job."""
        self.report(lease, outcome)

    @rule(lease=Life.leases, shift=st.sampled_from([-1, 1, 1000]))
    def report_with_a_fence_of_nobody(self, lease: Lease, shift: int) -> None:
        """A forged or stale fence."""
        forged = lease._replace(fence=lease.fence + shift)
        self.report(forged, Succeeded())

    @rule(lease=consumes(Life.leases), outcome=outcomes["failed"])
    def report_twice(self, lease: Lease, outcome: Failed) -> None:
        """The answer to the first report was lost."""
        self.report(lease, outcome)
        self.report(lease, outcome)

    @rule(some=st.lists(Life.leases, min_size=2, max_size=5, unique_by=lambda lease: lease.key))
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
        lease=Life.leases,
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
