"""Keeping leases alive, and passing progress on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from jobwire.payload import Payload
from jobwire.worker.alarm import within
from jobwire.worker.attempt import Attempt
from jobwire.worker.clock import Clock
from jobwire.worker.reporter import Reporter
from jobwire.worker.slots import Slots
from jobwire.worker.transport import LeaseUpdate, Transport, Welcome

_log = logging.getLogger("jobwire.worker")


class Heartbeat:
    """Names every held lease at least every `heartbeat_seconds`; sends progress and checkpoints in between, at most
    every `progress_seconds` and only the newest of each job; what could not be sent goes with the next beat. Used on
    the runtime's event loop, where no handler runs."""

    def __init__(
        self, *, transport: Transport, slots: Slots, reporter: Reporter, clock: Clock, progress_seconds: float
    ) -> None:
        self._transport = transport
        self._slots = slots
        self._reporter = reporter
        self._clock = clock
        self._progress_seconds = progress_seconds
        self._moved: set[Attempt] = set()
        self._wake = asyncio.Event()
        self._interval_seconds = 0.0
        self._hurry = asyncio.Event()
        self._unanswered_since: float | None = None

    def pace(self, welcome: Welcome) -> None:
        """Beat at the interval that the server asks for."""
        self._interval_seconds = welcome.heartbeat_seconds

    def resume(self, welcome: Welcome) -> None:
        """The server is back: beat at once, for the leases aged while it was away."""
        self.pace(welcome)
        self._hurry.set()

    def moved(self, attempts: list[Attempt]) -> None:
        """There is new progress of these, or a new checkpoint."""
        self._moved.update(attempts)
        self._wake.set()

    async def beat(self) -> None:
        """Name all leases, until cancelled. After a failed beat the next one comes sooner."""
        pause_seconds = self._interval_seconds
        while True:
            await within(self._clock, pause_seconds, self._hurry.wait())
            self._hurry.clear()
            attempts = self._slots.runs()
            self._moved.difference_update(attempts)
            sent = await self._send(attempts, [LeaseUpdate(token) for token in self._reporter.tokens()])
            pause_seconds = self._interval_seconds if sent else min(1.0, self._interval_seconds)

    async def pass_progress_on(self) -> None:
        """Send new progress and checkpoints, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            moved = [attempt for attempt in self._moved if attempt.has_news()]
            self._moved.clear()
            if moved:
                await self._send(moved, [])
                await self._clock.sleep(self._progress_seconds)

    async def _send(self, attempts: Sequence[Attempt], others: list[LeaseUpdate]) -> bool:
        """Name these leases, with their news. False when the server did not hear it."""
        news = [(attempt, attempt.progress, attempt.checkpoint) for attempt in attempts]
        updates = [_update(*one) for one in news] + others
        if not updates:
            return True
        # What answers this may answer an earlier one that was given up: count the lease from there.
        asked_at = self._clock.monotonic() if self._unanswered_since is None else self._unanswered_since
        self._unanswered_since = asked_at
        try:
            states = await self._transport.update(updates)
        except ConnectionError as error:
            _log.warning("The server cannot be reached to keep %d leases: %s.", len(updates), error)
            return False
        except Exception:  # noqa: BLE001 (a beat that fails must not end the beating)
            _log.exception("Keeping %d leases failed.", len(updates))
            return False
        for attempt, progress, checkpoint in news:
            attempt.told, attempt.kept = progress, checkpoint
        self._unanswered_since = None
        self._slots.renew(states, asked_at)
        return True


def _update(attempt: Attempt, progress: tuple[float, str | None] | None, checkpoint: Payload | None) -> LeaseUpdate:
    percent, message = (None, None) if progress is attempt.told or progress is None else progress
    return LeaseUpdate(attempt.assignment.token, percent, message, None if checkpoint is attempt.kept else checkpoint)
