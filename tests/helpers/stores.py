"""A store under test with a clock in hand, short names for what tests do with it, and a crash."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from jobwire_server.domain.job import DEFAULT_TENANT, Content, Job, JobError, NewJob, State
from jobwire_server.domain.outcome import Failed, Outcome, Succeeded
from jobwire_server.kernel.failpoint import Failpoint, no_failpoint
from jobwire_server.kernel.telemetry import LogFormat, LogLevel, make_log
from jobwire_server.store.base import (
    CommitNotice,
    JobEvent,
    Lane,
    Lease,
    LeaseRequest,
    LeaseState,
    LeaseUpdate,
    Owner,
    QueueShare,
    Report,
    ReportAnswer,
    ReportCode,
    Store,
    Submission,
    SubmitReceipt,
    Submitted,
    Transport,
)
from jobwire_server.store.settings import StoreSettings
from jobwire_server.store.sqlite.store import SqliteSettings, SqliteStore
from jobwire_server.store.verbs.store import DrivenStore
from tests.helpers import fsck
from tests.helpers.clock import ManualClock
from tests.helpers.factories import new_job

SECOND_US = 1_000_000
WORK = Lane("default", "work")
US = Owner("worker-1", "incarnation-1", Transport.DIRECT)
REMOTE = Owner("worker-2", "incarnation-2", Transport.STREAM)
RESULT = Content(b'"done"', "application/json")
ERROR = JobError(type="OSError", message="no route", detail="stack")


class StoreRig:
    """Opens a store, keeps what a restart needs, and checks the whole file at the end."""

    def __init__(self, path: Path | None, **settings: Any) -> None:
        self.clock = ManualClock()
        self.path = path
        self.settings = self._made_settings(settings)
        self.chance: Callable[[], float] = lambda: 0.5
        self.failpoint: Failpoint = no_failpoint
        self.notices: list[CommitNotice] = []
        self.tampered = False
        """Set by tests that damage the file on purpose: it is not checked at the end then."""
        self._crashes = itertools.count(1)
        self._log = io.StringIO()
        self._store: DrivenStore[Any] | None = None

    # --- life -----------------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The open store."""
        assert self._store is not None
        return self._store

    @property
    def file(self) -> Path:
        """Where its rows are, also those of a memory store."""
        assert isinstance(self._store, SqliteStore)
        return self._store._file

    def _made_settings(self, settings: dict[str, Any]) -> StoreSettings:
        return SqliteSettings(**{"reserve_bytes": 0, **settings})

    def subject(self) -> DrivenStore[Any]:
        """A store like ours on the same path, not open yet."""
        assert isinstance(self.settings, SqliteSettings)
        return SqliteStore(
            self.path,
            clock=self.clock,
            chance=self.chance,
            settings=self.settings,
            failpoint=self.failpoint,
            log=make_log(LogFormat.JSON, LogLevel.DEBUG, self._log),
        )

    def logged(self) -> list[dict[str, Any]]:
        """The lines that the store has logged."""
        return [json.loads(line) for line in self._log.getvalue().splitlines()]

    async def open(self) -> None:
        """Open a new store on the path."""
        self._store = self.subject()
        self._store.subscribe(self.notices.append)
        await self._store.open()

    async def configure(self, **settings: Any) -> None:
        """Open it again with other settings; only before anything is in it."""
        await self.close()
        self.settings = self._made_settings(settings)
        await self.open()

    async def close(self) -> None:
        """Check the file, then close the store."""
        if self._store is None:
            return
        if not self.tampered:
            self.check()
        await self._store.close()
        self._store = None

    def check(self) -> None:
        """Fold the log and hold it to the rows."""
        fsck.check(self.file)

    def time_after_restart(self, newest_us: int) -> int:
        """What the store's time is right after a restart; `newest_us`: the newest time in it."""
        return max(self.clock.wall_us(), newest_us)

    async def reopen(self) -> None:
        """Stop in order and start again (not a memory store)."""
        await self.close()
        await self.open()

    async def crash(self) -> None:
        """Start again from what is committed at this instant, as after a kill (not a memory store).

        The old store keeps its file and is thrown away; the new one gets a copy of what was committed.
        """
        assert self.path is not None
        assert self._store is not None
        copy = self.path.with_name(f"after-crash-{next(self._crashes)}.db")
        source, target = apsw.Connection(str(self.path)), apsw.Connection(str(copy))
        with target.backup("main", source, "main") as backup:
            backup.step(-1)
        target.close()
        source.close()
        abandoned, self.path = self._store, copy
        await self.open()
        await abandoned.close()

    def sql(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Read the file behind the store's back."""
        return fsck.read(self.file, statement, values)

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        return fsck.dump(self.file)

    def tamper(self, statement: str) -> None:
        """Write behind the store's back."""
        connection = apsw.Connection(str(self.file))
        connection.execute(statement)
        connection.close()

    def forbid(self, condition: str) -> None:
        """Let the database refuse each change of a job for which a condition on OLD and NEW holds."""
        self.tamper(
            f"CREATE TRIGGER forbidden BEFORE UPDATE ON job WHEN {condition} "
            "BEGIN SELECT RAISE(ABORT, 'forbidden'); END"
        )

    # --- verbs, in short ------------------------------------------------------------------------------------

    async def submit(self, *jobs: NewJob, tenant: str = DEFAULT_TENANT, **fields: Any) -> SubmitReceipt:
        """Submit jobs."""
        return await self.store.submit(Submission(tenant, jobs, **fields))

    async def add(self, *, tenant: str = DEFAULT_TENANT, **fields: Any) -> str:
        """Submit one job that must be created; return its id."""
        receipt = await self.submit(new_job(**fields), tenant=tenant)
        [answer] = receipt.answers
        assert isinstance(answer, Submitted), answer
        assert answer.created
        return answer.job_id

    async def job(self, job_id: str, *, tenant: str = DEFAULT_TENANT, full: bool = True) -> Job:
        """Read a job that must exist."""
        [job] = await self.store.get(tenant, [job_id], full=full)
        assert job is not None
        return job

    async def state(self, job_id: str, *, tenant: str = DEFAULT_TENANT) -> State:
        """Read a job's state."""
        return (await self.job(job_id, tenant=tenant, full=False)).status.state

    async def events(self, *job_ids: str, after: int = 0, tenant: str = DEFAULT_TENANT) -> list[JobEvent]:
        """Read the log, of some jobs or all."""
        if job_ids:
            return await self.store.events(after=after, limit=10_000, tenant=tenant, job_ids=job_ids)
        return await self.store.events(after=after, limit=10_000)

    async def lease(
        self, limit: int = 1, *, lanes: Sequence[Lane] = (WORK,), owner: Owner = US, lease_s: float = 30
    ) -> list[Lease]:
        """Lease up to `limit` jobs."""
        return await self.store.lease(LeaseRequest(owner, lanes, limit, round(lease_s * SECOND_US)))

    async def share(self, limit: int, *shares: QueueShare, queues: Sequence[str] = ()) -> list[str]:
        """Lease jobs of type `work` of the queues of these shares (and others); return the queue of each, in order."""
        lanes = [Lane(queue, "work") for queue in (*(share.queue for share in shares), *queues)]
        leases = await self.store.lease(LeaseRequest(US, lanes, limit, 30 * SECOND_US, shares=shares))
        return [lease.queue for lease in leases]

    async def lease_one(self, **arguments: Any) -> Lease:
        """Lease exactly one job."""
        [lease] = await self.lease(1, **arguments)
        return lease

    async def run(self, outcome: Outcome, **fields: Any) -> Lease:
        """Submit a job, lease it and end its attempt."""
        await self.add(**fields)
        lease = await self.lease_one(lanes=[Lane(fields.get("queue", "default"), fields.get("type", "work"))])
        assert (await self.report(lease, outcome)).code is ReportCode.RECORDED
        return lease

    async def report(self, lease: Lease, outcome: Outcome) -> ReportAnswer:
        """Report how one attempt ended."""
        [answer] = await self.store.report([Report(lease.key, lease.fence, outcome)])
        return answer

    async def extend(self, lease: Lease, lease_s: float = 30, **progress: Any) -> LeaseState:
        """Send one heartbeat."""
        [state] = await self.store.extend([LeaseUpdate(lease.key, lease.fence, round(lease_s * SECOND_US), **progress)])
        return state

    async def job_in(self, state: State, **fields: Any) -> str:
        """Make a job that is in this state now; return its id."""
        return await _MAKERS[state](self, fields)


async def _scheduled(rig: StoreRig, fields: dict[str, Any]) -> str:
    return await rig.add(**{"schedule_time_us": rig.clock.wall_us() + 3600 * SECOND_US, **fields})


async def _pending(rig: StoreRig, fields: dict[str, Any]) -> str:
    return await rig.add(**fields)


async def _processing(rig: StoreRig, fields: dict[str, Any]) -> str:
    job_id = await rig.add(**{"type": f"only-{fields.get('job_id', '')}{next(_ONLY)}", **fields})
    lane = Lane(fields.get("queue", "default"), (await rig.job(job_id)).spec.type)
    await rig.lease_one(lanes=[lane])
    return job_id


async def _ended(rig: StoreRig, fields: dict[str, Any], outcome: Outcome) -> str:
    job_id = await _processing(rig, fields)
    job = await rig.job(job_id)
    [answer] = await rig.store.report([Report(job.key, job.fence, outcome)])
    assert answer.code is ReportCode.RECORDED
    return job_id


async def _retrying(rig: StoreRig, fields: dict[str, Any]) -> str:
    return await _ended(rig, fields, Failed(ERROR))


async def _completed(rig: StoreRig, fields: dict[str, Any]) -> str:
    return await _ended(rig, fields, Succeeded(RESULT))


async def _failed(rig: StoreRig, fields: dict[str, Any]) -> str:
    return await _ended(rig, fields, Failed(JobError(type="Fatal", retryable=False)))


async def _cancelled(rig: StoreRig, fields: dict[str, Any]) -> str:
    job_id = await rig.add(**fields)
    await rig.store.cancel(DEFAULT_TENANT, job_id)
    return job_id


async def _expired(rig: StoreRig, fields: dict[str, Any]) -> str:
    job_id = await rig.add(**{"expire_time_us": rig.clock.wall_us(), **fields})
    await rig.store.expire_jobs(limit=1000)
    return job_id


_ONLY = itertools.count(1)
_MAKERS: dict[State, Callable[[StoreRig, dict[str, Any]], Any]] = {
    State.SCHEDULED: _scheduled,
    State.PENDING: _pending,
    State.PROCESSING: _processing,
    State.RETRYING: _retrying,
    State.COMPLETED: _completed,
    State.FAILED: _failed,
    State.CANCELLED: _cancelled,
    State.EXPIRED: _expired,
}
