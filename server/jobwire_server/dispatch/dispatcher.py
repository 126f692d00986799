"""The dispatcher: leases from the store exactly as many jobs as workers have free credits for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from jobwire_server.dispatch.cancels import CancelDesk
from jobwire_server.dispatch.interest import Interests
from jobwire_server.dispatch.lanes import DirtyLanes
from jobwire_server.dispatch.session import Ask, Beat, Holder, Run, Subscriber, WorkerSession
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.job import SECOND_US
from jobwire_server.domain.outcome import Released
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Backoff, Chance, Rhythm, every
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.store.base import (
    CommitNotice,
    Lane,
    Lease,
    LeaseState,
    LeaseUpdate,
    ProgressNote,
    Report,
    ReportAnswer,
    Store,
)


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
        self._on_progress = on_progress
        self._sessions: dict[WorkerSession, None] = {}
        self._takers: dict[WorkerSession, None] = {}
        """Sessions with a window; the order is that of service."""
        self._interests = Interests(settings.lanes)
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
        self._lookups: list[tuple[WorkerSession, asyncio.Future[None]]] = []

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
        for session in list(self._sessions):
            session.drain(reason)

    def attach(self, subscriber: Subscriber, holder: Holder) -> WorkerSession:
        """Take on a worker. It gets jobs that it wants from its first `resize` above 0 on, until it is closed."""
        owner, interest = subscriber.owner, subscriber.interest
        session = WorkerSession(
            subscriber,
            holder,
            store=self._store,
            clock=self._clock,
            log=self._log,
            settings=self.settings,
            events=self,
        )
        self._sessions[session] = None
        if self._interests.add(interest):
            self._rescan = True
        self._log.info(
            LogEvent.WORKER_ATTACHED,
            worker_id=owner.worker_id,
            transport=owner.transport.name.lower(),
            types=None if interest.types is None else len(interest.types),
        )
        return session

    async def lease_now(self, session: WorkerSession) -> None:
        """Give this worker what there is for it now; when this returns without an assignment, there was nothing.

        Raises what the store raises. A caller that is cancelled loses no job: the leases are taken by the dispatcher's
        own task, and come to `session.take`, whoever waits.
        """
        looked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lookups.append((session, looked))
        self._wake.set()
        await looked

    def expect(self, lanes: Iterable[Lane]) -> None:
        """Jobs of these lanes are being stored. For a worker that is free leases are asked for now, so that they may
        share the commit: the store applies submits before leases. It is a hint, like a commit notice; a lease request
        that comes too early finds nothing, and the notice brings the next."""
        if any(session.room > 0 for session in self._takers):
            self._mark(set(lanes))

    async def report(self, reports: Sequence[Report]) -> Sequence[ReportAnswer]:
        """Record how runs ended, whoever holds them: for reports that come past the session that got the jobs."""
        answers = await self._store.report(reports)
        for session in self._holding((report.key, report.fence) for report in reports):
            session.settle_reports(reports, answers)
        return answers

    async def extend(
        self, beats: Sequence[Beat], lease_us: int, session: WorkerSession | None = None
    ) -> Sequence[LeaseState]:
        """Keep leases alive, whoever holds them (`session`: most likely); pass progress on to watchers, and what the
        store said to the sessions that hold them."""
        asked_at = self._clock.monotonic()
        states = await self._store.extend(
            [LeaseUpdate(*beat.run, lease_us, beat.percent, beat.message, beat.checkpoint) for beat in beats]
        )
        if session is not None and all(beat.run in session.runs for beat in beats):
            holding = [session]
        else:
            holding = self._holding(beat.run for beat in beats)
        for holder in holding:
            holder.heard(beats, states, asked_at)
        for beat, state in zip(beats, states, strict=True):
            if state.name is not None:
                name = state.name
                self._on_progress(
                    ProgressNote(
                        tenant=name.tenant,
                        key=beat.run[0],
                        job_id=name.job_id,
                        queue=name.queue,
                        type=name.type,
                        attempt=name.attempt,
                        percent=beat.percent,
                        message=beat.message or "",
                    )
                )
        return states

    def _holding(self, runs: Iterable[Run]) -> list[WorkerSession]:
        sought = list(runs)
        return [session for session in self._sessions if any(run in session.runs for run in sought)]

    # --- what sessions and the store tell ---------------------------------------------------------------------------

    def room_made(self) -> None:
        """See `SessionEvents`."""
        self._wake.set()

    def resized(self, session: WorkerSession, window: int) -> None:
        """See `SessionEvents`."""
        if window:
            self._takers.setdefault(session)
        else:
            self._takers.pop(session, None)
        self._wake.set()

    def cancel_seen(self, session: WorkerSession, runs: Sequence[Run]) -> None:
        """See `SessionEvents`."""
        self._desk.order(session, runs)

    def closed(self, session: WorkerSession) -> None:
        """See `SessionEvents`."""
        self._sessions.pop(session, None)
        self._takers.pop(session, None)
        if self._interests.remove(session.interest):
            self._lanes.keep(self._interests.want)
        self._log.info(LogEvent.WORKER_DETACHED, worker_id=session.owner.worker_id, held=len(session.runs))

    def _committed(self, notice: CommitNotice) -> None:
        if notice.pending:
            self._mark(notice.pending)
        if notice.cancelled:
            if self._asking and len(self._early) < self.settings.batch_jobs:
                # They may be among the leases on their way to us. Beyond the bound, the next heartbeat finds them.
                self._early.update(notice.cancelled)
            for session in self._holding(notice.cancelled):
                self._suspect(session, notice.cancelled)

    def _mark(self, lanes: Iterable[Lane]) -> None:
        # Lanes that nobody serves are not even remembered: a backlog of theirs stands in nobody's way.
        served = [lane for lane in lanes if self._interests.want(lane)]
        if served:
            self._lanes.mark(served)
            self._wake.set()

    def _suspect(self, session: WorkerSession, runs: Iterable[Run]) -> None:
        held = [run for run in runs if run in session.runs]
        if held:
            self._desk.suspect(session, held)

    async def _floor(self) -> None:
        """Look again, in case a hint was lost: the store is the truth."""
        for session in list(self._sessions):
            await self._drop_overdue(session)
        if any(session.room > 0 for session in self._takers):
            self._rescan = True
            self._wake.set()

    async def _drop_overdue(self, session: WorkerSession) -> None:
        """Tell a worker which leases are over. The store says so, not our clock: its heartbeats may have gone past us,
        to another server."""
        asked_at = self._clock.monotonic()
        overdue = session.overdue(asked_at)
        if not overdue:
            return
        try:
            ends = await self._store.lease_ends(overdue)
        except JobwireError as error:
            self._log.warning(LogEvent.LEASES_UNKNOWN, runs=len(overdue), error=str(error))
            return
        over = []
        for run, end in zip(overdue, ends, strict=True):
            if end is not None:
                session.stands_until(run, asked_at + end.remaining_us / SECOND_US)
            elif run in session.runs:
                over.append(run)
        if over:
            self._log.warning(LogEvent.LEASES_DROPPED, runs=len(over), worker_id=session.owner.worker_id)
            session.lose(over)

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
        lookups, self._lookups = self._lookups, []
        try:
            more = await self._lease_for([session for session, _ in lookups])
        except* JobwireError as errors:
            for _, looked in lookups:
                if not looked.done():
                    looked.set_exception(errors.exceptions[0])
            raise
        for _, looked in lookups:
            if not looked.done():
                looked.set_result(None)
        return more or bool(self._lookups)

    async def _lease_for(self, first: Sequence[WorkerSession]) -> bool:
        async with self._leasing:
            if not self._granting:
                return False
            if self._rescan or (self._lanes.overflowed and not len(self._lanes)):
                await self._find_lanes()
            asks = self._plan(first)
            match asks:
                case []:
                    return False
                case [(session, ask)]:
                    full = await self._lease(session, ask)
                case _:
                    async with asyncio.TaskGroup() as tasks:
                        asked = [tasks.create_task(self._lease(*each), name="lease") for each in asks]
                    full = all(task.result() for task in asked)
            # A single new job wakes a single worker; a backlog soon feeds all of them in one commit.
            self._breadth = min(self._breadth * 2, len(self._takers) or 1) if full else 1
            return True

    async def _find_lanes(self) -> None:
        self._rescan = self._lanes.overflowed = False
        if not self._interests:
            return
        types, queues = self._interests.types, self._interests.queues
        try:
            lanes = await self._store.pending_lanes(
                None if types is None else sorted(types), None if queues is None else sorted(queues)
            )
        except BaseException:
            self._rescan = True
            raise
        self._lanes.mark(filter(self._interests.want, lanes))

    def _plan(self, first: Sequence[WorkerSession]) -> list[tuple[WorkerSession, Ask]]:
        """Whom to lease for: those who wait for an answer, and as many others as the breadth says."""
        asks = [(session, ask) for session in first if (ask := session.ask(self._lanes)) is not None]
        most = len(asks) + self._breadth
        for session in list(self._takers):
            if session in first or session.room <= 0 or not len(self._lanes):
                continue
            ask = session.ask(self._lanes)
            if ask is None:
                continue
            self._takers.pop(session)
            self._takers[session] = None  # the next round starts with another
            asks.append((session, ask))
            if len(asks) >= most:
                break
        return asks

    async def _lease(self, session: WorkerSession, ask: Ask) -> bool:
        """Lease for one worker. True when it got all that it asked for."""
        request = ask.request
        asked_at = self._clock.monotonic()
        session.reserve(request.limit)
        self._asking += 1
        try:
            leases = await self._store.lease(request)
        finally:
            session.reserve(-request.limit)
            self._asking -= 1
        full = len(leases) >= request.limit
        session.served(ask, leases)
        if not full and not self._cut_by_bytes(leases, request.max_bytes):
            self._lanes.clean(_exhausted(ask, leases))
        surplus = session.take(leases, asked_at) if self._granting else leases
        if self._early:
            self._suspect(session, self._early)
            if not self._asking:
                self._early.clear()
        if surplus:
            await self._give_back(surplus)
        return full

    def _cut_by_bytes(self, leases: Sequence[Lease], max_bytes: int) -> bool:
        """Whether the answer may be short because payloads are big, and not because the lanes are empty."""
        total = sum(len(lease.payload.data) for lease in leases if lease.payload is not None)
        return bool(leases) and total + self.settings.payload_bytes > max_bytes

    async def _give_back(self, leases: Sequence[Lease]) -> None:
        """Release what was leased for a window that shrank meanwhile; it costs no attempt."""
        try:
            await self._store.report([Report(lease.key, lease.fence, Released()) for lease in leases])
        except JobwireError as error:
            # Nobody runs them, so their leases end by time, as lost ones do.
            self._log.warning(LogEvent.RETURN_FAILED, jobs=len(leases), error=str(error))


def _exhausted(ask: Ask, leases: Sequence[Lease]) -> dict[Lane, int]:
    """The lanes of a short answer that hold no more: not those whose queue was cut at its own bound."""
    bounds = {share.queue: share.limit for share in ask.shares if share.limit is not None}
    if not bounds:
        return dict(ask.lanes)
    counts = Counter(lease.queue for lease in leases)
    return {
        lane: stamp
        for lane, stamp in ask.lanes.items()
        if lane.queue not in bounds or counts[lane.queue] < bounds[lane.queue]
    }
