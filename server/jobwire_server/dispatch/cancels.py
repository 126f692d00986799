"""Cancel wishes on their way to running handlers, and what becomes of handlers that do not listen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from jobwire_server.dispatch.session import Run, WorkerSession, facts_of
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.job import SECOND_US
from jobwire_server.domain.outcome import LeaseLost
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Backoff, wait_any
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.store.base import Report, Store

LOGGED_RUNS: Final = 20
"""Of a mass of cancels, so many get a line of their own."""


class _Order(NamedTuple):
    session: WorkerSession
    due_at: float


class CancelDesk:
    """Orders running jobs to stop, once each, and fences those that are still held when their grace is over.

    Bounded by the runs that are held: an order goes when its run ends.
    """

    def __init__(self, *, store: Store, clock: Clock, log: Log, settings: DispatchSettings) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._settings = settings
        self._orders: dict[Run, _Order] = {}
        self._suspects: dict[Run, WorkerSession] = {}
        self._bell = asyncio.Event()

    def suspect(self, session: WorkerSession, runs: Iterable[Run]) -> None:
        """Have the store say whether these runs may go on: a commit touched their jobs."""
        self._suspects.update(dict.fromkeys(runs, session))
        self._bell.set()

    def order(self, session: WorkerSession, runs: Sequence[Run]) -> None:
        """Tell the worker to stop these runs, unless it was told before."""
        fresh = [run for run in runs if run not in self._orders]
        if not fresh:
            return
        due_at = self._clock.monotonic() + self._settings.cancel_grace_us / SECOND_US
        self._orders.update(dict.fromkeys(fresh, _Order(session, due_at)))
        for run in fresh[:LOGGED_RUNS]:
            self._log.info(LogEvent.CANCEL_ORDERED, **facts_of(session.runs[run].lease), of=len(fresh))
        session.order_cancel(fresh)
        self._bell.set()

    async def run(self) -> None:
        """Work until cancelled. A store that is away delays, and changes nothing else."""
        backoff, failures = Backoff(), 0
        while True:
            await wait_any(self._bell, seconds=self._seconds_to_next(), clock=self._clock)
            self._bell.clear()
            try:
                await self._inspect()
                await self._enforce()
            except JobwireError as error:
                failures += 1
                self._log.warning(LogEvent.CANCEL_DELAYED, reason=error.reason, failures=failures)
                await self._clock.sleep(backoff.after(failures))
                self._bell.set()
            else:
                failures = 0

    def _seconds_to_next(self) -> float | None:
        for run in [run for run, order in self._orders.items() if run not in order.session.runs]:
            del self._orders[run]
        if not self._orders:
            return None
        return max(0.0, min(order.due_at for order in self._orders.values()) - self._clock.monotonic())

    async def _inspect(self) -> None:
        while self._suspects:
            session = next(iter(self._suspects.values()))
            runs = [run for run, holder in self._suspects.items() if holder is session]
            await session.inspect(runs)
            for run in runs:
                self._suspects.pop(run, None)

    async def _enforce(self) -> None:
        """Fence what ignored its order. The wish stands in the store, so a lost lease ends the job as CANCELLED."""
        now = self._clock.monotonic()
        overdue = {
            run: order.session
            for run, order in self._orders.items()
            if order.due_at <= now and run in order.session.runs
        }
        if not overdue:
            return
        await self._store.report([Report(*run, LeaseLost()) for run in overdue])
        for run, session in list(overdue.items())[:LOGGED_RUNS]:
            if run in session.runs:
                self._log.warning(LogEvent.CANCEL_ENFORCED, **facts_of(session.runs[run].lease), of=len(overdue))
        for run, session in overdue.items():
            self._orders.pop(run, None)
            session.lose([run])
