"""What happens by the clock while the server lives: leases end, jobs fall due, expire, and are removed.

Each sweep is one bounded batch per step, so that it never holds up anybody who waits; it goes on at once while there
is more to do. The store's own time decides what is due: these loops only ask at the right moments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.job import SECOND_US
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import DEFAULT_BACKOFF, Backoff, Chance, Rhythm, every
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.store.base import CommitNotice, Store, Sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """Rhythms and bounds of the sweeps."""

    batch_jobs: int = 500
    purge_rows: int = 1000
    lease_seconds: float = 1.0
    """Between looks for leases that ended."""
    due_seconds: float = 30.0
    """Longest sleep of the sweep of due jobs; it wakes for the next due one before."""
    expire_seconds: float = 1.0
    """Between looks for waiting jobs whose expire_time has passed."""
    purge_seconds: float = 10.0
    backoff: Backoff = DEFAULT_BACKOFF


class Scheduler:
    """The sweeps, each in a loop of its own."""

    def __init__(self, *, store: Store, clock: Clock, chance: Chance, log: Log, settings: SweepSettings) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        self._log = log
        self._settings = settings
        self._stop = asyncio.Event()
        self._due = asyncio.Event()
        self._wakes_at = 0.0

    async def run(self) -> None:
        """Sweep until `stop`; a store that is away delays the sweeps and changes nothing else."""
        settings = self._settings
        self._store.subscribe(self._committed)
        sweeps: tuple[tuple[str, Callable[[], Awaitable[float | None]], float, asyncio.Event | None], ...] = (
            ("leases", self._expire_leases, settings.lease_seconds, None),
            ("due", self._promote_due, settings.due_seconds, self._due),
            ("expiry", self._expire_jobs, settings.expire_seconds, None),
            ("purge", self._purge, settings.purge_seconds, None),
        )
        self._due.set()  # what fell due while the server was away is looked for at once
        async with asyncio.TaskGroup() as tasks:
            for name, step, seconds, wake in sweeps:
                tasks.create_task(
                    every(
                        step,
                        Rhythm(seconds),
                        clock=self._clock,
                        chance=self._chance,
                        stop=self._stop,
                        wake=wake,
                        on_error=self._survive(name),
                    ),
                    name=f"sweep-{name}",
                )

    def stop(self) -> None:
        """End all sweeps after the step they are in."""
        self._stop.set()

    def _committed(self, notice: CommitNotice) -> None:
        """Wake the sweep of due jobs when a job falls due before it meant to look."""
        if notice.due_in_us is not None:
            due_at = self._clock.monotonic() + notice.due_in_us / SECOND_US
            if due_at < self._wakes_at:
                self._wakes_at = due_at
                self._due.set()

    async def _promote_due(self) -> float | None:
        # From here to the answer a job that becomes due is either seen by this sweep or wakes the next one.
        self._wakes_at = float("inf")
        sweep = await self._store.promote_due(limit=self._settings.batch_jobs)
        if sweep.more:
            return 0.0
        ceiling = self._settings.due_seconds
        wait = ceiling if sweep.next_in_us is None else min(ceiling, max(1000, sweep.next_in_us) / SECOND_US)
        self._wakes_at = min(self._wakes_at, self._clock.monotonic() + wait)
        return wait

    async def _expire_leases(self) -> float | None:
        sweep = await self._store.expire_leases(limit=self._settings.batch_jobs)
        return self._told(LogEvent.LEASES_EXPIRED, sweep)

    async def _expire_jobs(self) -> float | None:
        sweep = await self._store.expire_jobs(limit=self._settings.batch_jobs)
        return self._told(LogEvent.JOBS_EXPIRED, sweep)

    async def _purge(self) -> float | None:
        sweep = await self._store.purge(limit=self._settings.purge_rows)
        return self._told(LogEvent.ROWS_PURGED, sweep)

    def _told(self, event: LogEvent, sweep: Sweep) -> float | None:
        if sweep.changed:
            self._log.info(event, count=sweep.changed)
        return 0.0 if sweep.more else None

    def _survive(self, name: str) -> Callable[[Exception, int], float | None]:
        """The error policy: the store's refusals and absences pass, anything else is a bug and ends the server."""

        def pause(error: Exception, failures: int) -> float | None:
            if not isinstance(error, JobwireError):
                return None
            if failures == 1:
                self._log.warning(LogEvent.SWEEP_STALLED, sweep=name, error=error.message)
            return self._settings.backoff.after(failures)

        return pause
