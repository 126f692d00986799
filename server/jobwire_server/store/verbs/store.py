"""The verbs of the seam as a driver sees them: each is an intent for the writer, or a short read."""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import Content, Job, NewJob
from jobwire_server.domain.outcome import Stopped, Succeeded
from jobwire_server.kernel.failpoint import Failpoint
from jobwire_server.kernel.telemetry import Log
from jobwire_server.store.base import (
    CommitNotice,
    JobEvent,
    JobPage,
    Lane,
    Lease,
    LeaseEnd,
    LeaseRequest,
    LeaseState,
    LeaseUpdate,
    ListQuery,
    Owner,
    Position,
    ProgressNote,
    Reattached,
    RecoveryBatch,
    Report,
    ReportAnswer,
    StoreCounts,
    Submission,
    SubmitReceipt,
    Sweep,
)
from jobwire_server.store.settings import StoreSettings
from jobwire_server.store.verbs import claims, control, leases, reporting, submit, sweeps
from jobwire_server.store.verbs.intent import Intent, Rank, Verb
from jobwire_server.store.verbs.reader import Reader
from jobwire_server.store.verbs.writer import GroupWriter

Answer = TypeVar("Answer")
AReader = TypeVar("AReader", bound=Reader)

_CANCEL: Verb = control.each(control.cancel)
_RETRY: Verb = control.each(control.retry)
_DELETE: Verb = control.each(control.delete)
_SECRET: Verb = control.each(control.secret)
_REATTACH: Verb = control.each(leases.reattach)
_RECOVER: Verb = control.each(sweeps.recover)
_EXPIRE_LEASES: Verb = control.each(sweeps.expire_leases)
_PROMOTE: Verb = control.each(sweeps.promote_due)
_EXPIRE_JOBS: Verb = control.each(sweeps.expire_jobs)
_PURGE: Verb = control.each(sweeps.purge)


class DrivenStore(ABC, Generic[AReader]):
    """All verbs but `open`: a driver makes the writer, the readers, and closes what is its own."""

    def __init__(self, *, settings: StoreSettings, failpoint: Failpoint, log: Log) -> None:
        self._bounds = settings
        self._failpoint = failpoint
        self._log = log
        self._listeners: list[Callable[[CommitNotice], None]] = []
        self._progress_listeners: list[Callable[[ProgressNote], None]] = []
        self._fatal_listeners: list[Callable[[BaseException], None]] = []
        self._skipped: set[int] = set()
        self._process = 0
        self._writer: GroupWriter | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._idle_readers: list[AReader] = []
        self._readers_guard = threading.Lock()

    # --- life -----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def open(self) -> Position:
        """See `Store.open`."""

    def _started(self, writer: GroupWriter) -> None:
        """Take verbs from now on."""
        self._process = os.getpid()
        self._writer = writer
        self._readers = ThreadPoolExecutor(self._bounds.readers, thread_name_prefix="jobwire-reader")

    async def close(self) -> None:
        """See `Store.close`."""
        readers, self._readers = self._readers, None
        if readers is not None:
            readers.shutdown(wait=True)
        for reader in self._idle_readers:
            reader.close()
        self._idle_readers.clear()
        # The writer goes last: closing the last connection folds SQLite's WAL into the file, which a reader may not do.
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.stop()

    def subscribe(self, listener: Callable[[CommitNotice], None]) -> None:
        """See `Store.subscribe`."""
        self._listeners.append(listener)

    def subscribe_progress(self, listener: Callable[[ProgressNote], None]) -> None:
        """See `Store.subscribe_progress`."""
        self._progress_listeners.append(listener)

    def on_fatal(self, listener: Callable[[BaseException], None]) -> None:
        """Call `listener` on the event loop when the store failed for good: the process should end."""
        self._fatal_listeners.append(listener)

    def _notify(self, notice: CommitNotice) -> None:
        for listener in self._listeners:
            listener(notice)

    def _notify_of_progress(self, note: ProgressNote) -> None:
        for listener in self._progress_listeners:
            listener(note)

    def _die(self, error: BaseException) -> None:
        for listener in self._fatal_listeners:
            listener(error)

    # --- writing --------------------------------------------------------------------------------------------------

    async def _write(self, rank: Rank, verb: Verb, argument: object, *, rows: int = 1, size: int = 256) -> Any:
        self._refuse_after_fork()
        if self._writer is None:
            raise StoreUnavailable("The store is not open.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._writer.submit(Intent(rank, verb, argument, future, rows=rows, size=size))
        return await future

    def _refuse_after_fork(self) -> None:
        if self._process not in (0, os.getpid()):
            raise StoreUnavailable("This store was opened by another process: open it again after a fork.")

    async def submit(self, submission: Submission) -> SubmitReceipt:
        """See `Store.submit`."""
        if not submission.jobs:
            raise AssertionError("a submission holds at least one job")
        size = sum(map(_job_size, submission.jobs))
        rows = len(submission.jobs)
        receipt: SubmitReceipt = await self._write(Rank.SUBMIT, submit.submit, submission, rows=rows, size=size)
        return receipt

    async def cancel(self, tenant: str, job_id: str, *, reason: str = "", force: bool = False) -> Job:
        """See `Store.cancel`."""
        job: Job = await self._write(Rank.LEASE, _CANCEL, control.Cancel(tenant, job_id, reason, force))
        return job

    async def retry(
        self, tenant: str, job_id: str, *, additional_attempts: int = 0, schedule_time_us: int | None = None
    ) -> Job:
        """See `Store.retry`."""
        job: Job = await self._write(
            Rank.SUBMIT, _RETRY, control.Retry(tenant, job_id, additional_attempts, schedule_time_us)
        )
        return job

    async def delete(self, tenant: str, job_id: str) -> bool:
        """See `Store.delete`."""
        deleted: bool = await self._write(Rank.SWEEP, _DELETE, control.Delete(tenant, job_id))
        return deleted

    async def lease(self, request: LeaseRequest) -> list[Lease]:
        """See `Store.lease`."""
        leased: list[Lease] = await self._write(Rank.LEASE, claims.lease, request, rows=request.limit)
        self._failpoint("lease.after_commit")
        return leased

    async def report(self, reports: Sequence[Report]) -> list[ReportAnswer]:
        """See `Store.report`."""
        rows, size = _reports_weigh(reports)
        answers: list[ReportAnswer] = await self._write(Rank.OUTCOME, reporting.report, reports, rows=rows, size=size)
        self._failpoint("report.after_commit")
        return answers

    async def extend(self, updates: Sequence[LeaseUpdate]) -> list[LeaseState]:
        """See `Store.extend`."""
        size = sum(64 + _content_bytes(one.checkpoint) for one in updates)
        states: list[LeaseState] = await self._write(Rank.OUTCOME, leases.extend, updates, rows=len(updates), size=size)
        return states

    async def reattach(self, owner: Owner, held: Sequence[tuple[int, int]]) -> Reattached:
        """See `Store.reattach`."""
        wish = leases.Reattach(owner, held)
        reattached: Reattached = await self._write(Rank.LEASE, _REATTACH, wish, rows=1 + len(held))
        return reattached

    async def recover(self, *, instance_id: str, limit: int) -> RecoveryBatch:
        """See `Store.recover`."""
        wish = sweeps.Recover(instance_id, limit, self._skipped, self._failpoint)
        batch: RecoveryBatch = await self._write(Rank.SWEEP, _RECOVER, wish, rows=limit)
        self._failpoint("recover.after_commit")
        return batch

    async def expire_leases(self, *, limit: int) -> Sweep:
        """See `Store.expire_leases`."""
        return await self._sweep(_EXPIRE_LEASES, limit)

    async def promote_due(self, *, limit: int) -> Sweep:
        """See `Store.promote_due`."""
        return await self._sweep(_PROMOTE, limit)

    async def expire_jobs(self, *, limit: int) -> Sweep:
        """See `Store.expire_jobs`."""
        return await self._sweep(_EXPIRE_JOBS, limit)

    async def purge(self, *, limit: int) -> Sweep:
        """See `Store.purge`."""
        return await self._sweep(_PURGE, limit)

    async def _sweep(self, verb: Verb, limit: int) -> Sweep:
        sweep: Sweep = await self._write(Rank.SWEEP, verb, sweeps.Bound(limit), rows=limit)
        return sweep

    async def secret(self, purpose: str) -> bytes:
        """See `Store.secret`."""
        value: bytes = await self._write(Rank.SWEEP, _SECRET, purpose)
        return value

    # --- reading --------------------------------------------------------------------------------------------------

    async def _read(self, read: Callable[[AReader], Answer]) -> Answer:
        self._refuse_after_fork()
        if self._readers is None:
            raise StoreUnavailable("The store is not open.")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._with_reader, read)

    def _with_reader(self, read: Callable[[AReader], Answer]) -> Answer:
        with self._readers_guard:
            reader = self._idle_readers.pop() if self._idle_readers else None
        if reader is None:
            return self._use(self._new_reader(), read)
        try:
            return self._use(reader, read)
        except StoreUnavailable:
            if reader.usable:
                raise
        # The connection had been lost while nobody used it: to read again does no harm.
        return self._use(self._new_reader(), read)

    def _use(self, reader: AReader, read: Callable[[AReader], Answer]) -> Answer:
        try:
            return read(reader)
        except Exception as error:
            failure = self._reading_failed(error)
            if failure is None:
                raise
            raise failure from error
        finally:
            if reader.usable:
                with self._readers_guard:
                    self._idle_readers.append(reader)
            else:
                reader.close()

    @abstractmethod
    def _new_reader(self) -> AReader:
        """Connect for reading. Called in a thread. Raises `StoreUnavailable`."""

    @abstractmethod
    def _reading_failed(self, error: Exception) -> StoreUnavailable | None:
        """What to tell of an error while reading; None = raise it as it is."""

    async def get(self, tenant: str, job_ids: Sequence[str], *, full: bool) -> list[Job | None]:
        """See `Store.get`."""
        return await self._read(lambda reader: reader.get(tenant, job_ids, full))

    async def held_by(self, instance_id: str, *, limit: int) -> list[Lease]:
        """See `Store.held_by`."""
        return await self._read(lambda reader: reader.held_by(instance_id, limit))

    async def lease_ends(self, leases: Sequence[tuple[int, int]]) -> list[LeaseEnd | None]:
        """See `Store.lease_ends`."""
        return await self._read(lambda reader: reader.lease_ends(leases))

    async def list_jobs(self, tenant: str, query: ListQuery) -> JobPage:
        """See `Store.list_jobs`."""
        return await self._read(lambda reader: reader.list_jobs(tenant, query))

    async def position(self) -> Position:
        """See `Store.position`."""
        return await self._read(lambda reader: reader.position())

    async def events(
        self, *, after: int, limit: int, tenant: str | None = None, job_ids: Sequence[str] = ()
    ) -> list[JobEvent]:
        """See `Store.events`."""
        return await self._read(lambda reader: reader.events(after, limit, tenant, job_ids))

    async def pending_lanes(self, types: Sequence[str] | None, queues: Sequence[str] | None = None) -> list[Lane]:
        """See `Store.pending_lanes`."""
        return await self._read(lambda reader: reader.pending_lanes(types, queues))

    async def counts(self) -> StoreCounts:
        """See `Store.counts`."""
        return await self._read(lambda reader: reader.counts())


def _content_bytes(content: Content | None) -> int:
    return 0 if content is None else len(content.data)


def _job_size(job: NewJob) -> int:
    return 256 + _content_bytes(job.payload)


def _reports_weigh(reports: Sequence[Report]) -> tuple[int, int]:
    """Rows and bytes that reports write."""
    rows, size = len(reports), 128 * len(reports)
    for _, _, outcome in reports:
        if not isinstance(outcome, Succeeded | Stopped):
            continue
        if outcome.result is not None:
            size += len(outcome.result.data)
        if isinstance(outcome, Succeeded) and outcome.follow_ups:
            rows += len(outcome.follow_ups)
            size += sum(map(_job_size, outcome.follow_ups))
    return rows, size
