"""Outcomes on their way to the server: kept until they are acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from jobwire.payload import Payload
from jobwire.worker.clock import Clock
from jobwire.worker.transport import (
    Ack,
    AckCode,
    Failure,
    LeaseUpdate,
    Outcome,
    OutcomeReport,
    Token,
    Transport,
)

_log = logging.getLogger("jobwire.worker")

MAX_BATCH = 1000
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0


class Reporter:
    """One sender: while one batch commits, the next one gathers. Used on the runtime's event loop only.

    Bounded: it holds no more outcomes than the credit window has room for.
    """

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._pending: dict[Token, Outcome] = {}
        self._sending: dict[Token, Outcome] = {}
        self._dead: set[Token] = set()
        self._checkpoints: dict[Token, Payload] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def add(self, token: Token, outcome: Outcome) -> None:
        """Send this outcome, soon and until it is acknowledged."""
        self._pending[token] = outcome
        self._wake.set()

    def abandon(self, token: Token) -> None:
        """Tell that this attempt died without an outcome."""
        self._dead.add(token)
        self._wake.set()

    def save(self, token: Token, checkpoint: Payload) -> None:
        """See that the server has this checkpoint before it hears how the attempt ended. Call it before the end is
        told here."""
        self._checkpoints[token] = checkpoint

    def forget(self, token: Token) -> None:
        """The lease is over: its outcome counts for nothing."""
        self._pending.pop(token, None)
        self._dead.discard(token)
        self._checkpoints.pop(token, None)

    def tokens(self) -> list[Token]:
        """Leases whose outcome is not acknowledged yet."""
        return [*self._pending, *self._sending, *self._dead]

    async def flushed(self) -> None:
        """Wait until everything is acknowledged."""
        while self._pending or self._sending or self._dead:
            self._idle.clear()
            await self._idle.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            if not (self._pending or self._dead):
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
            if not await self._send():
                await self._clock.sleep(self._pause_seconds)
                self._pause_seconds = min(self._pause_seconds * 1.5, LONGEST_PAUSE_SECONDS)
            else:
                self._pause_seconds = FIRST_PAUSE_SECONDS

    async def _send(self) -> bool:
        """Send one batch. False when some of it has to be sent again, after a pause."""
        batch = self._pending
        if len(batch) > MAX_BATCH:
            tokens = list(batch)[:MAX_BATCH]
            batch = {token: self._pending.pop(token) for token in tokens}
        else:
            self._pending = {}
        self._sending = batch
        dead = list(self._dead)
        again: dict[Token, Outcome] = batch
        try:
            if self._checkpoints:
                await self._save([*batch, *dead])
            if dead:
                await self._transport.abandon(dead)
                self._dead.difference_update(dead)
            if batch:
                acks = await self._transport.report([OutcomeReport(*one) for one in batch.items()])
                again = self._settle(batch, acks)
        except ConnectionError as error:
            _log.warning("The server cannot be told of %d outcomes: %s. Trying again.", len(batch) + len(dead), error)
            return False
        except Exception:  # noqa: BLE001 (outcomes are kept and sent again, whatever the transport did)
            _log.exception("Reporting %d outcomes failed. Trying again.", len(batch) + len(dead))
            return False
        finally:
            self._sending = {}
            self._pending = {**again, **self._pending}
        return not again

    async def _save(self, tokens: Sequence[Token]) -> None:
        """Send the checkpoints of these. An outcome never overtakes the checkpoint that the next attempt needs."""
        updates = [
            LeaseUpdate(token, checkpoint=self._checkpoints[token]) for token in tokens if token in self._checkpoints
        ]
        if updates:
            await self._transport.update(updates)
            for update in updates:
                self._checkpoints.pop(update.token, None)

    def _settle(self, batch: dict[Token, Outcome], acks: Sequence[Ack]) -> dict[Token, Outcome]:
        """Read the answers; returns what has to be sent again."""
        again: dict[Token, Outcome] = {}
        for token, code, message in acks:
            match code:
                case AckCode.RECORDED | AckCode.DUPLICATE:
                    continue
                case AckCode.LEASE_LOST:
                    _log.warning("An outcome came too late, its lease was over: %s", message or token)
                case AckCode.RETRY:
                    again[token] = batch[token]
                case AckCode.INVALID:
                    again.update(self._replaced(token, batch[token], message))
        return again

    def _replaced(self, token: Token, outcome: Outcome, message: str) -> dict[Token, Outcome]:
        """Refused outcomes leave the lease standing: say at least that the attempt failed."""
        _log.error("The server refused an outcome: %s", message)
        if isinstance(outcome, Failure) and outcome.error_type == "OUTCOME_REFUSED":
            return {}  # refused twice: let the lease end by time
        return {token: Failure("OUTCOME_REFUSED", message[:1000], retryable=False)}
