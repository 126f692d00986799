"""The SQLite store: the seam's verbs, each an intent for the writer or a short read."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import Content, Job, NewJob
from jobwire_server.domain.outcome import Stopped, Succeeded
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.failpoint import Failpoint, no_failpoint
from jobwire_server.kernel.telemetry import Log, LogEvent, SilentLog
from jobwire_server.store.base import (
    CommitNotice,
    JobEvent,
    JobPage,
    Lane,
    Lease,
    LeaseRequest,
    LeaseState,
    LeaseUpdate,
    ListQuery,
    Owner,
    Position,
    Reattached,
    RecoveryBatch,
    Report,
    ReportAnswer,
    Store,
    StoreCounts,
    Submission,
    SubmitReceipt,
    Sweep,
)
from jobwire_server.store.sqlite import claims, control, leases, reporting, submit, sweeps
from jobwire_server.store.sqlite.connection import (
    FileLock,
    StoreClock,
    lock_path,
    migrate,
    new_epoch,
    open_reader,
    open_writer,
    refuse_unsafe_places,
)
from jobwire_server.store.sqlite.lives import begin_life, read_meta
from jobwire_server.store.sqlite.queries import load
from jobwire_server.store.sqlite.reading import Reader
from jobwire_server.store.sqlite.reserve import Reserve
from jobwire_server.store.sqlite.settings import SqliteSettings
from jobwire_server.store.sqlite.transaction import Transaction, WriterState
from jobwire_server.store.sqlite.writer import Intent, Rank, Writer

__all__ = ["SqliteSettings", "SqliteStore"]

Answer = TypeVar("Answer")
Verb = Callable[[Transaction, Sequence[Intent]], None]

_CANCEL: Verb = control.each(control.cancel)
_RETRY: Verb = control.each(control.retry)
_DELETE: Verb = control.each(control.delete)
_REATTACH: Verb = control.each(leases.reattach)
_RECOVER: Verb = control.each(sweeps.recover)
_EXPIRE_LEASES: Verb = control.each(sweeps.expire_leases)
_PROMOTE: Verb = control.each(sweeps.promote_due)
_EXPIRE_JOBS: Verb = control.each(sweeps.expire_jobs)
_PURGE: Verb = control.each(sweeps.purge)


def _secret(transaction: Transaction, purpose: str) -> bytes:
    transaction.sql("INSERT OR IGNORE INTO secret VALUES (?, ?)", (purpose, secrets.token_bytes(32)))
    row = transaction.sql("SELECT value FROM secret WHERE purpose = ?", (purpose,)).fetchone()
    return bytes(row[0])  # type: ignore[index]


_SECRET: Verb = control.each(_secret)


class SqliteStore:
    """A store in one SQLite file (`path`), or in a private temporary file that is not synced (`path` None)."""

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Clock,
        chance: Callable[[], float],
        settings: SqliteSettings | None = None,
        failpoint: Failpoint = no_failpoint,
        log: Log | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._chance = chance
        self._settings = settings or SqliteSettings()
        self._failpoint = failpoint
        self._log: Log = log or SilentLog()
        self._queries = load()
        self._listeners: list[Callable[[CommitNotice], None]] = []
        self._fatal_listeners: list[Callable[[BaseException], None]] = []
        self._skipped: set[int] = set()
        self._process = 0
        self._folder: Path | None = None
        self._lock: FileLock | None = None
        self._writer: Writer | None = None
        self._state: WriterState | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._idle_readers: list[Reader] = []
        self._readers_guard = threading.Lock()

    # --- life -----------------------------------------------------------------------------------------------------

    async def open(self) -> Position:
        """See `Store.open`."""
        loop = asyncio.get_running_loop()
        self._process = os.getpid()
        connection = await loop.run_in_executor(None, self._open_file)
        state = self._state
        if state is None:
            raise AssertionError("the file was opened without a state")
        self._writer = Writer(
            connection,
            state,
            settings=self._settings,
            failpoint=self._failpoint,
            reserve=self._reserve(),
            on_notice=self._notify,
            on_fatal=self._die,
        )
        self._readers = ThreadPoolExecutor(self._settings.readers, thread_name_prefix="jobwire-reader")
        return Position(state.epoch, state.revision, state.compacted)

    async def close(self) -> None:
        """See `Store.close`."""
        readers, self._readers = self._readers, None
        if readers is not None:
            readers.shutdown(wait=True)
        for reader in self._idle_readers:
            reader.close()
        self._idle_readers.clear()
        # The writer goes last: closing the last connection folds the WAL into the file, which a reader may not do.
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.stop()
        if self._lock is not None:
            self._lock.release()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def subscribe(self, listener: Callable[[CommitNotice], None]) -> None:
        """See `Store.subscribe`."""
        self._listeners.append(listener)

    def on_fatal(self, listener: Callable[[BaseException], None]) -> None:
        """Call `listener` on the event loop when the store failed for good: the process should end."""
        self._fatal_listeners.append(listener)

    def _notify(self, notice: CommitNotice) -> None:
        for listener in self._listeners:
            listener(notice)

    def _die(self, error: BaseException) -> None:
        for listener in self._fatal_listeners:
            listener(error)

    def _reserve(self) -> Reserve:
        path = None if self._path is None else self._path.with_name(self._path.name + ".reserve")
        return Reserve(path, self._settings.reserve_bytes)

    def _open_file(self) -> apsw.Connection:
        durable = self._path is not None
        if self._path is None:
            self._folder = Path(tempfile.mkdtemp(prefix="jobwire-"))
            path = self._folder / "memory.db"
        else:
            path = self._path
        self._file = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            refuse_unsafe_places(path)
            self._lock = FileLock(lock_path(path))
            self._lock.acquire()
            connection = open_writer(path, self._settings, durable=durable)
            migrate(connection, self._clock, self._failpoint)
            self._state = self._read_state(connection)
        except (apsw.Error, OSError) as error:
            if self._lock is not None:
                self._lock.release()
            raise StoreUnavailable(f"The store {path} cannot be opened: {error}.") from error
        except StoreUnavailable:
            if self._lock is not None:
                self._lock.release()
            raise
        if durable and not self._reserve().acquire():
            self._state.full = True
        return connection

    def _read_state(self, connection: apsw.Connection) -> WriterState:
        newest = connection.execute("SELECT revision, time_us FROM event ORDER BY revision DESC LIMIT 1").fetchone()
        clock = StoreClock(self._clock, newest[1] if newest else 0)
        life = begin_life(connection, clock, new_epoch())
        if life is not None:
            self._log.warning(LogEvent.STORE_RESTORED, **life._asdict())
        meta = read_meta(connection)
        depth = connection.execute("SELECT count(*) FROM job INDEXED BY job_state WHERE state NOT IN (5, 6, 7, 8)")
        return WriterState(
            # The floor: a new life gives out no revision, and so no key, that the old one may have given out.
            position=Position(
                meta["epoch"],
                max(newest[0] if newest else 0, meta["compacted"], meta["fence_floor"]),
                meta["compacted"],
            ),
            depth=depth.fetchone()[0],  # type: ignore[index]
            clock=clock,
            chance=self._chance,
            settings=self._settings,
            queries=self._queries,
            log=self._log,
        )

    # --- writing --------------------------------------------------------------------------------------------------

    async def _write(self, rank: Rank, verb: Verb, argument: object, *, rows: int = 1, size: int = 256) -> Any:
        if os.getpid() != self._process:
            raise StoreUnavailable("This store was opened by another process: open it again after a fork.")
        if self._writer is None:
            raise StoreUnavailable("The store is not open.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._writer.submit(Intent(rank, verb, argument, future, rows=rows, size=size))
        return await future

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

    async def _read(self, read: Callable[[Reader], Answer]) -> Answer:
        if os.getpid() != self._process:
            raise StoreUnavailable("This store was opened by another process: open it again after a fork.")
        if self._readers is None:
            raise StoreUnavailable("The store is not open.")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._with_reader, read)

    def _with_reader(self, read: Callable[[Reader], Answer]) -> Answer:
        with self._readers_guard:
            reader = self._idle_readers.pop() if self._idle_readers else None
        if reader is None:
            reader = Reader(open_reader(self._file, self._settings), self._queries, self._now_us)
        try:
            return read(reader)
        except (apsw.BusyError, apsw.IOError, apsw.CorruptError) as error:
            raise StoreUnavailable(f"The store cannot be read: {error}.") from error
        finally:
            with self._readers_guard:
                self._idle_readers.append(reader)

    def _now_us(self) -> int:
        if self._state is None:
            raise StoreUnavailable("The store is not open.")
        return self._state.clock.now_us()

    async def get(self, tenant: str, job_ids: Sequence[str], *, full: bool) -> list[Job | None]:
        """See `Store.get`."""
        return await self._read(lambda reader: reader.get(tenant, job_ids, full))

    async def held_by(self, instance_id: str, *, limit: int) -> list[Lease]:
        """See `Store.held_by`."""
        return await self._read(lambda reader: reader.held_by(instance_id, limit))

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


_: type[Store] = SqliteStore
