"""jobwire.v1.JobService: decode, one use case, encode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.domain.errors import Violation
from jobwire_server.domain.job import DEFAULT_TENANT, SECOND_US, Job, NewJob, State
from jobwire_server.domain.validation import ReadFields
from jobwire_server.jobs import Draft, Jobs, LongPoll
from jobwire_server.kernel.clock import Clock
from jobwire_server.rpc import page_token
from jobwire_server.rpc.calls import Calls, Handler, UnaryMethod
from jobwire_server.rpc.convert.jobs import imagined_job, job_bytes, submitted_bytes
from jobwire_server.rpc.convert.reads import answers_of, cursor_record, filter_of, is_full, page_of, read_of, refuse
from jobwire_server.rpc.convert.records import RESPONSE_LIMIT, record
from jobwire_server.rpc.convert.submit import batch_of, batch_response, draft_of
from jobwire_server.rpc.convert.times import time_us
from jobwire_server.rpc.gate import Gate
from jobwire_server.store.base import ListQuery
from jobwire_server.watch.requests import Cursor

SERVICE: Final = "jobwire.v1.JobService"

_CREATED: Final = b"\x10\x01"
"""SubmitJobResponse.created = true."""
_FULL_SLICE: Final = 4
"""Jobs read at once when each may bring megabytes of payload."""
_BASIC_SLICE: Final = 100
_ANSWER_SHARE: Final = 0.1
_ANSWER_SECONDS: Final = 1.0
"""What a long poll leaves of the caller's deadline for its answer: a tenth, at most a second."""


class JobService:
    """The unary methods. Until there is authentication, everybody is the one default tenant."""

    def __init__(self, jobs: Jobs, gate: Gate, *, clock: Clock, page_secret: bytes) -> None:
        self._jobs = jobs
        self._gate = gate
        self._clock = clock
        self._page_secret = page_secret
        self._tenant = DEFAULT_TENANT

    def handlers(self, calls: Calls) -> dict[str, Handler]:
        """Return the methods of the service that answer once."""
        methods: Mapping[str, UnaryMethod] = {
            "SubmitJob": self.submit_job,
            "BatchSubmitJobs": self.batch_submit_jobs,
            "GetJob": self.get_job,
            "BatchGetJobs": self.batch_get_jobs,
            "ListJobs": self.list_jobs,
            "CancelJob": self.cancel_job,
            "RetryJob": self.retry_job,
            "DeleteJob": self.delete_job,
        }
        return {name: calls.unary(f"{SERVICE}/{name}", method) for name, method in methods.items()}

    # --- submitting -----------------------------------------------------------------------------------------------

    async def submit_job(self, raw: bytes, _left: float | None) -> bytes:
        """Create one job; the answer is made of the request and the receipt, without reading the store."""
        request = pb.SubmitJobRequest.FromString(raw)
        draft = draft_of(request, "", self._jobs.new_id)
        if request.validate_only:
            return self._imagine(draft)
        answer, receipt = await self._jobs.submit(self._tenant, draft)
        if answer.created and isinstance(draft, NewJob):
            return record(1, submitted_bytes(draft, answer, receipt.time_us)) + _CREATED
        existing = await self._jobs.get(self._tenant, answer.job_id, full=False)
        return record(1, job_bytes(existing))

    def _imagine(self, draft: Draft) -> bytes:
        job = self._jobs.checked(draft)
        is_ahead = job.schedule_time_us is not None and job.schedule_time_us > self._clock.wall_us()
        imagined = imagined_job(job, State.SCHEDULED if is_ahead else State.PENDING)
        return record(1, imagined.SerializeToString())

    async def batch_submit_jobs(self, raw: bytes, _left: float | None) -> bytes:
        """Create many jobs, all or none, or each on its own."""
        request = pb.BatchSubmitJobsRequest.FromString(raw)
        drafts, options = batch_of(request, self._jobs.new_id)
        return batch_response(await self._jobs.submit_batch(self._tenant, drafts, options))

    # --- reading --------------------------------------------------------------------------------------------------

    async def get_job(self, raw: bytes, left: float | None) -> bytes:
        """Read one job, at once or when it has changed."""
        request = pb.GetJobRequest.FromString(raw)
        read = read_of(request)
        self._jobs.check_read(read)
        full = is_full(request.view, default=True)
        if read.wait_revision is None:
            return record(1, job_bytes(await self._jobs.get(self._tenant, read.job_id, full=full)))
        wait = LongPoll(read.wait_revision, self._wait_seconds(read, left))
        with self._gate.long_poll():
            job = await self._jobs.get(self._tenant, read.job_id, full=full, wait=wait)
        return record(1, job_bytes(job))

    def _wait_seconds(self, read: ReadFields, left: float | None) -> float:
        longest_us = self._jobs.limits.wait_us
        wanted_us = longest_us if read.wait_timeout_us is None else min(read.wait_timeout_us, longest_us)
        if left is None:
            return wanted_us / SECOND_US
        return min(wanted_us / SECOND_US, left - min(_ANSWER_SECONDS, left * _ANSWER_SHARE))

    async def batch_get_jobs(self, raw: bytes, _left: float | None) -> bytes:
        """Read many jobs, as many as fit into the answer."""
        request = pb.BatchGetJobsRequest.FromString(raw)
        full = is_full(request.view, default=False)
        job_ids = list(dict.fromkeys(request.job_ids))
        self._jobs.check_job_ids(request.job_ids)
        step = _FULL_SLICE if full else _BASIC_SLICE
        response = b""
        for start in range(0, len(job_ids), step):
            ids = job_ids[start : start + step]
            jobs = await self._jobs.get_many(self._tenant, ids, full=full)
            page = answers_of(zip(ids, jobs, strict=True), RESPONSE_LIMIT - len(response), is_first=not response)
            response += page.records
            if page.taken < len(ids):
                break
        return response

    async def list_jobs(self, raw: bytes, _left: float | None) -> bytes:
        """Read one page of a list."""
        request = pb.ListJobsRequest.FromString(raw)
        full = is_full(request.view, default=False)
        wanted = filter_of(request.filter, "filter", self._jobs.limits)
        limit = self._jobs.page_size(request.page_size)
        query = page_token.query_hash(
            self._tenant.encode(), request.filter.SerializeToString(deterministic=True), b"full" if full else b"basic"
        )
        place = page_token.unseal(request.page_token, query, self._page_secret) if request.page_token else None
        before = None if place is None else place.before_key
        page = await self._jobs.list_page(
            self._tenant, ListQuery(wanted, limit, before_key=before, full=full, max_bytes=RESPONSE_LIMIT)
        )
        epoch = page.position.epoch
        if place is not None and place.epoch != epoch:
            raise page_token.invalid_token()
        first = Cursor(epoch, page.position.revision if place is None else place.revision)
        return self._page_response(page.jobs, page.next_key, first, query)

    def _page_response(self, jobs: Sequence[Job], next_key: int | None, first: Cursor, query: bytes) -> bytes:
        """Write a page; where not all jobs fit, it ends before the first that does not."""

        def token_record(key: int) -> bytes:
            place = page_token.PagePlace(key, first.epoch, first.revision)
            return record(2, page_token.seal(place, query, self._page_secret).encode())

        tail = cursor_record(3, first)
        room_if_last = RESPONSE_LIMIT - len(tail)
        room = room_if_last - len(token_record(0))
        page = page_of(jobs, room, room_if_last if next_key is None else room)
        if page.taken < len(jobs):
            next_key = jobs[page.taken - 1].key
        return page.records + (b"" if next_key is None else token_record(next_key)) + tail

    # --- steering -------------------------------------------------------------------------------------------------

    async def cancel_job(self, raw: bytes, _left: float | None) -> bytes:
        """Cancel a job, or ask its worker to."""
        request = pb.CancelJobRequest.FromString(raw)
        job = await self._jobs.cancel(self._tenant, request.job_id, reason=request.reason, force=request.force)
        return record(1, job_bytes(job))

    async def retry_job(self, raw: bytes, _left: float | None) -> bytes:
        """Put a job that ended badly back."""
        request = pb.RetryJobRequest.FromString(raw)
        schedule_us = None
        if request.HasField("schedule_time"):
            violations: list[Violation] = []
            schedule_us = time_us(request.schedule_time, "schedule_time", violations)
            refuse(violations)
        job = await self._jobs.retry(
            self._tenant,
            request.job_id,
            additional_attempts=request.additional_attempts,
            schedule_time_us=schedule_us,
        )
        return record(1, job_bytes(job))

    async def delete_job(self, raw: bytes, _left: float | None) -> bytes:
        """Remove a terminal job."""
        request = pb.DeleteJobRequest.FromString(raw)
        await self._jobs.delete(self._tenant, request.job_id, allow_missing=request.allow_missing)
        return b""
