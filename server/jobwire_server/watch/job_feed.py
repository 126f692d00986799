"""The watch of one job: level-triggered, so it holds the newest event and no cursor on the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

from jobwire_server.domain.errors import JobNotFound, RevisionInFuture, Unavailable
from jobwire_server.domain.job import TERMINAL_STATES, Job, JobStatus
from jobwire_server.store.base import EventKind, JobEvent, ProgressNote
from jobwire_server.watch.desk import Desk
from jobwire_server.watch.requests import StatusUpdate
from jobwire_server.watch.ring import Entry

PROGRESS_SECONDS: Final = 1.0
"""Progress of a watched job is handed out at most this often."""


class JobWatch(NamedTuple):
    """A wish to follow one job."""

    tenant: str
    job_id: str
    after_revision: int | None = None
    """Last revision that was seen; None = begin with the current status."""
    full: bool = False
    """Add the result to the terminal status."""


class JobSignal:
    """Knows the newest event of one job, and rings when there is one. A terminal status is never overwritten."""

    def __init__(self, desk: Desk, tenant: str, job_id: str, *, wants_progress: bool) -> None:
        self._desk = desk
        self._tenant = tenant
        self._job_id = job_id
        self.wants_progress = wants_progress
        self.bell = asyncio.Event()
        self.ending: Unavailable | None = None
        self.stale = False
        """True when an event was not kept: only the store knows how the job stands."""
        self._event: JobEvent | None = None
        self._progress = False
        self._progress_at = 0.0

    def matched(self, entry: Entry) -> None:
        """See `Listener`."""
        if self._event is None or self._event.state not in TERMINAL_STATES:
            self._event = entry.event
        else:
            self.stale = True
        self.bell.set()

    def lost(self) -> None:
        """See `Listener`."""
        self.stale = True
        self.bell.set()

    def progressed(self, note: ProgressNote) -> None:  # noqa: ARG002 - the store holds what the note says
        """See `Listener`."""
        self._progress = True
        self.tick(self._desk.now())

    def tick(self, now: float) -> None:
        """Ring if held progress is due."""
        if self._progress and now >= self._progress_at:
            self.bell.set()

    def end(self, reason: Unavailable) -> None:
        """The watch is to end with `reason`."""
        self.ending = self.ending or reason
        self.bell.set()

    def take(self) -> JobEvent | None:
        """Return the newest event since the last call, if any."""
        event, self._event = self._event, None
        return event

    def take_progress(self) -> bool:
        """Tell whether the job's progress should be read now."""
        now = self._desk.now()
        if not self._progress or now < self._progress_at:
            return False
        self._progress = False
        self._progress_at = now + PROGRESS_SECONDS
        return True

    async def __aenter__(self) -> JobSignal:
        """Register: every event that is committed after this returned is heard."""
        self._desk.join(self, await self._desk.store.position())
        self._desk.index.add_ids(self._tenant, (self._job_id,), self)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._desk.index.remove_ids(self._tenant, (self._job_id,), self)
        self._desk.part(self)


class JobFeed:
    """One watch of one job. Iterate `updates()` once."""

    def __init__(self, desk: Desk, watch: JobWatch) -> None:
        self._desk = desk
        self._watch = watch
        self._signal = JobSignal(desk, watch.tenant, watch.job_id, wants_progress=True)
        self._revision = watch.after_revision or 0

    def end(self, reason: Unavailable) -> None:
        """Finish by raising `reason`."""
        self._signal.end(reason)

    async def updates(self) -> AsyncGenerator[StatusUpdate, None]:
        """Yield the latest status first, then each newer one, the last of them terminal.

        Statuses may be skipped when the reader is slow, the terminal one never. Raises `JobNotFound` (also when the
        job goes away), `RevisionInFuture`, and the reason it was told to end with.
        """
        async with self._signal:
            update = await self._first()
            while True:
                if update is not None:
                    yield update
                    if update.status.state in TERMINAL_STATES:
                        return
                elif self._signal.ending is not None:
                    raise self._signal.ending
                else:
                    await self._signal.bell.wait()
                self._signal.bell.clear()
                update = await self._newer()

    async def _first(self) -> StatusUpdate | None:
        """The current status, unless it was seen already and is not terminal."""
        position = await self._desk.store.position()
        seen = self._watch.after_revision
        if seen is not None and seen > position.revision:
            raise RevisionInFuture(
                f"Revision {seen} lies beyond the newest one, {position.revision}: watch without after_revision.",
                current_revision=position.revision,
                epoch=position.epoch,
            )
        job = await self._read()
        if seen is not None and job.status.revision <= seen and job.status.state not in TERMINAL_STATES:
            return None
        skipped = seen is not None and seen < position.compacted and job.status.revision > seen
        return StatusUpdate(job.status, skipped=skipped)

    async def _newer(self) -> StatusUpdate | None:
        event = self._signal.take()
        if event is not None and event.revision > self._revision:
            return await self._from_event(event)
        if self._signal.stale or self._signal.take_progress():
            self._signal.stale = False
            return StatusUpdate((await self._read()).status)
        return None

    async def _from_event(self, event: JobEvent) -> StatusUpdate:
        self._revision = event.revision
        if event.kind is EventKind.DELETED:
            raise job_not_found(self._watch.job_id)
        status = status_of(event)
        if self._watch.full and event.state in TERMINAL_STATES:
            job = await self._get(full=True)
            if job is not None and job.status.revision == event.revision:
                status = job.status
        return StatusUpdate(status)

    async def _read(self) -> Job:
        job = await self._get(full=False)
        if job is not None and self._watch.full and job.status.state in TERMINAL_STATES:
            job = await self._get(full=True)
        if job is None:
            raise job_not_found(self._watch.job_id)
        self._revision = max(self._revision, job.status.revision)
        return job

    async def _get(self, *, full: bool) -> Job | None:
        return (await self._desk.store.get(self._watch.tenant, (self._watch.job_id,), full=full))[0]


def job_not_found(job_id: str) -> JobNotFound:
    """Return the error for a job that does not exist (any more)."""
    return JobNotFound(f"There is no job {job_id!r}: it was never submitted, or it has been removed.", job_id=job_id)


def status_of(event: JobEvent) -> JobStatus:
    """Return the status of the job after `event`, as far as the log knows it (no progress, no result)."""
    return JobStatus(
        state=event.state,
        revision=event.revision,
        attempt=event.attempt,
        max_attempts=event.max_attempts,
        last_error=event.last_error,
        worker_id=event.worker_id,
        cancel_request_time_us=event.cancel_request_time_us,
        start_time_us=event.start_time_us,
        finish_time_us=event.finish_time_us,
        next_attempt_time_us=event.next_attempt_time_us,
        lease_expire_time_us=event.lease_expire_time_us,
    )
