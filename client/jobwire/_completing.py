"""Waiting for the ends of many jobs at once: what is still open, and what an event or a look says about it. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from jobwire.durations import Duration, parse_duration
from jobwire.errors import ArgumentInvalid
from jobwire.models import Job, JobEvent, JobEventType, JobFilter, JobStatus

MOST_NAMED_JOBS = 1000
"""A watch can name so many jobs; more are found among all changes of their queues and types."""
MOST_NAMED_KINDS = 100
"""Queues, or types, that are named in the filter of a watch; beyond it all are watched."""
CHUNKS_AHEAD = 4
"""Batches of jobs that `map` keeps submitted."""


class Known(Protocol):
    """What is needed of a handle."""

    @property
    def id(self) -> str: ...
    def _note(self, status: JobStatus) -> JobStatus: ...


H = TypeVar("H", bound=Known)
R_co = TypeVar("R_co", covariant=True)


class Open(Generic[H]):
    """Handles whose jobs have not ended yet, as far as is known."""

    def __init__(self, handles: Iterable[H]) -> None:
        self._handles: dict[str, list[H]] = {}
        for handle in handles:
            self._handles.setdefault(handle.id, []).append(handle)

    def __bool__(self) -> bool:
        return bool(self._handles)

    @property
    def ids(self) -> list[str]:
        """Ids of the jobs that are open."""
        return list(self._handles)

    @property
    def can_be_named(self) -> bool:
        """True when one watch can name them all."""
        return len(self._handles) <= MOST_NAMED_JOBS

    def take(self, event: JobEvent) -> Iterator[H]:
        """Yield the handles of a job that has ended, or is no more."""
        if event.job_id in self._handles and is_end(event):
            yield from self._end(event.job_id, event.status)

    def look(self, ids: Sequence[str], jobs: Sequence[Job | None]) -> Iterator[H]:
        """Yield the handles of those jobs that have ended, or are not there."""
        for job_id, job in zip(ids, jobs, strict=True):
            if job is None or job.state.is_terminal:
                yield from self._end(job_id, job.status if job else None)

    def rest(self) -> Iterator[H]:
        """Yield what is left, when the server says that all have ended."""
        for job_id in self.ids:
            yield from self._end(job_id, None)

    def conditions(self, jobs: Iterable[Job | None]) -> JobFilter:
        """The narrowest filter that matches the changes of these jobs."""
        specs = [job.spec for job in jobs if job is not None]
        queues, types = {spec.queue for spec in specs}, {spec.type for spec in specs}
        return JobFilter(
            queues=tuple(sorted(queues)) if len(queues) <= MOST_NAMED_KINDS else (),
            types=tuple(sorted(types)) if len(types) <= MOST_NAMED_KINDS else (),
        )

    def _end(self, job_id: str, status: JobStatus | None) -> Iterator[H]:
        for handle in self._handles.pop(job_id):
            if status is not None:
                handle._note(status)  # noqa: SLF001 - what a handle knows is kept by this package
            yield handle


def is_end(event: JobEvent) -> bool:
    """True when nothing more will come of the job."""
    return event.status.state.is_terminal or event.event_type is JobEventType.DELETED


class Result(Protocol[R_co]):
    """What is needed of a SubmitResult."""

    @property
    def handle(self) -> R_co | None: ...
    def unwrap(self) -> R_co: ...


class Chunk(Generic[H]):
    """Jobs that were submitted together, whose results are handed out in order."""

    def __init__(self, results: Iterable[Result[H]]) -> None:
        self.due = deque(results)
        self._jobs: dict[str, Job | None] = {}

    @property
    def ids(self) -> list[str]:
        """Ids of the jobs that are not handed out."""
        return list(dict.fromkeys(result.handle.id for result in self.due if result.handle is not None))

    def take(self, event: JobEvent) -> None:
        """Note what an event tells."""
        if is_end(event):
            self._jobs[event.job_id] = event.job

    def has(self, job_id: str) -> bool:
        """True when the job has ended."""
        return job_id in self._jobs

    def job(self, job_id: str) -> Job | None:
        """Return the job in full, when the event of its end had it, and forget it."""
        return self._jobs.pop(job_id, None)


class Allowance:
    """Time for a number of waits together."""

    def __init__(self, duration: Duration | None, now: float) -> None:
        self._end = None if duration is None else now + parse_duration(duration, name="timeout").total_seconds()

    def left(self, now: float) -> timedelta | None:
        """What is left, at least a millisecond; None = there is no end."""
        return None if self._end is None else timedelta(seconds=max(self._end - now, 0.001))


def refuse_names_of_one(options: Iterable[str]) -> None:
    """Refuse options that belong to a single job. Raises ArgumentInvalid."""
    for name in sorted({"key", "job_id"} & set(options)):
        raise ArgumentInvalid(f"{name} names one job, and map() submits many: use submit_many with Submissions.")
