"""Submitting, on both sides: plain and chosen ids, request ids, batches, callers that are in flight together."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from jobwire_server.domain.errors import JobIdTaken, JobNotFound, JobwireError, RequestIdReused
from jobwire_server.domain.job import SECOND_US, Content, NewJob, RetryPolicy
from jobwire_server.store.base import Lane, Submission, Submitted
from tests.helpers.factories import new_job
from tests.store.lives.life import LANES, Life, lanes, tenants
from tests.store.model import Key, Name


class Submitting(Life):
    """What enters the store."""

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


async def _outcome(verb: Coroutine[Any, Any, object]) -> object:
    try:
        return await verb
    except Exception as error:  # noqa: BLE001 - compared by the caller
        return error
