"""One attached worker: its credits, the runs it holds, and what it says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple, Protocol

from jobwire_server.dispatch.interest import Interest
from jobwire_server.dispatch.lanes import DirtyLanes
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.dispatch.turns import Turns
from jobwire_server.domain.job import SECOND_US, Content
from jobwire_server.domain.outcome import Failed, Released, Succeeded
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.telemetry import DEBUG, Log, LogEvent
from jobwire_server.store.base import (
    Lane,
    Lease,
    LeaseRequest,
    LeaseState,
    Owner,
    QueueShare,
    Report,
    ReportAnswer,
    ReportCode,
    Store,
)

Run = tuple[int, int]
"""(key, fence): names one attempt for ever, since the fence of a job only rises."""

LATE_SECONDS = 1.0
"""A run is dropped this long after its lease ended by our clock, so that the store's clock has surely passed it."""

SMALL_PAYLOAD_BYTES = 1 << 10
"""A larger payload is not kept once it was handed to the worker."""


run_of = itemgetter(0, 1)
"""(key, fence) of a report."""


class Holder(Protocol):
    """What a worker's transport offers the dispatcher. Called on the event loop; never blocks, never raises."""

    def assign(self, leases: Sequence[Lease]) -> None:
        """Take jobs whose leases are committed: never more than the window has room for."""

    def cancel(self, runs: Sequence[Run], grace_seconds: float) -> None:
        """Stop these runs and report within the grace."""

    def lose(self, runs: Sequence[Run]) -> None:
        """These leases are over: stop, report nothing."""

    def drain(self, reason: str) -> None:
        """Expect nothing new."""


def facts_of(lease: Lease) -> dict[str, str | int]:
    """What log lines say of a run."""
    return {
        "tenant": lease.tenant,
        "job_id": lease.job_id,
        "type": lease.type,
        "queue": lease.queue,
        "attempt": lease.attempt,
        "fence": lease.fence,
    }


class Beat(NamedTuple):
    """A sign of life of one run, with its progress and checkpoint if there are any."""

    run: Run
    percent: float | None = None
    message: str | None = None
    checkpoint: Content | None = None


class Held(NamedTuple):
    """A run in the hands of a worker."""

    lease: Lease
    ends_at: float
    """When the lease ends if nothing more is heard, by the injected clock's `monotonic`."""
    mentioned: bool = False
    """The worker spoke of it, so it has surely received it."""


class Subscriber(NamedTuple):
    """A worker as the dispatcher sees it."""

    owner: Owner
    interest: Interest
    lease_us: int | None = None
    """How long its leases stand without a heartbeat; None = the server's own."""
    max_bytes: int = 0
    """Most bytes of payload in its hands (one job may go beyond); 0 = no bound."""


class Ask(NamedTuple):
    """A lease request, and what is needed to make sense of its answer."""

    request: LeaseRequest
    lanes: Mapping[Lane, int]
    shares: Sequence[QueueShare]


class SessionEvents(Protocol):
    """What a session tells its dispatcher."""

    def resized(self, session: WorkerSession, window: int) -> None:
        """The window changed."""

    def room_made(self) -> None:
        """A credit came free."""

    def cancel_seen(self, session: WorkerSession, runs: Sequence[Run]) -> None:
        """The store says that these runs, which the session holds, shall stop."""

    async def extend(
        self, beats: Sequence[Beat], lease_us: int, session: WorkerSession | None = None
    ) -> Sequence[LeaseState]:
        """See `Dispatcher.extend`."""

    def closed(self, session: WorkerSession) -> None:
        """The worker is gone."""


class WorkerSession:
    """The dispatcher's side of one worker. Credits are absolute: at most `window` runs are out at any time."""

    def __init__(
        self,
        subscriber: Subscriber,
        holder: Holder,
        *,
        store: Store,
        clock: Clock,
        log: Log,
        settings: DispatchSettings,
        events: SessionEvents,
    ) -> None:
        self.owner, self.interest, lease_us, self._max_bytes = subscriber
        self.lease_us = lease_us or settings.lease_us
        self.runs: dict[Run, Held] = {}
        self._holder = holder
        self._store = store
        self._clock = clock
        self._log = log
        self._settings = settings
        self._events = events
        self._turns = Turns(self.interest)
        self._bytes = 0
        """Payload bytes of the runs that are held; only counted where they are bounded."""
        self._window = 0
        self._reserved = 0
        self._returning = 0
        self._closed = False

    # --- the worker's verbs -------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        """Most runs in the worker's hands."""
        return self._window

    def resize(self, window: int) -> None:
        """Set the credit window, absolute; 0 pauses. Runs above a smaller window stay with the worker."""
        if not self._closed:
            self._window = max(0, window)
            self._events.resized(self, self._window)

    async def report(self, reports: Sequence[Report]) -> Sequence[ReportAnswer]:
        """Record how runs ended, durably. Their credits come back with the answer. Raises what the store raises;
        nothing is known of the reports then, and they may be sent again.

        Leases for these credits are asked for at once, so that both may share a commit: the store applies outcomes
        before leases, and answers in that order. A lease that comes without its credit is given back.
        """
        returning = sum(map(self.runs.__contains__, map(run_of, reports)))
        self._returning += returning
        self._events.room_made()
        try:
            answers = await self._store.report(reports)
        except BaseException:
            self._mention(reports)
            raise
        finally:
            self._returning -= returning
        self.settle_reports(reports, answers)
        return answers

    def settle_reports(self, reports: Sequence[Report], answers: Sequence[ReportAnswer]) -> None:
        """Take back the credits of runs that have ended, through this session or past it."""
        chatty, refused = self._log.is_enabled_for(DEBUG), ReportCode.REFUSED
        for report, answer in zip(reports, answers, strict=True):
            if answer.code is refused:
                continue
            held = self._drop(run_of(report))
            if held is not None and (chatty or type(report.outcome) is not Succeeded):
                self._tell(held.lease, report, answer)
        self._events.room_made()

    def _drop(self, run: Run) -> Held | None:
        held = self.runs.pop(run, None)
        if held is not None and self._max_bytes:
            self._bytes -= _size(held.lease)
        return held

    async def extend(self, beats: Sequence[Beat]) -> Sequence[LeaseState]:
        """Keep leases alive and pass progress on. A run whose lease is over is dropped here."""
        return await self._events.extend(beats, self.lease_us, self)

    def close(self) -> None:
        """Say goodbye. Runs that are still held end by time, or are found again by `Store.reattach`. Idempotent."""
        if not self._closed:
            self._closed = True
            self._window = 0
            self._events.closed(self)

    # --- the dispatcher's verbs ---------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Credits that are free or about to be, less those for which leases are on their way."""
        return self._window - len(self.runs) + self._returning - self._reserved

    def ask(self, lanes: DirtyLanes) -> Ask | None:
        """Put together a lease request for all that there is room for; None when there is no room, or no lane."""
        limit = min(self.room, self._settings.batch_jobs)
        max_bytes = self._settings.batch_bytes
        if self._max_bytes:
            max_bytes = min(max_bytes, self._max_bytes - self._bytes)
        if limit <= 0 or max_bytes <= 0:
            return None
        in_hand = Counter(held.lease.queue for held in self.runs.values()) if self.interest.bounded else Counter()
        picked = lanes.pick(self.interest, self._settings.lanes_per_request, full=self._full_queues(in_hand))
        if not picked:
            return None
        shares = self._turns.shares(picked, in_hand)
        request = LeaseRequest(self.owner, tuple(picked), limit, self.lease_us, max_bytes, shares)
        return Ask(request, picked, shares)

    def _full_queues(self, in_hand: Mapping[str, int]) -> list[str]:
        full = []
        for queue, count in in_hand.items():
            terms = self.interest.terms_of(queue)
            if terms is not None and terms.max_in_flight is not None and count >= terms.max_in_flight:
                full.append(queue)
        return full

    def reserve(self, credits_: int) -> None:
        """Set credits apart for a lease request (negative: give them back)."""
        self._reserved += credits_

    def served(self, ask: Ask, leases: Sequence[Lease]) -> None:
        """Remember what a request brought, for whose turn is next."""
        if ask.shares:
            self._turns.served(ask.shares, leases)

    def take(self, leases: Sequence[Lease], asked_at: float) -> Sequence[Lease]:
        """Hand committed leases to the worker; return those that its window has no room for any more."""
        room = max(0, self._window - len(self.runs))
        fitting, surplus = leases[:room], leases[room:]
        self.hold(fitting, asked_at + self.lease_us / SECOND_US)
        if fitting:
            self._holder.assign(fitting)
        return surplus

    def hold(self, leases: Sequence[Lease], ends_at: float, *, mentioned: bool = False) -> None:
        """These runs are in the worker's hands."""
        for lease in leases:
            payload = lease.payload
            kept = lease
            if payload is not None and len(payload.data) > SMALL_PAYLOAD_BYTES and not self._max_bytes:
                kept = lease._replace(payload=None)
            self.runs[lease.key, lease.fence] = Held(kept, ends_at, mentioned)
            if self._max_bytes:
                self._bytes += _size(lease)

    async def inspect(self, runs: Iterable[Run]) -> None:
        """Ask the store whether these runs may go on, and act on what it says."""
        beats = [Beat(run) for run in runs if run in self.runs]
        if not beats:
            return
        mentioned = {beat.run: self.runs[beat.run].mentioned for beat in beats}
        states = await self.extend(beats)
        for run, was_mentioned in mentioned.items():
            if run in self.runs:
                self.runs[run] = self.runs[run]._replace(mentioned=was_mentioned)
        self.lose([beat.run for beat, state in zip(beats, states, strict=True) if not state.valid])

    def order_cancel(self, runs: Sequence[Run]) -> None:
        """Tell the worker to stop these runs."""
        self._holder.cancel(runs, self._settings.cancel_grace_us / SECOND_US)

    def lose(self, runs: Sequence[Run]) -> None:
        """Tell the worker that these leases are over, and take their credits back."""
        if not runs:
            return
        for run in runs:
            self._drop(run)
        self._holder.lose(runs)
        self._events.room_made()

    def overdue(self, now: float) -> list[Run]:
        """Return the runs of which nothing was heard here for longer than a lease lasts."""
        return [run for run, held in self.runs.items() if held.ends_at + LATE_SECONDS < now]

    def unmentioned(self) -> list[Lease]:
        """Return the leases of which the worker never spoke: it may not have received them."""
        return [held.lease for held in self.runs.values() if not held.mentioned]

    def stands_until(self, run: Run, ends_at: float) -> None:
        """This run's lease ends then, by the injected clock's `monotonic`: somebody else has extended it."""
        held = self.runs.get(run)
        if held is not None:
            self.runs[run] = held._replace(ends_at=ends_at)

    def drain(self, reason: str) -> None:
        """Tell the worker that nothing new will come."""
        self._holder.drain(reason)

    def heard(self, beats: Sequence[Beat], states: Sequence[LeaseState], asked_at: float) -> None:
        """Take over what the store said of runs, those of other sessions passed by."""
        unwanted: list[Run] = []
        for beat, state in zip(beats, states, strict=True):
            held = self.runs.get(beat.run)
            if held is None:
                continue
            if not state.valid:
                self._drop(beat.run)
                continue
            self.runs[beat.run] = Held(held.lease, asked_at + state.remaining_us / SECOND_US, True)
            if state.cancel_requested:
                unwanted.append(beat.run)
        if unwanted:
            self._events.cancel_seen(self, unwanted)
        self._events.room_made()

    def _mention(self, reports: Sequence[Report]) -> None:
        for report in reports:
            held = self.runs.get((report.key, report.fence))
            if held is not None:
                self.runs[report.key, report.fence] = held._replace(mentioned=True)

    def _tell(self, lease: Lease, report: Report, answer: ReportAnswer) -> None:
        """Log the end of one attempt: never its message, which may hold anything."""
        outcome = report.outcome
        write = self._log.debug if isinstance(outcome, Succeeded) else self._log.info
        write(
            LogEvent.ATTEMPT_ENDED,
            **facts_of(lease),
            outcome=type(outcome).__name__.lower(),
            error=outcome.error.type if isinstance(outcome, Failed) else None,
            reason=outcome.reason or None if isinstance(outcome, Released) else None,
            answer=answer.code.name,
            state=None if answer.state is None else answer.state.name,
        )


def _size(lease: Lease) -> int:
    return 0 if lease.payload is None else len(lease.payload.data)
