"""One attached worker: its credits, the runs it holds, and what it says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.domain.job import SECOND_US
from jobwire_server.domain.outcome import Failed, Succeeded
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.telemetry import DEBUG, Log, LogEvent
from jobwire_server.store.base import Lease, LeaseState, LeaseUpdate, Owner, Report, ReportAnswer, Store
from jobwire_server.watch.hub import ProgressNote

Run = tuple[int, int]
"""(key, fence): names one attempt for ever, since the fence of a job only rises."""

LATE_SECONDS = 1.0
"""A run is dropped this long after its lease ended by our clock, so that the store's clock has surely passed it."""


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
    """A sign of life of one run, with its progress if there is any."""

    run: Run
    percent: float | None = None
    message: str | None = None


class Held(NamedTuple):
    """A run in the hands of a worker."""

    lease: Lease
    ends_at: float
    """When the lease ends if nothing more is heard, by the injected clock's `monotonic`."""


class SessionEvents(Protocol):
    """What a session tells its dispatcher."""

    def room_made(self) -> None:
        """A credit came free."""

    def cancel_seen(self, session: WorkerSession, runs: Sequence[Run]) -> None:
        """The store says that these runs, which the session holds, shall stop."""

    def progress(self, note: ProgressNote) -> None:
        """A handler said how far it is."""

    def closed(self, session: WorkerSession) -> None:
        """The worker is gone."""


class WorkerSession:
    """The dispatcher's side of one worker. Credits are absolute: at most `window` runs are out at any time."""

    def __init__(
        self,
        owner: Owner,
        types: Iterable[str],
        holder: Holder,
        *,
        store: Store,
        clock: Clock,
        log: Log,
        settings: DispatchSettings,
        events: SessionEvents,
    ) -> None:
        self.owner = owner
        self.types = frozenset(types)
        self.runs: dict[Run, Held] = {}
        self._holder = holder
        self._store = store
        self._clock = clock
        self._log = log
        self._settings = settings
        self._events = events
        self._window = 0
        self._reserved = 0
        self._returning = 0
        self._closed = False

    # --- the worker's verbs -------------------------------------------------------------------------------------

    def resize(self, window: int) -> None:
        """Set the credit window, absolute; 0 pauses. Runs above a smaller window stay with the worker."""
        self._window = max(0, window)
        self._events.room_made()

    async def report(self, reports: Sequence[Report]) -> Sequence[ReportAnswer]:
        """Record how runs ended, durably. Their credits come back with the answer. Raises what the store raises;
        nothing is known of the reports then, and they may be sent again.

        Leases for these credits are asked for at once, so that both may share a commit: the store applies outcomes
        before leases, and answers in that order. A lease that comes without its credit is given back.
        """
        returning = sum((report.key, report.fence) in self.runs for report in reports)
        self._returning += returning
        self._events.room_made()
        try:
            answers = await self._store.report(reports)
        finally:
            self._returning -= returning
        chatty = self._log.is_enabled_for(DEBUG)
        for report, answer in zip(reports, answers, strict=True):
            held = self.runs.pop((report.key, report.fence), None)
            if held is not None and (chatty or not isinstance(report.outcome, Succeeded)):
                self._tell(held.lease, report, answer)
        self._events.room_made()
        return answers

    async def extend(self, beats: Sequence[Beat]) -> Sequence[LeaseState]:
        """Keep leases alive and pass progress on. A run whose lease is over is dropped here."""
        lease_us = self._settings.lease_us
        updates = [LeaseUpdate(*beat.run, lease_us, beat.percent, beat.message) for beat in beats]
        asked_at = self._clock.monotonic()
        states = await self._store.extend(updates)
        self._settle(beats, states, asked_at)
        for beat, state in zip(beats, states, strict=True):
            if state.valid and (beat.percent is not None or beat.message is not None):
                self._note_progress(beat)
        return states

    def close(self) -> None:
        """Say goodbye. Runs that are still held end by time. Idempotent."""
        if not self._closed:
            self._closed = True
            self._window = 0
            self._events.closed(self)

    # --- the dispatcher's verbs ---------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Credits that are free or about to be, less those for which leases are on their way."""
        return self._window - len(self.runs) + self._returning - self._reserved

    def reserve(self, credits_: int) -> None:
        """Set credits apart for a lease request (negative: give them back)."""
        self._reserved += credits_

    def take(self, leases: Sequence[Lease], asked_at: float) -> Sequence[Lease]:
        """Hand committed leases to the worker; return those that its window has no room for any more."""
        room = max(0, self._window - len(self.runs))
        fitting, surplus = leases[:room], leases[room:]
        ends_at = asked_at + self._settings.lease_us / SECOND_US
        for lease in fitting:
            self.runs[lease.key, lease.fence] = Held(lease, ends_at)
        if fitting:
            self._holder.assign(fitting)
        return surplus

    async def inspect(self, runs: Iterable[Run]) -> None:
        """Ask the store whether these runs may go on, and act on what it says."""
        beats = [Beat(run) for run in runs if run in self.runs]
        if not beats:
            return
        states = await self.extend(beats)
        self.lose([beat.run for beat, state in zip(beats, states, strict=True) if not state.valid])

    def order_cancel(self, runs: Sequence[Run]) -> None:
        """Tell the worker to stop these runs."""
        self._holder.cancel(runs, self._settings.cancel_grace_us / SECOND_US)

    def lose(self, runs: Sequence[Run]) -> None:
        """Tell the worker that these leases are over, and take their credits back."""
        if not runs:
            return
        for run in runs:
            self.runs.pop(run, None)
        self._holder.lose(runs)
        self._events.room_made()

    def overdue(self, now: float) -> list[Run]:
        """Return the runs of which nothing was heard for longer than a lease lasts."""
        return [run for run, held in self.runs.items() if held.ends_at + LATE_SECONDS < now]

    def drain(self, reason: str) -> None:
        """Tell the worker that nothing new will come."""
        self._holder.drain(reason)

    def _settle(self, beats: Sequence[Beat], states: Sequence[LeaseState], asked_at: float) -> None:
        unwanted: list[Run] = []
        for beat, state in zip(beats, states, strict=True):
            held = self.runs.get(beat.run)
            if held is None:
                continue
            if not state.valid:
                del self.runs[beat.run]
                continue
            self.runs[beat.run] = held._replace(ends_at=asked_at + state.remaining_us / SECOND_US)
            if state.cancel_requested:
                unwanted.append(beat.run)
        if unwanted:
            self._events.cancel_seen(self, unwanted)
        self._events.room_made()

    def _tell(self, lease: Lease, report: Report, answer: ReportAnswer) -> None:
        """Log the end of one attempt: never its message, which may hold anything."""
        outcome = report.outcome
        write = self._log.debug if isinstance(outcome, Succeeded) else self._log.info
        write(
            LogEvent.ATTEMPT_ENDED,
            **facts_of(lease),
            outcome=type(outcome).__name__.lower(),
            error=outcome.error.type if isinstance(outcome, Failed) else None,
            answer=answer.code.name,
            state=None if answer.state is None else answer.state.name,
        )

    def _note_progress(self, beat: Beat) -> None:
        held = self.runs.get(beat.run)
        if held is None:
            return
        lease = held.lease
        self._events.progress(
            ProgressNote(
                tenant=lease.tenant,
                key=lease.key,
                job_id=lease.job_id,
                queue=lease.queue,
                type=lease.type,
                attempt=lease.attempt,
                percent=beat.percent,
                message=beat.message or "",
            )
        )
