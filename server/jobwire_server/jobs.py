"""The use cases that only read and write jobs: submit, get, list, cancel, retry, delete. No gRPC, no protobuf.

A caller that is cancelled in the middle of a write changes nothing about the write: the store's intents are carried
out by its own thread, whole or not at all, whoever waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from jobwire_server.domain.errors import FieldInvalid, JobwireError, Refused, Violation
from jobwire_server.domain.job import TERMINAL_STATES, Job, NewJob
from jobwire_server.domain.limits import DEFAULT_LIMITS, Limits
from jobwire_server.domain.rules import MAX_VIOLATIONS
from jobwire_server.domain.validation import (
    BatchFields,
    ReadFields,
    check_batch,
    check_batch_size,
    check_cancel,
    check_filter,
    check_job_id,
    check_job_ids,
    check_new_job,
    check_page_size,
    check_read,
    check_retry,
    check_size,
    refuse_new_job,
)
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import wait_any
from jobwire_server.kernel.telemetry import DEBUG, Log, LogEvent, SilentLog
from jobwire_server.store.base import JobPage, Lane, ListQuery, Store, Submission, SubmitReceipt, Submitted
from jobwire_server.watch.hub import WatchHub
from jobwire_server.watch.job_feed import job_not_found

Draft = NewJob | FieldInvalid
"""A job as it was asked for, or what is wrong with the asking. Paths of violations are complete."""

DEFAULT_PAGE_SIZE: Final = 50


class BatchOptions(NamedTuple):
    """What holds for a batch as a whole."""

    request_id: str = ""
    fingerprint: bytes = b""
    """Hash of the whole content; only compared when `request_id` was seen before."""
    batch_id: str = ""
    independent: bool = False
    """Each element stands alone: own key, own answer."""


class LongPoll(NamedTuple):
    """Wait until the job is terminal or its revision is greater than `revision`, at most so long."""

    revision: int
    seconds: float


class Jobs:
    """Use cases on jobs. Every method raises `FieldInvalid` before it touches the store."""

    def __init__(
        self,
        *,
        store: Store,
        hub: WatchHub,
        clock: Clock,
        new_id: Callable[[], str],
        limits: Limits = DEFAULT_LIMITS,
        log: Log | None = None,
        expect: Callable[[Iterable[Lane]], None] | None = None,
    ) -> None:
        """`expect` is told of the lanes of jobs that are due at once, as they are handed to the store."""
        self._store = store
        self._expect = expect
        self._hub = hub
        self._clock = clock
        self.new_id = new_id
        """Makes the id of a job whose submitter chose none, or of a batch: unique, growing with time."""
        self.limits = limits
        self._log: Log = log or SilentLog()
        self._logs_calls = self._log.is_enabled_for(DEBUG)

    # --- submitting -------------------------------------------------------------------------------------------

    async def submit(self, tenant: str, draft: Draft) -> tuple[Submitted, SubmitReceipt]:
        """Create one job durably, or find the one that its request_id created before."""
        job = self.checked(draft)
        receipt = await self._enter(Submission(tenant, (job,)))
        answer = receipt.answers[0]
        if isinstance(answer, JobwireError):
            raise answer
        if self._logs_calls:
            self._tell(job.request_id, receipt)
        return answer, receipt

    def checked(self, draft: Draft, path: str = "") -> NewJob:
        """Return the job if it is acceptable, raise what is wrong with it otherwise; nothing is stored. `path`: where
        its request stands."""
        if isinstance(draft, FieldInvalid):
            raise draft
        refusal = refuse_new_job(draft, path, self.limits)
        if refusal is not None:
            raise refusal
        return draft

    async def submit_batch(self, tenant: str, drafts: Sequence[Draft], options: BatchOptions) -> SubmitReceipt:
        """Create all jobs of a batch, or none; with `independent` each on its own, answered on its own."""
        self._check_batch(drafts, options)
        if options.independent:
            return await self._submit_each(tenant, drafts)
        jobs = self._all_checked(drafts)
        receipt = await self._enter(
            Submission(
                tenant,
                jobs,
                atomic=True,
                request_id=options.request_id,
                fingerprint=options.fingerprint,
                batch_id=options.batch_id or self.new_id(),
            )
        )
        if self._logs_calls:
            self._tell(options.request_id, receipt)
        return receipt

    async def _enter(self, submission: Submission) -> SubmitReceipt:
        """Store jobs; who serves them may ask for them at the same time."""
        if self._expect is not None:
            self._expect(Lane(job.queue, job.type) for job in submission.jobs if job.schedule_time_us is None)
        return await self._store.submit(submission)

    def _tell(self, request_id: str, receipt: SubmitReceipt) -> None:
        """Log what a call made or found, so that its request_id leads to its jobs."""
        first = receipt.answers[0]
        if isinstance(first, Submitted):
            self._log.debug(
                LogEvent.JOBS_SUBMITTED,
                request_id=request_id,
                job_id=first.job_id,
                jobs=len(receipt.answers),
                created=first.created,
            )

    def _check_batch(self, drafts: Sequence[Draft], options: BatchOptions) -> None:
        own_keys = not options.independent and any(isinstance(job, NewJob) and job.request_id for job in drafts)
        fields = BatchFields(
            len(drafts), options.request_id, options.batch_id, options.independent, element_request_ids=own_keys
        )
        _refuse(check_batch(fields, self.limits))

    def _all_checked(self, drafts: Sequence[Draft]) -> Sequence[NewJob]:
        """Return the jobs if every one is acceptable; otherwise raise what is wrong with all of them."""
        limits = self.limits
        jobs: list[NewJob] = []
        violations: list[Violation] = []
        for index, draft in enumerate(drafts):
            if isinstance(draft, FieldInvalid):
                violations += draft.violations
                continue
            if check_new_job(draft, "", limits) or check_size(draft, "", limits):
                refusal = refuse_new_job(draft, f"requests[{index}]", limits)
                if isinstance(refusal, FieldInvalid):
                    violations += refusal.violations
                elif refusal is not None:
                    raise refusal
            jobs.append(draft)
            if len(violations) >= MAX_VIOLATIONS:
                break
        _refuse(violations[:MAX_VIOLATIONS])
        return jobs

    async def _submit_each(self, tenant: str, drafts: Sequence[Draft]) -> SubmitReceipt:
        refusals: dict[int, Refused] = {}
        jobs: list[NewJob] = []
        for index, draft in enumerate(drafts):
            refusal = draft if isinstance(draft, FieldInvalid) else refuse_new_job(draft, "", self.limits)
            if refusal is not None:
                refusals[index] = refusal
            elif isinstance(draft, NewJob):
                jobs.append(draft)
        if not refusals:
            receipt = await self._enter(Submission(tenant, jobs))
        else:
            receipt = await self._submit_good_ones(tenant, jobs, refusals)
        if self._logs_calls:
            self._tell_each(drafts, receipt)
        return receipt

    def _tell_each(self, drafts: Sequence[Draft], receipt: SubmitReceipt) -> None:
        for draft, answer in zip(drafts, receipt.answers, strict=True):
            if isinstance(draft, NewJob):
                self._tell(draft.request_id, receipt._replace(answers=(answer,)))

    async def _submit_good_ones(
        self, tenant: str, jobs: Sequence[NewJob], refusals: dict[int, Refused]
    ) -> SubmitReceipt:
        if jobs:
            receipt = await self._enter(Submission(tenant, jobs))
        else:
            receipt = SubmitReceipt((), await self._store.position(), self._clock.wall_us(), "")
        good = iter(receipt.answers)
        total = len(jobs) + len(refusals)
        answers = [refusals[index] if index in refusals else next(good) for index in range(total)]
        return receipt._replace(answers=answers)

    # --- reading ----------------------------------------------------------------------------------------------

    async def get(self, tenant: str, job_id: str, *, full: bool, wait: LongPoll | None = None) -> Job:
        """Read one job; with `wait` only once there is something new, or the time is over. Raises `JobNotFound`."""
        if wait is None or wait.seconds <= 0:
            return await self._read(tenant, job_id, full=full)
        until = self._clock.monotonic() + wait.seconds
        async with self._hub.listen(tenant, job_id) as signal:
            while True:
                signal.bell.clear()
                job = await self._read(tenant, job_id, full=False)
                left = until - self._clock.monotonic()
                is_new = job.status.revision > wait.revision or job.status.state in TERMINAL_STATES
                if is_new or left <= 0 or signal.ending is not None:
                    return await self._read(tenant, job_id, full=True) if full else job
                await wait_any(signal.bell, seconds=left, clock=self._clock)

    def check_read(self, read: ReadFields) -> None:
        """Raise `FieldInvalid` when a request to read a job is not acceptable."""
        _refuse(check_read(read))

    async def _read(self, tenant: str, job_id: str, *, full: bool) -> Job:
        job = (await self._store.get(tenant, (job_id,), full=full))[0]
        if job is None:
            raise job_not_found(job_id)
        return job

    def check_job_ids(self, job_ids: Sequence[str]) -> None:
        """Raise `FieldInvalid` or `BatchTooLarge` when a list of ids to read is not acceptable."""
        check_batch_size("job_ids", len(job_ids), self.limits)
        _refuse(check_job_ids(job_ids))

    async def get_many(self, tenant: str, job_ids: Sequence[str], *, full: bool) -> list[Job | None]:
        """Read jobs by id, in order; call it with few ids at a time when their payloads are wanted."""
        return await self._store.get(tenant, job_ids, full=full)

    def page_size(self, wanted: int) -> int:
        """Return how many jobs a page holds when `wanted` were asked for (0 = the default)."""
        _refuse(check_page_size(wanted))
        return min(wanted or DEFAULT_PAGE_SIZE, self.limits.page_size)

    async def list_page(self, tenant: str, query: ListQuery) -> JobPage:
        """Read one page, newest first."""
        _refuse(check_filter(query.filter, "filter", self.limits))
        return await self._store.list_jobs(tenant, query)

    # --- steering ---------------------------------------------------------------------------------------------

    async def cancel(self, tenant: str, job_id: str, *, reason: str, force: bool) -> Job:
        """Cancel a job; see `Store.cancel`."""
        _refuse(check_cancel(job_id, reason, self.limits))
        return await self._store.cancel(tenant, job_id, reason=reason, force=force)

    async def retry(self, tenant: str, job_id: str, *, additional_attempts: int, schedule_time_us: int | None) -> Job:
        """Put a job that ended badly back; see `Store.retry`."""
        _refuse(check_retry(job_id, additional_attempts, schedule_time_us, self.limits))
        return await self._store.retry(
            tenant, job_id, additional_attempts=additional_attempts, schedule_time_us=schedule_time_us
        )

    async def delete(self, tenant: str, job_id: str, *, allow_missing: bool) -> None:
        """Remove a terminal job for good. Raises `JobNotFound` unless `allow_missing`."""
        _refuse(check_job_id(job_id))
        if not await self._store.delete(tenant, job_id) and not allow_missing:
            raise job_not_found(job_id)


def _refuse(violations: Sequence[Violation]) -> None:
    if violations:
        raise FieldInvalid(violations)
