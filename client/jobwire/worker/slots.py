"""The slots: which assignments run, which wait, which have to stop, and how each ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobwire.worker.alarm import Alarm
from jobwire.worker.attempt import Attempt, Cause
from jobwire.worker.clock import Clock
from jobwire.worker.executors.base import Executor
from jobwire.worker.handler import Handler, Runner
from jobwire.worker.health import Health
from jobwire.worker.prefetch import Prefetch
from jobwire.worker.reporter import Reporter
from jobwire.worker.run import Event, Run, Sign
from jobwire.worker.transport import (
    Assignment,
    CancelOrder,
    Failure,
    LeaseState,
    Outcome,
    Release,
    Stopped,
    Success,
    Token,
    Welcome,
)

_log = logging.getLogger("jobwire.worker")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a handler that was told to stop may take, before force is used or it is given up."""

    stop_seconds: float = 1.0
    drain_seconds: float = 0.5
    """The same while the worker drains."""
    hung_limit: int | None = None
    """Handlers that hang and are replaced; beyond it each of them costs a slot. None = as many as there are slots."""


class Slots:
    """At most `limit` handlers run at once. It is the runtime's `Inbox`; used on the runtime's event loop only.

    A run ends in one of four ways: its executor posts an outcome; it is given up because it hangs (the outcome is
    made up from the cause); its lease is lost (nothing is reported); its process dies (the lease is abandoned).

    Suspects run apart: a job whose last lease was lost may be what killed its worker. Where there are child processes
    for it, it runs in one of them, whatever its handler's own place is, so that it takes nobody with it again.
    """

    def __init__(  # noqa: PLR0913 (all by name)
        self,
        *,
        limit: int,
        handlers: Mapping[str, Handler[..., Any]],
        executors: Mapping[Runner, Executor],
        reporter: Reporter,
        clock: Clock,
        health: Health,
        patience: Patience,
        prefetch: Prefetch,
        on_progress: Callable[[Attempt], None],
    ) -> None:
        self._limit = limit
        self._handlers = handlers
        self._executors = executors
        self._reporter = reporter
        self._clock = clock
        self._health = health
        self._patience = patience
        self._prefetch = prefetch
        self._on_progress = on_progress
        self._waiting: dict[Token, Run] = {}
        self._running: dict[Token, Run] = {}
        self._hung: set[Run] = set()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.alarm = Alarm(clock, self._ring)
        self.on_capacity: Callable[[], None] = lambda: None
        """Told when `window` changed."""
        self.on_welcome: Callable[[Welcome], None] = lambda _welcome: None
        """Told when the worker was introduced again."""

    @property
    def capacity(self) -> int:
        """Handlers that may run at once: the limit, less what hangs beyond the bound."""
        limit = self._limit if self._patience.hung_limit is None else self._patience.hung_limit
        return max(0, self._limit - max(0, len(self._hung) - limit))

    @property
    def window(self) -> int:
        """Most jobs that the server should have here: those that run, and those that wait."""
        return self.capacity + self._prefetch.size if self.capacity else 0

    @property
    def running(self) -> int:
        """Handlers that run now (not counting those that were given up)."""
        return len(self._running)

    @property
    def hung(self) -> int:
        """Handlers that were given up and still run."""
        return len(self._hung)

    def runs(self) -> list[Run]:
        """Runs whose lease has to be kept alive."""
        return [*self._waiting.values(), *(run for run in self._running.values() if run.cause is not Cause.LOST)]

    async def idle(self) -> None:
        """Wait until nothing runs and nothing waits."""
        await self._idle.wait()

    # What the transport says: the Inbox.

    def assign(self, assignments: Sequence[Assignment]) -> None:
        """See `Inbox`. What finds no free slot waits for one; an assignment that is here already is passed by."""
        lease_deadline = now = self._clock.monotonic()
        waiting, running = self._waiting, self._running
        for assignment in assignments:
            token = assignment.token
            if token in waiting or token in running or self._reporter.holds(token):
                continue  # it came twice
            handler = self._handlers.get(assignment.type)
            if handler is None or self._draining:
                self._refuse(assignment, known=handler is not None)
                continue
            run = Run(assignment, handler, self._on_progress)
            run.lease_deadline = lease_deadline = now + assignment.lease_seconds
            if assignment.lost_leases and Runner.PROCESS in self._executors:
                run.runner = Runner.PROCESS
            waiting[token] = run
        if waiting:
            self._idle.clear()
            self.alarm.by(lease_deadline)
            self._fill(now)

    def cancel(self, orders: Sequence[CancelOrder]) -> None:
        """See `Inbox`."""
        for order in orders:
            self._cancel(order.token, order.reason)
        self._look_around()

    def lose(self, tokens: Sequence[Token]) -> None:
        """See `Inbox`."""
        for token in tokens:
            self._reporter.forget(token)
            if self._waiting.pop(token, None) is None and (run := self._running.get(token)) is not None:
                self._stop(run, Cause.LOST, "the lease is lost")
        self._look_around()

    def drain(self, reason: str) -> None:
        """See `Inbox`. What has not started is given back."""
        self._draining = True
        self.give_back(reason)

    def give_back(self, reason: str) -> None:
        """Release what has not started: others may have a free slot for it."""
        for token in self._waiting:
            self._reporter.add(token, Release(reason=reason))
        self._waiting.clear()
        self._look_around()

    def held(self) -> list[Token]:
        """See `Inbox`."""
        return [*(run.assignment.token for run in self.runs()), *self._reporter.tokens()]

    def renewed(self, welcome: Welcome, states: Sequence[LeaseState]) -> None:
        """See `Inbox`."""
        self.renew(states, self._clock.monotonic())
        self.on_welcome(welcome)

    def refuse(self, reason: str) -> None:
        """See `Inbox`. Leases that are held end by their local deadline."""
        self._health.fault("server", reason)

    # What the runtime says.

    def stop_all(self, cause: Cause, reason: str) -> None:
        """Tell every handler to stop."""
        for run in list(self._running.values()):
            self._stop(run, cause, reason)

    def renew(self, states: Sequence[LeaseState], asked_at: float) -> None:
        """Take in what the server thinks of the leases. `asked_at`: monotonic time at which it was asked."""
        for state in states:
            run = self._running.get(state.token) or self._waiting.get(state.token)
            if not state.valid:
                self.lose((state.token,))
            elif run is not None:
                run.lease_deadline = asked_at + state.remaining_seconds
                if state.cancel_requested and run.cause is None:
                    self._cancel(state.token, "")

    def heard(self, letters: list[tuple[Run, Event]]) -> None:
        """Take in what executors posted."""
        now = self._clock.monotonic()
        running = len(self._running)
        for run, event in letters:
            if event is Sign.BEGAN:
                self._arm(run, now)
            elif run in self._hung:
                self._came_back(run)
            elif event is Sign.UNKNOWN:
                self._bring_home(run, now)
            else:
                self._end(run, event)
        if (ended := running - len(self._running)) and self._prefetch.note_ended(ended, now):
            self.on_capacity()
        self._look_around(now)

    # How runs begin and end.

    def _refuse(self, assignment: Assignment, *, known: bool) -> None:
        if known:
            self._reporter.add(assignment.token, Release(reason="the worker is shutting down"))
            return
        _log.error("Job %s has the type %r, which this worker did not offer.", assignment.job_id, assignment.type)
        text = f"This worker has no handler for {assignment.type!r}."
        self._reporter.add(assignment.token, Failure("UNKNOWN_TYPE", text))

    def _fill(self, now: float) -> None:
        """Start what waits, as far as there are slots: one call per executor, however many runs."""
        free = self.capacity - len(self._running)
        if free <= 0 or not self._waiting:
            return
        starting: dict[Runner, list[Run]] = {}
        for token in list(self._waiting)[:free]:
            run = self._waiting.pop(token)
            self._running[token] = run
            runner = run.runner
            if runner is not Runner.PROCESS:
                self._arm(run, now)
            if (batch := starting.get(runner)) is None:
                starting[runner] = [run]
            else:
                batch.append(run)
        for runner, runs in starting.items():
            self._executors[runner].start(runs)

    def _bring_home(self, run: Run, now: float) -> None:
        """Its child process had no handler for it: run a suspect like any other, then."""
        home = run.handler.runner
        if run.cause is not None or home is run.runner:
            text = f"The child process finds no handler for {run.assignment.type!r} in the app that it imported."
            self._end(run, Failure("UNKNOWN_TYPE", text))
            return
        run.runner = home
        self._arm(run, now)
        self._executors[home].start((run,))

    def _arm(self, run: Run, now: float) -> None:
        """Start the clock of the attempt."""
        timeout_seconds = run.timeout_seconds
        if timeout_seconds is not None:
            run.deadline = now + timeout_seconds
            self.alarm.by(run.deadline)

    def _end(self, run: Run, event: Event) -> None:
        """The executor is done with this run."""
        token = run.assignment.token
        del self._running[token]
        run.handle = None
        if run.cause is None and event is not Sign.DIED:
            self._report(run, event)  # type: ignore[arg-type]  # BEGAN does not come here
            return
        outcome = _settled(run, None if isinstance(event, Sign) else event)
        if outcome is not None or run.cause is not Cause.LOST:
            self._report(run, outcome)

    def _report(self, run: Run, outcome: Outcome | None) -> None:
        """Send this outcome (None = the handler died without one), and first the checkpoint that it left behind."""
        token = run.assignment.token
        if (checkpoint := run.unsaved()) is not None and not isinstance(outcome, Success):
            self._reporter.save(token, checkpoint)
        self._reporter.add(token, outcome)

    def _look_around(self, now: float | None = None) -> None:
        """After something ended: use the free slots, and tell whoever waits for silence."""
        if self._waiting:
            self._fill(self._clock.monotonic() if now is None else now)
        if not self._running and not self._waiting:
            self._idle.set()

    # How runs are made to end.

    def _cancel(self, token: Token, reason: str) -> None:
        if self._waiting.pop(token, None) is not None:
            self._reporter.add(token, Stopped(reason))
        elif (run := self._running.get(token)) is not None:
            self._stop(run, Cause.CANCEL, reason or "the job was cancelled")

    def _stop(self, run: Run, cause: Cause, reason: str) -> None:
        if run.cause is not None and run.cause >= cause:
            return
        run.cause = cause
        run.reason = reason
        if cause is not Cause.CANCEL:  # the server ends a cancelled job's patience itself: by losing the lease
            patience = self._patience.drain_seconds if cause is Cause.DRAIN else self._patience.stop_seconds
            stop_deadline = self._clock.monotonic() + patience
            run.stop_deadline = stop_deadline if run.stop_deadline is None else min(stop_deadline, run.stop_deadline)
            self.alarm.by(run.stop_deadline)
        self._executors[run.runner].stop(run)

    def _ring(self, now: float) -> float | None:
        """Look for what is due; returns the next deadline."""
        for run in list(self._running.values()):
            if run.stop_deadline is not None and run.stop_deadline <= now:
                self._lose_patience(run, now)
            elif run.lease_deadline <= now:
                self._stop(run, Cause.LOST, "the lease ran out")
            elif run.deadline is not None and run.deadline <= now:
                self._stop(run, Cause.TIMEOUT, f"the attempt took longer than {run.timeout_seconds:g} s")
        for token in [token for token, run in self._waiting.items() if run.lease_deadline <= now]:
            del self._waiting[token]
        self._look_around(now)
        return min((_next_deadline(run) for run in self.held_or_stopping()), default=None)

    def held_or_stopping(self) -> list[Run]:
        """Every run that is not over."""
        return [*self._waiting.values(), *self._running.values()]

    def _lose_patience(self, run: Run, now: float) -> None:
        """A handler did not stop in time: force, then give it up."""
        run.strikes += 1
        executor = self._executors[run.runner]
        if run.strikes == 1 and executor.kill(run):
            run.stop_deadline = now + self._patience.stop_seconds
            return
        executor.give_up(run)
        self._hung.add(run)
        del self._running[run.assignment.token]
        outcome = _settled(run, None)
        if outcome is not None:
            self._report(run, outcome)
        assignment = run.assignment
        _log.warning("Job %s (%s) ignores that it has to stop (%s): its slot is replaced, %d hang now.",
                     assignment.job_id, assignment.type, run.reason, len(self._hung))  # fmt: skip
        self._judge()

    def _came_back(self, run: Run) -> None:
        self._hung.remove(run)
        self._executors[run.runner].returned(run)
        run.handle = None
        self._judge()

    def _judge(self) -> None:
        missing = self._limit - self.capacity
        if missing:
            self._health.fault(
                "hung handlers",
                f"{len(self._hung)} handlers hang and cannot be stopped; {missing} of {self._limit} slots are lost "
                "until they end. Restart the worker, and run such handlers as 'process' or bound what they wait for.",
            )
        else:
            self._health.mend("hung handlers")
        self.on_capacity()


def _next_deadline(run: Run) -> float:
    if run.stop_deadline is not None:
        return run.stop_deadline
    if run.deadline is not None and run.deadline < run.lease_deadline and run.cause is not Cause.TIMEOUT:
        return run.deadline
    return run.lease_deadline


def _settled(run: Run, outcome: Outcome | None) -> Outcome | None:
    """What to report of a run that was told to stop. `outcome`: the handler's own, None when it has none."""
    match run.cause:
        case None:
            return outcome
        case Cause.LOST:
            return None
        case Cause.TIMEOUT:
            return Failure("TIMEOUT", f"The attempt was stopped: {run.reason}.")
        case Cause.DRAIN:
            # A handler that finished, snoozed or failed for good said so; one that was torn apart did not.
            if isinstance(outcome, (Success, Release)) or (isinstance(outcome, Failure) and not outcome.retryable):
                return outcome
            return Release(reason=run.reason)
        case Cause.CANCEL:
            return outcome
