"""One Work stream, from its hello to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import DecodeError

from jobwire._status import Place, error_from
from jobwire.v1 import worker_service_pb2 as pb
from jobwire.worker.alarm import within
from jobwire.worker.clock import Clock
from jobwire.worker.stream.convert import (
    ack_of,
    assignment_of,
    cancel_order_of,
    lease_state_of,
    seconds_of,
)
from jobwire.worker.stream.ending import Ending
from jobwire.worker.stream.outbox import Outbox
from jobwire.worker.transport import Ack, AckCode, Inbox, LeaseState, LeaseUpdate, Outcome, Token

_log = logging.getLogger("jobwire.worker")

SILENCE_SECONDS = 45.0
"""A server that sends no frame for so long is gone, whatever the connection says."""

_METHOD = "/jobwire.v1.WorkerService/Work"


class Link:
    """Carries frames until its stream is over; then everything that waits for an answer gets a ConnectionError.

    One task reads, one writes, one listens for silence. No read ever has a timeout: gRPC would take it for the end of
    the call.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        place: Place,
        *,
        inbox: Inbox,
        clock: Clock,
        on_welcome: Callable[[pb.WorkerWelcome], None],
    ) -> None:
        """`on_welcome` is called before anything else of the stream is delivered."""
        loop = asyncio.get_running_loop()
        self._call: Any = channel.stream_stream(
            _METHOD, request_serializer=pb.WorkRequest.SerializeToString, response_deserializer=_frame_of
        )()
        self._place = place
        self._inbox = inbox
        self._clock = clock
        self._on_welcome = on_welcome
        self._outbox = Outbox(self._refuse)
        self._wake = asyncio.Event()
        self._updating = asyncio.Lock()
        self._unacked: dict[Token, _Batch[Ack]] = {}
        self._unanswered: dict[Token, _Batch[LeaseState]] = {}
        self._heard_at = clock.monotonic()
        self._answer_seconds = SILENCE_SECONDS
        self._leaving = False
        self.takes_work = True
        """False: assignments that still arrive are dropped; the server knows that they were never received."""
        self.welcome: asyncio.Future[None] = loop.create_future()
        """Done when the server has taken the worker in."""
        self.over: asyncio.Future[Ending] = loop.create_future()
        """Done as soon as nothing will be delivered any more."""
        self.notice: asyncio.Future[pb.DrainNotice] = loop.create_future()
        """Done when the server wants the stream gone."""

    # For the transport.

    @property
    def is_replaced(self) -> bool:
        """Whether the server has another stream in this one's place."""
        return self.notice.done() and self.notice.result().reason == "REPLACED"

    def ending(self) -> Ending:
        """Why this stream is over, or soon will be."""
        ending = self.over.result() if self.over.done() else None
        if not self.notice.done():
            assert ending is not None
            return ending
        notice = self.notice.result()
        wish_seconds = seconds_of(notice.reconnect_delay)
        if ending is None:
            return Ending(f"The server wants the stream gone ({notice.reason}).", None, wish_seconds)
        return ending._replace(wish_seconds=max(wish_seconds, ending.wish_seconds))

    async def run(self, hello: pb.WorkerHello) -> None:
        """Carry the stream to its end, which `over` tells."""
        helpers = [asyncio.create_task(self._write(hello)), asyncio.create_task(self._listen_for_silence())]
        try:
            self._end(await self._read())
        finally:
            self.cut("the stream was given up")
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)

    async def report(self, outcomes: Sequence[tuple[Token, Outcome | None]]) -> list[Ack]:
        """Send outcomes (None: the process died) and wait for the acks, in the same order. Raises ConnectionError."""
        self._check()
        batch: _Batch[Ack] = _Batch(self._unacked, [token for token, _ in outcomes])
        self._outbox.add_outcomes(outcomes)
        self._wake.set()
        await batch.complete
        return batch.answers()

    async def update(self, updates: Sequence[LeaseUpdate]) -> list[LeaseState]:
        """Send lease updates and wait for the answers, in the same order; one call at a time, so that an answer
        belongs to the update before it. Raises ConnectionError, also when the server does not answer within a
        heartbeat interval: it need not while its store is away."""
        async with self._updating:
            self._check()
            batch: _Batch[LeaseState] = _Batch(self._unanswered, [update.token for update in updates])
            self._outbox.add_updates(updates)
            self._wake.set()
            try:
                if not await within(self._clock, self._answer_seconds, batch.complete):
                    raise ConnectionError(f"the server did not answer within {self._answer_seconds:g} s")
                return batch.answers()
            finally:
                self._unanswered.clear()

    def resize(self, window: int) -> None:
        """Tell the credit window."""
        self._outbox.set_window(window)
        self._wake.set()

    def leave(self) -> None:
        """Say what is left to say, then half-close; the server acks everything and ends the stream."""
        self.takes_work = False
        self._leaving = True
        self._wake.set()

    def cut(self, why: str) -> None:
        """End it now."""
        self._end(Ending(why))
        self._call.cancel()

    def _check(self) -> None:
        if self.over.done():
            raise ConnectionError(self.over.result().why)

    def _end(self, ending: Ending) -> None:
        if self.over.done():
            return
        self.over.set_result(ending)
        batches: set[_Batch[Any]] = {*self._unacked.values(), *self._unanswered.values()}
        for batch in batches:
            batch.fail(ending.why)
        self._unacked.clear()
        self._unanswered.clear()

    # The writer.

    async def _write(self, hello: pb.WorkerHello) -> None:
        try:
            await self._call.write(pb.WorkRequest(hello=hello))
            while self._outbox or not self._leaving:
                if self._outbox:
                    await self._call.write(self._outbox.frame())
                else:
                    self._wake.clear()
                    await self._wake.wait()
            await self._call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the stream is over, and the reader knows why
        except Exception as error:  # noqa: BLE001 (without its writer a stream is of no use)
            _log.exception("Writing to the Work stream failed.")
            self.cut(f"a frame could not be written: {error!r}")

    def _refuse(self, token: Token, text: str) -> None:
        """Answer an outcome in the server's place."""
        if (batch := self._unacked.pop(token, None)) is not None:
            batch.answer(token, Ack(token, AckCode.INVALID, text))

    # The reader.

    async def _read(self) -> Ending:
        try:
            while (frame := await self._call.read()) is not grpc.aio.EOF:
                if self.over.done():
                    break
                self._heard_at = self._clock.monotonic()
                if (fault := self._take(frame)) is not None:
                    return Ending(fault)
            return Ending("The server ended the stream.")
        except grpc.RpcError as failure:
            return self._ending_of(failure)
        except asyncio.CancelledError:
            if self.over.done():
                return self.over.result()
            raise
        except Exception as error:  # noqa: BLE001 (whatever it was, the stream must not look alive without its reader)
            _log.exception("Reading the Work stream failed.")
            return Ending(f"A frame could not be taken in: {error!r}.")

    def _ending_of(self, failure: Any) -> Ending:
        metadata = failure.trailing_metadata() or ()
        error = error_from(failure.code().name, failure.details() or "", metadata, self._place)
        return Ending(error.message, error, 0.0 if error.retry_after is None else error.retry_after.total_seconds())

    def _take(self, frame: pb.WorkResponse | None) -> str | None:
        """Deliver a frame. Returns what is wrong with it, if anything."""
        if frame is None:
            return "The server sent a frame that cannot be read."
        if frame.HasField("welcome") is self.welcome.done():
            return "The server's first frame has no welcome, or a later one has."
        if not self.welcome.done():
            self._welcomed(frame.welcome)
        self._take_acks(frame.outcome_acks)
        self._take_states(frame.lease_states)
        if frame.assignments and self.takes_work:
            self._inbox.assign([assignment_of(message) for message in frame.assignments])
        if frame.cancel_orders:
            self._inbox.cancel([cancel_order_of(message) for message in frame.cancel_orders])
        if frame.ping_id:
            self._outbox.echo(frame.ping_id)
            self._wake.set()
        if frame.HasField("drain") and not self.notice.done():
            self.notice.set_result(frame.drain)
        return None

    def _welcomed(self, welcome: pb.WorkerWelcome) -> None:
        self.welcome.set_result(None)
        self._answer_seconds = seconds_of(welcome.heartbeat_interval) or SILENCE_SECONDS
        if welcome.max_frame_bytes > 0:
            self._outbox.max_item_bytes = welcome.max_frame_bytes
        self._on_welcome(welcome)

    def _take_acks(self, messages: Sequence[pb.OutcomeAck]) -> None:
        unacked = self._unacked
        for message in messages:
            ack = ack_of(message)
            if (batch := unacked.pop(ack.token, None)) is not None:
                batch.answer(ack.token, ack)

    def _take_states(self, messages: Sequence[pb.LeaseState]) -> None:
        """Answers to updates, and what the server says of leases by itself."""
        lost: list[Token] = []
        for message in messages:
            state = lease_state_of(message)
            if (batch := self._unanswered.pop(state.token, None)) is not None:
                batch.answer(state.token, state)
            elif not state.valid:
                lost.append(state.token)
        if lost:
            self._inbox.lose(lost)

    async def _listen_for_silence(self) -> None:
        while (left := self._heard_at + SILENCE_SECONDS - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)
        self.cut(f"The server was silent for {SILENCE_SECONDS:g} s.")


A = TypeVar("A", Ack, LeaseState)


class _Batch(Generic[A]):
    """One answer for each of some tokens."""

    def __init__(self, waiting: dict[Token, _Batch[A]], tokens: Sequence[Token]) -> None:
        """Enters itself in `waiting`; whoever gives an answer takes it out there."""
        self._tokens = tokens
        self._answers: dict[Token, A] = {}
        waiting.update(dict.fromkeys(tokens, self))
        self._wanted = len(set(tokens))
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when every token has its answer; a ConnectionError when the stream ended before."""
        if not tokens:
            self.complete.set_result(None)

    def answer(self, token: Token, answer: A) -> None:
        self._answers[token] = answer
        if len(self._answers) == self._wanted and not self.complete.done():
            self.complete.set_result(None)

    def fail(self, why: str) -> None:
        if not self.complete.done():
            self.complete.set_exception(ConnectionError(why))

    def answers(self) -> list[A]:
        """All of them, in the order of the tokens."""
        return [self._answers[token] for token in self._tokens]


def _frame_of(data: bytes) -> pb.WorkResponse | None:
    """Parse a frame; None when it is none: an exception here would be gRPC's, and say nothing."""
    try:
        return pb.WorkResponse.FromString(data)
    except DecodeError:
        return None
