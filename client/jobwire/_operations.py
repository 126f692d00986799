"""Every verb of the client as calls and small machines, shared by both shells. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar

from jobwire import _convert
from jobwire._ambient import Ambient
from jobwire._calls import Call, Repeat
from jobwire._following import Contact, EndWait, EventFollow, EventQuery, JobFollow, Limit
from jobwire._requests import (
    MAX_BATCH_SIZE,
    Batch,
    BatchAnswer,
    CommonOptions,
    Moment,
    Submission,
    SubmitOptions,
    Submitted,
    atomic_request,
    batch_answer,
    batches,
    filter_of,
    refusing_wrong_types,
    retry_request,
    submit_request,
    view,
)
from jobwire.durations import Duration, parse_duration
from jobwire.errors import ArgumentInvalid, DeadlineExceeded, JobwireError, ServerBug, Unavailable
from jobwire.models import Job, JobFilter, ServerInfo, WatchCursor, WorkerInfo
from jobwire.settings import Settings, positive
from jobwire.v1 import admin_service_pb2, job_pb2, job_service_pb2

T = TypeVar("T")

WORKERS_PAGE_SIZE = 200

Where: TypeAlias = JobFilter | str | None
"""Which jobs: conditions, or a text such as `state:failed queue:mail age<1h` (`jobwire.filtering`); None = all."""

Items = Iterable[tuple[str, Any] | Submission]


class WatchOptions(TypedDict, total=False):
    """What a watch over many jobs may ask for."""

    job_ids: Sequence[str]
    """These jobs, at most 1,000, instead of a filter."""
    after: WatchCursor | None
    """Resume after this place. None = from now."""
    snapshot: bool
    """First a SNAPSHOT event for each matching job; also whenever the place in the log was lost."""
    until_all_terminal: bool
    """End when all of `job_ids` have ended or are deleted."""
    full: bool | None
    """Send the job with each event: True in full, False without payloads, None not at all."""
    progress: bool
    """Also PROGRESS events."""
    conflate: bool
    """Only the newest event of a job when the reader lags."""
    timeout: Duration | None
    """Longest watch; after it WaitTimeout is raised. None = no end."""


BatchOutcome = Sequence[job_service_pb2.SubmitResult] | JobwireError | None
"""What became of the call for one batch; None = it was not made."""


class Operations:
    """Builds calls with the client's settings. Thread-safe: it holds nothing that changes."""

    def __init__(self, settings: Settings, ambient: Ambient) -> None:
        self._settings = settings
        self._ambient = ambient

    def _seconds(self, deadline: Duration | None) -> float:
        chosen = self._settings.deadline if deadline is None else positive(deadline, "deadline")
        return chosen.total_seconds()

    def _moment(self) -> Moment:
        return Moment(self._ambient.clock.now(), self._ambient.new_id)

    # --- submit

    def submit(
        self, job_type: str, payload: object, options: SubmitOptions, deadline: Duration | None
    ) -> Call[Submitted]:
        """SubmitJob."""
        request = submit_request(job_type, payload, options, self._moment())
        return Call("SubmitJob", request, _submitted, self._seconds(deadline))

    def submit_atomic(
        self, items: Items, common: CommonOptions, key: str | None, batch_id: str | None, deadline: Duration | None
    ) -> Call[Sequence[BatchAnswer]]:
        """BatchSubmitJobs, all or nothing."""
        request = atomic_request(items, common, self._moment(), key=key, batch_id=batch_id)
        return Call("BatchSubmitJobs", request, _atomic_answers, self._seconds(deadline))

    def submit_each(self, items: Items, common: CommonOptions, deadline: Duration | None) -> SubmitEach:
        """BatchSubmitJobs, independent, as many calls as it takes."""
        return SubmitEach(batches(items, common, self._moment), self._seconds(deadline))

    # --- read

    def get(self, job_id: str, full: bool, deadline: Duration | None) -> Call[Job]:
        """GetJob."""
        with refusing_wrong_types():
            request = job_service_pb2.GetJobRequest(job_id=job_id, view=view(full))
        return Call("GetJob", request, _answered_job, self._seconds(deadline))

    def get_many(self, job_ids: Iterable[str], full: bool, deadline: Duration | None) -> GetMany:
        """BatchGetJobs, as many calls as it takes."""
        return GetMany(tuple(job_ids), full, self._seconds(deadline))

    def pages(self, where: Where, full: bool, page_size: int, deadline: Duration | None) -> Pages[Job]:
        """ListJobs, page by page."""
        if not 1 <= page_size <= 1000:
            raise ArgumentInvalid(f"page_size must lie between 1 and 1000, not {page_size}.")
        conditions, keeps = self._split(where)
        request = job_service_pb2.ListJobsRequest(filter=conditions, page_size=page_size, view=view(full))

        def read(answer: job_service_pb2.ListJobsResponse) -> Sequence[Job]:
            return [_convert.job_of(message) for message in answer.jobs if keeps is None or keeps(message)]

        return Pages("ListJobs", request, self._seconds(deadline), read)

    def _split(self, where: Where) -> tuple[job_pb2.JobFilter | None, Callable[[job_pb2.Job], bool] | None]:
        """What the server looks for, and what is left to look for here."""
        if not isinstance(where, str):
            return filter_of(where), None
        from jobwire.filtering import split_filter  # noqa: PLC0415 - a language that most programs do not speak

        split = split_filter(where, now=self._ambient.clock.now())
        return split.condition, split.keeps if split.rest else None

    def worker_pages(self, deadline: Duration | None) -> Pages[WorkerInfo]:
        """ListWorkers, page by page."""
        request = admin_service_pb2.ListWorkersRequest(page_size=WORKERS_PAGE_SIZE)
        return Pages("ListWorkers", request, self._seconds(deadline), _workers_of_page)

    def server_info(self, deadline: Duration | None) -> Call[ServerInfo]:
        """GetServerInfo."""
        request = admin_service_pb2.GetServerInfoRequest()
        return Call("GetServerInfo", request, _answered_info, self._seconds(deadline))

    # --- steer

    def cancel(self, job_id: str, reason: str, force: bool, deadline: Duration | None) -> Call[Job]:
        """CancelJob. A repeat finds the job cancelled, which is OK."""
        with refusing_wrong_types():
            request = job_service_pb2.CancelJobRequest(job_id=job_id, reason=reason, force=force)
        return Call("CancelJob", request, _answered_job, self._seconds(deadline))

    def retry(
        self,
        job_id: str,
        additional_attempts: int,
        delay: Duration | None,
        at: datetime | None,
        deadline: Duration | None,
    ) -> Call[Job]:
        """RetryJob. A repeat might revive a job that has failed anew."""
        request = retry_request(job_id, additional_attempts, delay, at, self._ambient.clock.now())
        return Call("RetryJob", request, _answered_job, self._seconds(deadline), Repeat.IF_UNSENT)

    def delete(self, job_id: str, allow_missing: bool, deadline: Duration | None) -> Call[None]:
        """DeleteJob. A repeat would not find the job, and call that an error."""
        with refusing_wrong_types():
            request = job_service_pb2.DeleteJobRequest(job_id=job_id, allow_missing=allow_missing)
        repeat = Repeat.SAFE if allow_missing else Repeat.IF_UNSENT
        return Call("DeleteJob", request, _answered_nothing, self._seconds(deadline), repeat)

    # --- follow

    def _limit(self, timeout: Duration | None) -> Limit:
        duration = None if timeout is None else parse_duration(timeout, name="timeout")
        return Limit(duration, self._ambient.clock.monotonic())

    def _contact(self) -> Contact:
        patience = self._settings.patience
        return Contact(
            first_seconds=self._settings.deadline.total_seconds(),
            patience_seconds=None if patience is None else patience.total_seconds(),
            now=self._ambient.clock.monotonic(),
            chance=self._ambient.chance,
        )

    def follow_job(self, job_id: str, full: bool, after_revision: int | None, timeout: Duration | None) -> JobFollow:
        """WatchJob."""
        return JobFollow(
            job_id,
            full=full,
            after_revision=after_revision,
            limit=self._limit(timeout),
            contact=self._contact(),
        )

    def follow_events(self, where: Where, options: WatchOptions) -> EventFollow:
        """WatchJobs."""
        unknown = sorted(options.keys() - WatchOptions.__optional_keys__)
        if unknown:
            raise ArgumentInvalid(f"watch() has no option {unknown[0]!r}.")
        query = EventQuery(
            conditions=self._compiled(where) if isinstance(where, str) else where,
            job_ids=tuple(options.get("job_ids", ())),
            after=options.get("after"),
            snapshot=options.get("snapshot", False),
            until_all_terminal=options.get("until_all_terminal", False),
            full=options.get("full"),
            progress=options.get("progress", False),
            conflate=options.get("conflate", False),
        )
        return EventFollow(query, limit=self._limit(options.get("timeout")), contact=self._contact())

    def _compiled(self, text: str) -> job_pb2.JobFilter:
        from jobwire.filtering import compile_filter  # noqa: PLC0415

        return compile_filter(text, now=self._ambient.clock.now())

    def wait(self, job_id: str, timeout: Duration | None) -> EndWait:
        """GetJob, again and again, until the job has ended."""
        grace = min(timedelta(seconds=1), self._settings.deadline)
        return EndWait(job_id, limit=self._limit(timeout), contact=self._contact(), grace_seconds=grace.total_seconds())


def _submitted(answer: job_service_pb2.SubmitJobResponse) -> Submitted:
    return Submitted(answer.job.job_id, answer.created, _convert.state_of(answer.job.status.state))


def _atomic_answers(answer: job_service_pb2.BatchSubmitJobsResponse) -> Sequence[BatchAnswer]:
    return [batch_answer(result) for result in answer.results]


def _answered_job(answer: Any) -> Job:
    return _convert.job_of(answer.job)


def _answered_info(answer: admin_service_pb2.GetServerInfoResponse) -> ServerInfo:
    return _convert.server_info_of(answer.server_info)


def _workers_of_page(answer: admin_service_pb2.ListWorkersResponse) -> Sequence[WorkerInfo]:
    return [_convert.worker_of(message) for message in answer.workers]


def _answered_nothing(answer: job_service_pb2.DeleteJobResponse) -> None:
    del answer


class SubmitEach:
    """Independent batches, one at a time: `next_call`, then `take` with its answer or error, until it is done.

    When the server is not there for one batch, the batches after it are not sent: their jobs get the same error.
    """

    def __init__(self, source: Iterator[Batch], seconds: float) -> None:
        self._source = source
        self._seconds = seconds
        self._given_up: JobwireError | None = None

    def steps(self) -> Iterator[tuple[Batch, Call[Sequence[job_service_pb2.SubmitResult]] | None]]:
        """Yield each batch with its call; None when there is nothing to send. Hand the outcome to `take`."""
        for batch in self._source:
            request = batch.request if self._given_up is None else None
            if request is None:
                yield batch, None
            else:
                yield batch, Call("BatchSubmitJobs", request, lambda answer: answer.results, self._seconds)

    def take(self, batch: Batch, outcome: BatchOutcome) -> Iterator[BatchAnswer]:
        """Return one answer for each element of the batch. None = the batch was not sent."""
        if isinstance(outcome, Unavailable | DeadlineExceeded):
            self._given_up = outcome
        if outcome is None:
            outcome = self._given_up or ()
        if not isinstance(outcome, JobwireError) and len(outcome) != batch.sent_count:
            outcome = ServerBug(f"The server answered {len(outcome)} of {batch.sent_count} jobs of a batch.")
        return batch.answers(outcome)


class GetMany:
    """BatchGetJobs until every id has been looked at: `next_call`, `take`, and at the end `found`."""

    def __init__(self, job_ids: tuple[str, ...], full: bool, seconds: float) -> None:
        self._job_ids = job_ids
        self._full = full
        self._seconds = seconds
        self._open = list(dict.fromkeys(job_ids))
        self._jobs: dict[str, Job] = {}

    def next_call(self) -> Call[Any] | None:
        """Return the next call; None when all ids have been looked at."""
        if not self._open:
            return None
        with refusing_wrong_types():
            request = job_service_pb2.BatchGetJobsRequest(job_ids=self._open[:MAX_BATCH_SIZE], view=view(self._full))
        return Call("BatchGetJobs", request, lambda answer: answer, self._seconds)

    def take(self, answer: job_service_pb2.BatchGetJobsResponse) -> None:
        """Note what was found. A response may end early; what it does not mention is asked for again."""
        looked_at = set(answer.missing_job_ids)
        for message in answer.jobs:
            self._jobs[message.job_id] = _convert.job_of(message)
            looked_at.add(message.job_id)
        left = [job_id for job_id in self._open if job_id not in looked_at]
        if len(left) == len(self._open):
            raise ServerBug(f"The server looked at none of {len(left)} jobs that it was asked for.")
        self._open = left

    def found(self) -> list[Job | None]:
        """Return a job, or None for a missing one, for each id in the order they were given."""
        return [self._jobs.get(job_id) for job_id in self._job_ids]


class Pages(Generic[T]):
    """A list to its end: `next_call`, `take`, until `next_call` returns None."""

    def __init__(self, rpc: str, request: Any, seconds: float, read: Callable[[Any], Sequence[T]]) -> None:
        self._rpc = rpc
        self._request = request
        self._seconds = seconds
        self._read = read
        self._is_done = False

    def next_call(self) -> Call[Any] | None:
        """Return the call for the next page; None at the end."""
        return None if self._is_done else Call(self._rpc, self._request, lambda answer: answer, self._seconds)

    def take(self, answer: Any) -> Sequence[T]:
        """Return what is on a page. A page may be empty; only an empty token is the end."""
        request = type(self._request)()
        request.CopyFrom(self._request)
        request.page_token = answer.next_page_token
        self._request = request
        self._is_done = not answer.next_page_token
        return self._read(answer)
