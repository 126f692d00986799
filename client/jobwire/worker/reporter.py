"""Outcomes on their way to the server: kept until they are acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

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
SENDERS = 2
"""Batches under way at once. With one, the server would have nothing to commit while its answer travels; with many,
each would be small."""
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0

_Endings = dict[Token, Outcome | None]
"""How attempts ended, by lease; None = without an outcome."""


class Reporter:
    """Two senders: while the batch of one commits, that of the other is under way, and the next one gathers. Used on
    the runtime's event loop only.

    Bounded: it holds no more outcomes than the credit window has room for.
    """

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._pending: _Endings = {}
        self._sending: list[_Endings] = []
        self._checkpoints: dict[Token, Payload] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, token: Token, outcome: Outcome | None) -> None:
        """Send this outcome (None: the attempt died without one), soon and until it is acknowledged."""
        self._pending[token] = outcome
        self._wake.set()

    def save(self, token: Token, checkpoint: Payload) -> None:
        """See that the server has this checkpoint before it hears how the attempt ended. Call it before `add`."""
        self._checkpoints[token] = checkpoint

    def forget(self, token: Token) -> None:
        """The lease is over: its outcome counts for nothing."""
        self._pending.pop(token, None)
        self._checkpoints.pop(token, None)

    def tokens(self) -> list[Token]:
        """Leases whose outcome is not acknowledged yet."""
        return [*self._pending, *(token for batch in self._sending for token in batch)]

    def holds(self, token: Token) -> bool:
        """Whether the outcome of this lease is not acknowledged yet."""
        return token in self._pending or any(token in batch for batch in self._sending)

    async def flushed(self) -> None:
        """Wait until everything is acknowledged."""
        while self._pending or self._sending:
            self._idle.clear()
            await self._idle.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as senders:
            for _ in range(SENDERS):
                senders.create_task(self._keep_sending())

    async def _keep_sending(self) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            while not self._pending:
                self._wake.clear()
                await self._wake.wait()
            if await self._send(self._take()):
                pause_seconds = FIRST_PAUSE_SECONDS
            else:
                await self._clock.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 1.5, LONGEST_PAUSE_SECONDS)

    def _take(self) -> _Endings:
        if len(self._pending) <= MAX_BATCH:
            batch, self._pending = self._pending, {}
            return batch
        return {token: self._pending.pop(token) for token in list(self._pending)[:MAX_BATCH]}

    async def _send(self, batch: _Endings) -> bool:
        """Send one batch. False when some of it has to be sent again, after a pause."""
        self._sending.append(batch)
        again = batch
        try:
            again = await self._tell(batch)
        except ConnectionError as error:
            _log.warning("Outcomes cannot be told now, and will be sent again (%d): %s", len(batch), error)
        except Exception:  # noqa: BLE001 (outcomes are kept and sent again, whatever the transport did)
            _log.exception("Reporting outcomes failed (%d). Trying again.", len(batch))
        finally:
            self._sending.remove(batch)
            if again:
                self._pending = {**again, **self._pending}
            elif not (self._pending or self._sending):
                self._idle.set()
        return not again

    async def _tell(self, batch: _Endings) -> _Endings:
        """Send a batch once; returns what has to be sent again."""
        if self._checkpoints:
            await self._save(batch)
        dead = [token for token, outcome in batch.items() if outcome is None]
        if dead:
            await self._transport.abandon(dead)
        reports = [OutcomeReport(token, outcome) for token, outcome in batch.items() if outcome is not None]
        return self._settle(batch, await self._transport.report(reports)) if reports else {}

    async def _save(self, tokens: Iterable[Token]) -> None:
        """Send the checkpoints of these. An outcome never overtakes the checkpoint that the next attempt needs."""
        updates = [
            LeaseUpdate(token, checkpoint=self._checkpoints[token]) for token in tokens if token in self._checkpoints
        ]
        if updates:
            await self._transport.update(updates)
            for update in updates:
                self._checkpoints.pop(update.token, None)

    def _settle(self, batch: _Endings, acks: Sequence[Ack]) -> _Endings:
        """Read the answers; returns what has to be sent again."""
        again: _Endings = {}
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

    def _replaced(self, token: Token, outcome: Outcome | None, message: str) -> _Endings:
        """Refused outcomes leave the lease standing: say at least that the attempt failed."""
        _log.error("The server refused an outcome: %s", message)
        if isinstance(outcome, Failure) and outcome.error_type == "OUTCOME_REFUSED":
            return {}  # refused twice: let the lease end by time
        return {token: Failure("OUTCOME_REFUSED", message[:1000], retryable=False)}
