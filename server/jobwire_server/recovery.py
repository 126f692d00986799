"""Recovery: what was running when the server died goes back, before the first lease is granted.

The store voids the leases of the dead incarnation's own pool, and expired ones of anybody, through the one table of
transitions; a remote worker keeps its unexpired lease. Each batch is a transaction of its own and a batch that was
done leaves nothing for the next, so a crash in here is recovered by starting again, and twice in a row changes
nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from jobwire_server.domain.errors import StoreUnavailable, Unavailable
from jobwire_server.domain.job import WAITING_STATES
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import DEFAULT_BACKOFF, Backoff
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.store.base import Store

T = TypeVar("T")

PROGRESS_SECONDS = 1.0
"""Progress is logged at most this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySettings:
    """Bounds of recovery."""

    batch_jobs: int = 1000
    time_limit_seconds: float = 300.0
    """Longest time in which the store may keep recovery from going on, before the start is given up. No job is
    dropped by that: the next start recovers it."""
    backoff: Backoff = DEFAULT_BACKOFF


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryReport:
    """What recovery did."""

    returned: int = 0
    """Put back to PENDING."""
    still_leased: int = 0
    """Left with remote workers, whose leases have not expired."""
    failed: int = 0
    """FAILED: no attempt was left, or the row could not be reset."""
    cancelled: int = 0
    """Ended as CANCELLED or EXPIRED: nobody wanted them any more."""
    waiting: int = 0
    """PENDING, SCHEDULED, BLOCKED and RETRYING when it ended."""
    duration_seconds: float = 0.0
    retries: int = 0
    """Tries that found the store busy or away."""


class Recovery:
    """One run of recovery."""

    def __init__(self, *, store: Store, clock: Clock, log: Log, settings: RecoverySettings) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._settings = settings
        self._retries = 0
        self._started_at = 0.0

    async def run(self, instance_id: str) -> RecoveryReport:
        """Recover everything that does not belong to `instance_id`, and say what was done.

        Raises `StoreUnavailable` when the store kept it waiting beyond the time limit.
        """
        self._started_at = told_at = self._clock.monotonic()
        returned = failed = cancelled = 0
        more = True
        while more:
            batch = await self._patiently(
                lambda: self._store.recover(instance_id=instance_id, limit=self._settings.batch_jobs)
            )
            returned += batch.returned
            failed += batch.failed
            cancelled += batch.cancelled
            more = batch.more
            if more and self._clock.monotonic() - told_at >= PROGRESS_SECONDS:
                told_at = self._clock.monotonic()
                self._log.info(LogEvent.RECOVERY_PROGRESS, returned=returned, failed=failed, cancelled=cancelled)
        counts = await self._patiently(self._store.counts)
        return RecoveryReport(
            returned=returned,
            still_leased=counts.still_leased,
            failed=failed,
            cancelled=cancelled,
            waiting=sum(counts.by_state.get(state, 0) for state in WAITING_STATES),
            duration_seconds=self._clock.monotonic() - self._started_at,
            retries=self._retries,
        )

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store until it answers: a store that is busy or away costs time, never a job."""
        failures = 0
        while True:
            try:
                return await ask()
            except Unavailable as error:
                failures += 1
                self._retries += 1
                waited = self._clock.monotonic() - self._started_at
                pause = self._settings.backoff.after(failures)
                if waited + pause > self._settings.time_limit_seconds:
                    raise StoreUnavailable(
                        f"Recovery gave up after {waited:.1f} s and {self._retries} tries, since the store did not "
                        f"answer: {error.message} No job is lost; repair the store and start again."
                    ) from error
                if failures == 1:
                    self._log.warning(LogEvent.RECOVERY_WAITING, error=error.message)
                await self._clock.sleep(pause)
