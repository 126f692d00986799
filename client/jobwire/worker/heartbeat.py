"""Keeping leases alive, and passing progress on."""

from __future__ import annotations

import asyncio
import logging

from jobwire.worker.attempt import Attempt
from jobwire.worker.clock import Clock
from jobwire.worker.reporter import Reporter
from jobwire.worker.slots import Slots
from jobwire.worker.transport import LeaseUpdate, Transport, Welcome

_log = logging.getLogger("jobwire.worker")


class Heartbeat:
    """Names every held lease at least every `heartbeat_seconds`; sends progress in between, at most every
    `progress_seconds` and only the newest of each job. Used on the runtime's event loop, where no handler runs."""

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

    def moved(self, attempts: list[Attempt]) -> None:
        """There is new progress of these."""
        self._moved.update(attempts)
        self._wake.set()

    async def beat(self, welcome: Welcome) -> None:
        """Name all leases, until cancelled. After a failed beat the next one comes sooner."""
        pause_seconds = welcome.heartbeat_seconds
        while True:
            await self._clock.sleep(pause_seconds)
            attempts = self._slots.held()
            updates = [_update(attempt) for attempt in attempts]
            updates += [LeaseUpdate(token) for token in self._reporter.tokens()]
            self._moved.difference_update(attempts)
            sent = not updates or await self._send(updates, welcome)
            pause_seconds = welcome.heartbeat_seconds if sent else min(1.0, welcome.heartbeat_seconds)

    async def pass_progress_on(self, welcome: Welcome) -> None:
        """Send new progress, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            moved = [attempt for attempt in self._moved if attempt.progress is not None]
            self._moved.clear()
            if moved:
                await self._send([_update(attempt) for attempt in moved], welcome)
                await self._clock.sleep(self._progress_seconds)

    async def _send(self, updates: list[LeaseUpdate], welcome: Welcome) -> bool:
        sent_at = self._clock.monotonic()
        try:
            states = await self._transport.update(updates)
        except ConnectionError as error:
            _log.warning("The server cannot be reached to keep %d leases: %s.", len(updates), error)
            return False
        except Exception:  # noqa: BLE001 (a beat that fails must not end the beating)
            _log.exception("Keeping %d leases failed.", len(updates))
            return False
        self._slots.renew(states, sent_at, welcome.cancel_grace_seconds)
        return True


def _update(attempt: Attempt) -> LeaseUpdate:
    progress, attempt.progress = attempt.progress, None
    percent, message = progress or (None, None)
    return LeaseUpdate(attempt.assignment.token, percent, message)
