"""A worker's transport that writes down what the server answers, and stops the process before a write when told to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import grpc

from jobwire.v1 import worker_service_pb2 as pb
from jobwire.v1 import worker_service_pb2_grpc
from jobwire.worker.stream.convert import fill_outcome, update_message
from jobwire.worker.transport import (
    Ack,
    AckCode,
    Assignment,
    Hello,
    Inbox,
    LeaseState,
    LeaseUpdate,
    OutcomeReport,
    Token,
    Transport,
    Welcome,
)
from tests.helpers.history import Answer, Said, write_answers

_STANDS: Final = {
    AckCode.RECORDED: True,
    AckCode.DUPLICATE: True,
    AckCode.LEASE_LOST: False,
}
_NO_ANSWER: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
    }
)


class Write(StrEnum):
    """What a worker is about to write."""

    OUTCOME = "outcome"
    BEAT = "beat"
    PROGRESS = "progress"
    NONE = "none"


class Witness:
    """Implements `Transport` by another one. Every answer about a lease becomes a line of the file.

    A stop that was ordered comes right before the next write of its kind: the process stops itself, and when it goes
    on it sends what it was about to write by the unary twin first. So the write arrives however late it is, also when
    the server has given the stream up meanwhile; then the stream has its turn, and says the same again.
    """

    def __init__(
        self, transport: Transport, twin: worker_service_pb2_grpc.WorkerServiceAsyncStub, path: str, worker_id: str
    ) -> None:
        self._transport = transport
        self._twin: Any = twin
        self._path = path
        self._worker_id = worker_id
        self._runs: dict[Token, tuple[str, int]] = {}
        self._ordered: Write | None = None
        self._owed_us: int | None = None
        """When the oldest question was asked that this stream may still answer, though nobody waits any more."""
        self.say: Callable[[str], None] = lambda _text: None

    def stop_before(self, write: Write) -> None:
        """Stop before the next such write; NONE: do not stop any more."""
        self._ordered = write
        if write is Write.NONE:
            self.say("disarmed")

    # --- Transport ----------------------------------------------------------------------------------------------

    async def open(self, hello: Hello, inbox: Inbox) -> Welcome:
        """See `Transport`."""
        return await self._transport.open(hello, _Inbox(inbox, self))

    async def resize(self, max_in_flight: int) -> None:
        """See `Transport`."""
        await self._transport.resize(max_in_flight)

    async def abandon(self, tokens: Sequence[Token]) -> None:
        """See `Transport`."""
        await self._transport.abandon(tokens)

    async def close(self) -> None:
        """See `Transport`."""
        await self._transport.close()

    async def report(self, reports: Sequence[OutcomeReport]) -> Sequence[Ack]:
        """See `Transport`."""
        if self._stopped(Write.OUTCOME, [report.token for report in reports]):
            await self._report_by_twin(reports)
        asked_us = now_us()
        try:
            acks = await self._transport.report(reports)
        except ConnectionError:
            self._note(Said.OUTCOME, asked_us, ((report.token, None) for report in reports))
            raise
        self._note(Said.OUTCOME, asked_us, ((ack.token, _STANDS[ack.code]) for ack in acks if ack.code in _STANDS))
        # "Say it again" does not say that nothing has happened: the answer to a COMMIT may have been lost.
        self._note(Said.OUTCOME, asked_us, ((ack.token, None) for ack in acks if ack.code is AckCode.RETRY))
        return acks

    async def update(self, updates: Sequence[LeaseUpdate]) -> Sequence[LeaseState]:
        """See `Transport`."""
        tells = any(update.progress_message is not None for update in updates)
        if self._stopped(Write.PROGRESS if tells else Write.BEAT, [update.token for update in updates]):
            await self._update_by_twin(updates)
        asked_us = now_us()
        try:
            states = await self._transport.update(updates)
        except ConnectionError:
            self._owed_us = self._owed_us or asked_us
            raise
        if self._owed_us is not None:
            # This may be the answer that was owed to an earlier question, and then the one to this is owed.
            asked_us, self._owed_us = self._owed_us, asked_us
        self._note(Said.BEAT, asked_us, ((state.token, state.valid) for state in states))
        return states

    # --- what is written down -----------------------------------------------------------------------------------

    def taken(self, assignments: Sequence[Assignment]) -> None:
        """These leases are here."""
        self._runs.update((each.token, (each.job_id, each.fence)) for each in assignments)

    def came_back(self, states: Sequence[LeaseState]) -> None:
        """The server said how the leases stand that a new stream named."""
        self._owed_us = None
        now = now_us()
        self._note(Said.HELLO, now, ((state.token, False) for state in states if not state.valid))

    def _note(self, said: Said, asked_us: int, answers: Iterable[tuple[Token, bool | None]]) -> None:
        now = now_us()
        lines = [
            Answer(self._worker_id, *self._runs[token], said, asked_us, now, stands)
            for token, stands in answers
            if token in self._runs
        ]
        if lines:
            write_answers(self._path, lines)

    # --- stops --------------------------------------------------------------------------------------------------

    def _stopped(self, write: Write, tokens: Sequence[Token]) -> bool:
        """Stop here, if that is the order; whether it was. Returns when somebody continues the process."""
        if write is not self._ordered or not tokens:
            return False
        self._ordered = None
        job_id, fence = self._runs[tokens[0]]
        self.say(f"stopping {job_id} {fence}")
        os.kill(os.getpid(), signal.SIGSTOP)
        return True

    async def _report_by_twin(self, reports: Sequence[OutcomeReport]) -> None:
        request = pb.ReportOutcomesRequest()
        for report in reports:
            assert isinstance(report.token, bytes)
            fill_outcome(request.outcomes.add(lease_token=report.token), report.outcome)
        asked_us = now_us()
        response = await _patiently(self._twin.ReportOutcomes, request)
        known = [(ack.lease_token, AckCode(ack.code)) for ack in response.outcome_acks]
        self._note(Said.OUTCOME, asked_us, ((token, _STANDS[code]) for token, code in known if code in _STANDS))
        self.say("answered")

    async def _update_by_twin(self, updates: Sequence[LeaseUpdate]) -> None:
        request = pb.HeartbeatRequest(worker_id=self._worker_id, lease_updates=map(update_message, updates))
        asked_us = now_us()
        response = await _patiently(self._twin.Heartbeat, request)
        self._note(Said.BEAT, asked_us, ((state.lease_token, state.valid) for state in response.lease_states))
        self.say("answered")


class _Inbox:
    """Looks at what passes."""

    def __init__(self, inbox: Inbox, witness: Witness) -> None:
        self._inbox = inbox
        self._witness = witness
        self.cancel = inbox.cancel
        self.lose = inbox.lose
        self.drain = inbox.drain
        self.held = inbox.held
        self.refuse = inbox.refuse

    def assign(self, assignments: Sequence[Assignment]) -> None:
        """See `Inbox`."""
        self._witness.taken(assignments)
        self._inbox.assign(assignments)

    def renewed(self, welcome: Welcome, states: Sequence[LeaseState]) -> None:
        """See `Inbox`."""
        self._witness.came_back(states)
        self._inbox.renewed(welcome, states)


async def _patiently(method: Any, request: Any) -> Any:
    """Call until there is an answer: these calls are safe to repeat."""
    while True:
        try:
            return await method(request, timeout=10, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _NO_ANSWER:
                raise


def now_us() -> int:
    """The machine's clock, which is where the store's starts."""
    return time.time_ns() // 1000
