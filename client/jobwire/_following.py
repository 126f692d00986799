"""Following jobs through cuts and restarts: the resume rules, as machines without I/O.

A shell asks a machine what to open, hands it every response, and tells it how the stream ended; the machine answers
with values for the caller, with a pause before the next stream, or by raising.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from jobwire import _convert
from jobwire._calls import Call, did_nothing
from jobwire._requests import filter_of, refusing_wrong_types, view
from jobwire.errors import (
    ArgumentInvalid,
    CallTimeout,
    Draining,
    ErrorDetails,
    JobwireError,
    PositionLost,
    RevisionInFuture,
    ServerUnreachable,
    SlowConsumer,
    StreamAge,
    TooManyRequests,
    TooManyStreams,
    Unavailable,
    WaitTimeout,
)
from jobwire.models import Job, JobEvent, JobFilter, JobStatus, JobUpdate, WatchCursor
from jobwire.v1 import job_pb2, job_service_pb2

T_co = TypeVar("T_co", covariant=True)

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0
_SETTLED_SECONDS = 5.0
"""A stream that lived so long was a contact, even when it had nothing to say."""
_LONGEST_POLL_SECONDS = 60.0
_EARLY_SECONDS = 0.05
_ANY_REVISION = 2**63 - 1
"""No revision is greater: a long poll beyond it is answered when the job has ended, and not before."""


class Contact:
    """Whether the server is there, and how patient to be about it.

    Until the first answer `first_seconds` hold; after it `patience_seconds` (None = for ever) from one answer to the
    next. Pauses grow with full jitter from 0.2 s to 10 s and start over after every answer.
    """

    def __init__(
        self, *, first_seconds: float, patience_seconds: float | None, now: float, chance: Callable[[], float]
    ) -> None:
        self._limit_seconds: float | None = first_seconds
        self._patience_seconds = patience_seconds
        self._last = now
        self._opened = now
        self._failures = 0
        self._chance = chance

    def opened(self, now: float) -> None:
        """A stream or poll begins."""
        self._opened = now

    def answered(self, now: float) -> None:
        """The server answered."""
        self._limit_seconds = self._patience_seconds
        self._last = now
        self._failures = 0

    def pause(self, error: JobwireError | None, now: float, *, at_once: bool = False) -> float:
        """Return the pause before the next try in seconds. Raises the error when patience is over."""
        if now - self._opened >= _SETTLED_SECONDS and not _never_arrived(error):
            self.answered(now)
        if error is not None and self._limit_seconds is not None and now - self._last >= self._limit_seconds:
            raise error
        self._failures += 1
        if at_once and self._failures == 1:
            return _FIRST_PAUSE_SECONDS * self._chance()
        bound = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 16))
        pause = bound * self._chance()
        if error is not None and error.retry_after is not None:
            pause = max(pause, error.retry_after.total_seconds())
        return pause


def _never_arrived(error: JobwireError | None) -> bool:
    return isinstance(error, CallTimeout) or (isinstance(error, ServerUnreachable) and did_nothing(error))


def is_cut(error: JobwireError) -> bool:
    """True when opening again is the answer."""
    return isinstance(error, Unavailable | SlowConsumer | TooManyStreams | TooManyRequests | CallTimeout)


class Follow(Protocol[T_co]):
    """One logical watch over as many streams as it takes."""

    rpc: str
    is_done: bool
    """True when nothing more will come."""

    @property
    def cursor(self) -> WatchCursor | None:
        """Place in the event log, where there is one."""

    def open(self, now: float) -> tuple[Message, float | None]:
        """Return the request of the next stream, and its deadline in seconds."""

    def take(self, response: Any, now: float) -> Sequence[T_co]:
        """Return what is new in a response."""

    def ended(self, now: float) -> float:
        """The server ended the stream with OK: return the pause before the next one, unless done."""

    def failed(self, error: JobwireError, now: float) -> float:
        """The stream broke: return the pause before the next one. Raises what the caller must know."""


class Limit:
    """An end of waiting, or none."""

    def __init__(self, timeout: timedelta | None, now: float) -> None:
        self.timeout = timeout
        self._end = None if timeout is None else now + timeout.total_seconds()

    def remaining(self, now: float) -> float | None:
        """Seconds left, at least a millisecond; None = no end."""
        return None if self._end is None else max(self._end - now, 0.001)

    def within(self, pause: float, now: float) -> float:
        """Shorten a pause so that it does not outlast the limit."""
        return pause if self._end is None else min(pause, max(self._end - now, 0.0))

    def is_over(self, now: float) -> bool:
        """True when no time is left."""
        return self._end is not None and now >= self._end


def wait_timeout(what: str, limit: Limit, status: JobStatus | None, last: JobwireError | None) -> WaitTimeout:
    """Make the error for a caller whose patience ended before the job did."""
    seconds = limit.timeout.total_seconds() if limit.timeout is not None else 0.0
    state = f" (it is {status.state.value}, attempt {status.attempt} of {status.max_attempts})" if status else ""
    facts = {"job_id": what.removeprefix("Job "), "timeout_seconds": f"{seconds:g}"}
    if status is not None:
        facts["state"] = status.state.value
    return WaitTimeout(
        f"{what} did not end within {seconds:g} s{state}; it goes on.",
        ErrorDetails(
            why=str(last) if isinstance(last, ServerUnreachable) else "",
            hint="wait again: result() picks up where the job is",
            facts=facts,
        ),
    )


def watch_timeout(job_count: int, limit: Limit, last: JobwireError | None) -> WaitTimeout:
    """Make the error for a watch over many jobs whose time is over; 0 jobs = it had no other end."""
    seconds = round(limit.timeout.total_seconds(), 3) if limit.timeout is not None else 0.0
    jobs = "the job has not ended" if job_count == 1 else f"not all of the {job_count} jobs have ended"
    sentence = f"After {seconds:g} s {jobs}; what is open goes on." if job_count else f"The watch took {seconds:g} s."
    return WaitTimeout(
        sentence,
        ErrorDetails(
            why=str(last) if isinstance(last, ServerUnreachable) else "",
            hint="wait again: it picks up where the jobs are" if job_count else "watch on: hand in its cursor as after",
            facts={"timeout_seconds": f"{seconds:g}"},
        ),
    )


class JobFollow:
    """WatchJob: the status of one job until it is terminal. Level-triggered: steps may be skipped, the end never."""

    rpc = "WatchJob"
    cursor: WatchCursor | None = None

    def __init__(self, job_id: str, *, full: bool, after_revision: int | None, limit: Limit, contact: Contact) -> None:
        self.is_done = False
        self._job_id = job_id
        self._full = full
        self._after = after_revision
        self._limit = limit
        self._contact = contact
        self._last: JobStatus | None = None
        self._began_anew = False

    def open(self, now: float) -> tuple[Message, float | None]:
        """See `Follow`."""
        self._contact.opened(now)
        with refusing_wrong_types():
            request = job_service_pb2.WatchJobRequest(
                job_id=self._job_id, after_revision=self._after, view=view(self._full)
            )
        return request, self._limit.remaining(now)

    def take(self, response: job_service_pb2.WatchJobResponse, now: float) -> Sequence[JobUpdate]:
        """See `Follow`."""
        self._contact.answered(now)
        status = _convert.status_of(response.status)
        self.is_done = status.state.is_terminal
        if self._is_old(status):
            return ()
        skipped = response.skipped or self._began_anew
        self._began_anew = False
        self._last, self._after = status, status.revision
        return (JobUpdate(job_id=self._job_id, status=status, skipped=skipped),)

    def _is_old(self, status: JobStatus) -> bool:
        return self._last is not None and (status.revision < self._last.revision or status == self._last)

    def ended(self, now: float) -> float:
        """See `Follow`. An OK before the terminal status is a cut: some proxies end streams so."""
        return self._limit.within(self._contact.pause(None, now), now)

    def failed(self, error: JobwireError, now: float) -> float:
        """See `Follow`."""
        if self._limit.is_over(now):
            raise wait_timeout(f"Job {self._job_id}", self._limit, self._last, error) from error
        if isinstance(error, RevisionInFuture) and self._last is not None:
            # The server came back with an older store: what it says now is the truth.
            self._last, self._after, self._began_anew = None, None, True
            return 0.0
        if not is_cut(error):
            raise error
        pause = self._contact.pause(error, now, at_once=isinstance(error, Draining | StreamAge))
        return self._limit.within(pause, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """What a watch over many jobs asks for."""

    conditions: JobFilter | job_pb2.JobFilter | None = None
    job_ids: tuple[str, ...] = ()
    after: WatchCursor | None = None
    snapshot: bool = False
    until_all_terminal: bool = False
    full: bool | None = None
    """None: events without their job."""
    progress: bool = False
    conflate: bool = False

    def message(self) -> job_service_pb2.WatchJobsRequest:
        """Build the request of the first stream."""
        if self.after is not None and self.snapshot:
            raise ArgumentInvalid("Give either after or snapshot=True: a snapshot starts at the present.")
        if self.until_all_terminal and not self.job_ids:
            raise ArgumentInvalid("until_all_terminal needs job_ids: other jobs may come at any time.")
        conditions = filter_of(self.conditions)
        with refusing_wrong_types():
            return job_service_pb2.WatchJobsRequest(
                filter=conditions,
                job_ids=self.job_ids,
                after=_convert.cursor_message(self.after) if self.after is not None else None,
                send_initial_state=self.snapshot,
                until_all_terminal=self.until_all_terminal,
                view=view(self.full) if self.full is not None else None,
                include_progress=self.progress,
                conflate=self.conflate,
            )


class EventFollow:
    """WatchJobs: every event that matches, each once, across any number of streams.

    A snapshot that is cut before its end is sent again; jobs named by id are then not repeated. When the place in the
    log is lost, a watch with a snapshot takes a new one, any other raises PositionLost.
    """

    rpc = "WatchJobs"

    def __init__(self, query: EventQuery, *, limit: Limit, contact: Contact) -> None:
        self.is_done = False
        self._query = query
        self._request = query.message()
        self._limit = limit
        self._contact = contact
        self._cursor = query.after
        self._in_snapshot = query.snapshot
        self._is_draining = False
        self._newest: dict[str, int] = {}  # only of jobs named by id, at most 1,000

    @property
    def cursor(self) -> WatchCursor | None:
        """Every matching event up to here has been taken; None while a snapshot is not complete."""
        return None if self._in_snapshot else self._cursor

    def open(self, now: float) -> tuple[Message, float | None]:
        """See `Follow`."""
        self._contact.opened(now)
        self._is_draining = False
        request = job_service_pb2.WatchJobsRequest()
        request.CopyFrom(self._request)
        if self.cursor is not None:
            request.send_initial_state = False
            request.after.CopyFrom(_convert.cursor_message(self.cursor))
        return request, self._limit.remaining(now)

    def take(self, response: job_service_pb2.WatchJobsResponse, now: float) -> Sequence[JobEvent]:
        """See `Follow`."""
        self._contact.answered(now)
        self._is_draining = response.draining
        events = tuple(
            _convert.event_of(event, response.cursor.epoch) for event in response.events if self._is_new(event)
        )
        if response.HasField("cursor"):
            self._cursor = _convert.cursor_of(response.cursor)
        if response.initial_state_complete:
            self._in_snapshot = False
        return events

    def _is_new(self, event: job_service_pb2.JobEvent) -> bool:
        if not self._query.job_ids or event.event_type == job_service_pb2.JOB_EVENT_TYPE_PROGRESS:
            return True
        is_snapshot = event.event_type == job_service_pb2.JOB_EVENT_TYPE_SNAPSHOT
        if is_snapshot and event.revision <= self._newest.get(event.job_id, -1):
            return False
        self._newest[event.job_id] = event.revision
        return True

    def ended(self, now: float) -> float:
        """See `Follow`."""
        if self._query.until_all_terminal and not self._is_draining:
            self.is_done = True
            return 0.0
        return self._limit.within(self._contact.pause(None, now, at_once=True), now)

    def failed(self, error: JobwireError, now: float) -> float:
        """See `Follow`."""
        if self._limit.is_over(now):
            job_count = len(self._query.job_ids) if self._query.until_all_terminal else 0
            raise watch_timeout(job_count, self._limit, error) from error
        if isinstance(error, PositionLost) and self._query.snapshot and self.cursor is not None:
            self._cursor, self._in_snapshot = None, True
            self._newest.clear()  # another store may count from the start
            return 0.0
        if not is_cut(error):
            raise error
        at_once = self._is_draining or isinstance(error, Draining | StreamAge)
        return self._limit.within(self._contact.pause(error, now, at_once=at_once), now)


class EndWait:
    """Waiting for the end of one job by long polls: unary, so that thousands may wait without a stream each."""

    def __init__(self, job_id: str, *, limit: Limit, contact: Contact, grace_seconds: float) -> None:
        self._job_id = job_id
        self._limit = limit
        self._contact = contact
        self._grace_seconds = grace_seconds
        self._last: JobStatus | None = None
        self._asked_at = 0.0
        self._early_answers = 0

    def call(self, now: float) -> Call[Job]:
        """Return the next poll. The call's own deadline lies a little behind the wait, for the answer's way back."""
        self._contact.opened(now)
        self._asked_at = now
        remaining = self._limit.remaining(now)
        wait = _LONGEST_POLL_SECONDS if remaining is None else min(remaining, _LONGEST_POLL_SECONDS)
        with refusing_wrong_types():
            request = job_service_pb2.GetJobRequest(
                job_id=self._job_id,
                view=view(full=True),
                wait_revision=_ANY_REVISION,
                wait_timeout=_convert.duration(timedelta(seconds=wait)),
            )
        return Call("GetJob", request, lambda answer: _convert.job_of(answer.job), wait + self._grace_seconds)

    def take(self, job: Job, now: float) -> Job | None:
        """Return the job if it has ended. Raises WaitTimeout when the time is over."""
        self._contact.answered(now)
        if job.status.state.is_terminal:
            return job
        self._last = job.status
        if self._limit.is_over(now):
            raise wait_timeout(f"Job {self._job_id}", self._limit, job.status, None)
        return None

    def breath(self, now: float) -> float:
        """Return the pause after an answer that was not the end: none, unless the server does not hold its polls."""
        if now - self._asked_at >= _EARLY_SECONDS:
            self._early_answers = 0
            return 0.0
        self._early_answers += 1
        return self._limit.within(min(1.0, _EARLY_SECONDS * 2 ** min(self._early_answers, 8)), now)

    def failed(self, error: JobwireError, now: float) -> float:
        """Return the pause before the next poll in seconds. Raises what the caller must know."""
        if is_cut(error) and self._limit.is_over(now):
            raise wait_timeout(f"Job {self._job_id}", self._limit, self._last, error) from error
        if not is_cut(error):
            raise error
        pause = self._contact.pause(error, now, at_once=isinstance(error, Draining))
        return self._limit.within(pause, now)
