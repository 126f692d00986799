"""The dispatcher: leases from the store exactly as many jobs as workers have free credits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from jobwire_server.dispatch.cancels import CancelDesk
from jobwire_server.dispatch.lanes import DirtyLanes
from jobwire_server.dispatch.session import Holder, Run, WorkerSession
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.outcome import Released
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Backoff, Chance, Rhythm, every
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.store.base import CommitNotice, Lane, Lease, LeaseRequest, Owner, Report, Store
from jobwire_server.watch.hub import ProgressNote


class _Request(NamedTuple):
    """One lease request on its way."""

    session: WorkerSession
    lanes: Mapping[Lane, int]
    limit: int


class Dispatcher:
    """Leases jobs to attached workers.

    It waits for commit notices and for credits, never for a timer: what gathers while one lease request is on its way
    goes into the next. Nothing is leased before `grant`, and nothing after `stop_granting`.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        chance: Chance,
        instance_id: str,
        log: Log,
        on_progress: Callable[[ProgressNote], None],
        settings: DispatchSettings,
    ) -> None:
        self.instance_id = instance_id
        self.settings = settings
        self._store = store
        self._clock = clock
        self._chance = chance
        self._log = log
        self.progress = on_progress
        self._sessions: list[WorkerSession] = []
        self._types: frozenset[str] = frozenset()
        self._lanes = DirtyLanes(settings.lanes)
        self._desk = CancelDesk(store=store, clock=clock, log=log, settings=settings)
        self._wake = asyncio.Event()
        self._leasing = asyncio.Lock()
        self._granting = False
        self._rescan = True
        self._breadth = 1
        self._never = asyncio.Event()
        self._asking = 0
        self._early: set[Run] = set()

    # --- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled."""
        self._store.subscribe(self._committed)
        self._rescan = True
        floor = Rhythm(self.settings.floor_seconds)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lease_loop(), name="dispatch-leases")
            tasks.create_task(self._desk.run(), name="dispatch-cancels")
            tasks.create_task(
                every(self._floor, floor, clock=self._clock, chance=self._chance, stop=self._never),
                name="dispatch-floor",
            )

    def grant(self) -> None:
        """Open the gate: recovery has ended, leases may be granted from now on."""
        self._granting = True
        self._rescan = True
        self._wake.set()

    async def stop_granting(self, reason: str) -> None:
        """Close the gate. When this returns no lease is on its way, and none will be; the workers have been told."""
        self._granting = False
        async with self._leasing:
            pass
        for session in self._sessions:
            session.drain(reason)

    def attach(self, owner: Owner, types: Iterable[str], holder: Holder) -> WorkerSession:
        """Take on a worker. It gets jobs of these types from its first `resize` above 0 on, until it is closed."""
        session = WorkerSession(
            owner,
            types,
            holder,
            store=self._store,
            clock=self._clock,
            log=self._log,
            settings=self.settings,
            events=self,
        )
        self._sessions.append(session)
        self._serve()
        self._rescan = True
        self._log.info(LogEvent.WORKER_ATTACHED, worker_id=owner.worker_id, types=len(session.types))
        return session

    @property
    def types(self) -> frozenset[str]:
        """Job types that some attached worker serves."""
        return self._types

    # --- what sessions and the store tell ---------------------------------------------------------------------------

    def room_made(self) -> None:
        """See `SessionEvents`."""
        self._wake.set()

    def cancel_seen(self, session: WorkerSession, runs: Sequence[Run]) -> None:
        """See `SessionEvents`."""
        self._desk.order(session, runs)

    def closed(self, session: WorkerSession) -> None:
        """See `SessionEvents`."""
        self._sessions.remove(session)
        self._serve()
        self._lanes.keep(self._types)
        self._log.info(LogEvent.WORKER_DETACHED, worker_id=session.owner.worker_id, held=len(session.runs))

    def _serve(self) -> None:
        self._types = frozenset[str]().union(*(session.types for session in self._sessions))

    def _committed(self, notice: CommitNotice) -> None:
        if notice.pending:
            # Lanes that nobody serves are not even remembered: a backlog of theirs stands in nobody's way.
            served = [lane for lane in notice.pending if lane.type in self._types]
            if served:
                self._lanes.mark(served)
                self._wake.set()
        if notice.cancelled:
            if self._asking and len(self._early) < self.settings.batch_jobs:
                # They may be among the leases on their way to us. Beyond the bound, the next heartbeat finds them.
                self._early.update(notice.cancelled)
            for session in self._sessions:
                self._suspect(session, notice.cancelled)

    def _suspect(self, session: WorkerSession, runs: Iterable[Run]) -> None:
        held = [run for run in runs if run in session.runs]
        if held:
            self._desk.suspect(session, held)

    async def _floor(self) -> None:
        """Look again, in case a hint was lost: the store is the truth."""
        now = self._clock.monotonic()
        for session in self._sessions:
            overdue = session.overdue(now)
            if overdue:
                self._log.warning(LogEvent.LEASES_DROPPED, runs=len(overdue), worker_id=session.owner.worker_id)
                session.lose(overdue)
        if any(session.room > 0 for session in self._sessions):
            self._rescan = True
            self._wake.set()

    # --- leasing ----------------------------------------------------------------------------------------------------

    async def _lease_loop(self) -> None:
        backoff, failures = Backoff(), 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self._lease_round():
                    pass
            except* JobwireError as errors:
                failures += 1
                if failures == 1:
                    self._log.warning(LogEvent.LEASE_STALLED, error=str(errors.exceptions[0]))
                self._rescan = True
                await self._clock.sleep(backoff.after(failures))
                self._wake.set()
            else:
                if failures:
                    self._log.info(LogEvent.LEASE_RESUMED, failures=failures)
                failures = 0

    async def _lease_round(self) -> bool:
        """Lease for the workers whose turn it is. False when there is nothing to do until something happens."""
        async with self._leasing:
            if not self._granting:
                return False
            if self._rescan or (self._lanes.overflowed and not len(self._lanes)):
                await self._find_lanes()
            requests = self._plan()
            match requests:
                case []:
                    return False
                case [request]:
                    full = await self._lease(request)
                case _:
                    async with asyncio.TaskGroup() as tasks:
                        asked = [tasks.create_task(self._lease(each), name="lease") for each in requests]
                    full = all(task.result() for task in asked)
            # A single new job wakes a single worker; a backlog soon feeds all of them in one commit.
            self._breadth = min(self._breadth * 2, len(self._sessions)) if full else 1
            return True

    async def _find_lanes(self) -> None:
        self._rescan = self._lanes.overflowed = False
        try:
            self._lanes.mark(await self._store.pending_lanes(sorted(self._types)) if self._types else ())
        except BaseException:
            self._rescan = True
            raise

    def _plan(self) -> list[_Request]:
        requests: list[_Request] = []
        for session in list(self._sessions):
            limit = min(session.room, self.settings.batch_jobs)
            if limit <= 0:
                continue
            lanes = self._lanes.pick(session.types, self.settings.lanes_per_request)
            if not lanes:
                continue
            self._sessions.remove(session)
            self._sessions.append(session)  # the next round starts with another
            requests.append(_Request(session, lanes, limit))
            if len(requests) >= self._breadth:
                break
        return requests

    async def _lease(self, request: _Request) -> bool:
        """Lease for one worker. True when it got all that it asked for."""
        session = request.session
        asked_at = self._clock.monotonic()
        session.reserve(request.limit)
        self._asking += 1
        try:
            leases = await self._store.lease(
                LeaseRequest(
                    session.owner,
                    tuple(request.lanes),
                    request.limit,
                    self.settings.lease_us,
                    self.settings.batch_bytes,
                )
            )
        finally:
            session.reserve(-request.limit)
            self._asking -= 1
        full = len(leases) >= request.limit
        if not full and not self._cut_by_bytes(leases):
            self._lanes.clean(request.lanes)
        surplus = session.take(leases, asked_at) if self._granting else leases
        if self._early:
            self._suspect(session, self._early)
            if not self._asking:
                self._early.clear()
        if surplus:
            await self._give_back(surplus)
        return full

    def _cut_by_bytes(self, leases: Sequence[Lease]) -> bool:
        """Whether the answer may be short because payloads are big, and not because the lanes are empty."""
        total = sum(len(lease.payload.data) for lease in leases if lease.payload is not None)
        return bool(leases) and total + self.settings.payload_bytes > self.settings.batch_bytes

    async def _give_back(self, leases: Sequence[Lease]) -> None:
        """Release what was leased for a window that shrank meanwhile; it costs no attempt."""
        try:
            await self._store.report([Report(lease.key, lease.fence, Released()) for lease in leases])
        except JobwireError as error:
            # Nobody runs them, so their leases end by time, as lost ones do.
            self._log.warning(LogEvent.RETURN_FAILED, jobs=len(leases), error=str(error))
