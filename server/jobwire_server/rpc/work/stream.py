"""One Work stream: frames in, frames out, and the order of its end.

One task reads, one writes (the handler's own: two writers at once would leave the worker without a status for ever),
one keeps the time. The reader never waits for the writer, but for its bound: what has gathered while the last frame was
on its way, or the last commit, goes into the next frame. There is no timer in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from jobwire.v1 import worker_service_pb2 as pb
from jobwire_server.dispatch.roster import Hello, Presence, Roster, WorkerName, WorkerReplaced
from jobwire_server.dispatch.session import Run, WorkerSession
from jobwire_server.dispatch.settings import HEARTBEATS_PER_LEASE, DispatchSettings
from jobwire_server.domain.errors import (
    Draining,
    JobwireError,
    LeaseTokenMalformed,
    ProtocolViolation,
    Unavailable,
    WorkerSilent,
)
from jobwire_server.domain.job import SECOND_US
from jobwire_server.domain.worker_rules import lease_within
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Chance, wait_any
from jobwire_server.rpc.calls import UNDECODABLE, Stream, too_large
from jobwire_server.rpc.convert.hello import hello_fields, interest_of
from jobwire_server.rpc.convert.records import record
from jobwire_server.rpc.work.desk import Desk, TokenReport
from jobwire_server.store.base import Lease, LeaseState, Transport

HELLO_SECONDS: Final = 10.0
PING_SECONDS: Final = 15.0
"""A frame goes out at least this often; a worker that sees none for three times as long connects again."""
SILENT_INTERVALS: Final = 3
"""A worker that says nothing for so many heartbeat intervals is taken for gone."""
FAREWELL_SECONDS: Final = 30.0
"""An old stream stays this long after its drain notice, for the new one to be opened beside it."""
RECONNECT_SECONDS: Final = 1.0
"""Workers that are asked to connect again do so within this time, spread at random."""
_FRAMES_IN_HAND: Final = 64
"""Frames whose commits are under way; beyond it the reader waits."""
_RECORDS_WAITING: Final = 20_000
"""Items that wait for the writer; beyond it the reader waits."""
_LOST: Final = LeaseState(False, False, 0)
_CAPABILITIES: Final = ("checkpoints", "follow_ups", "abandoned")


class WorkStream:
    """Serves one stream; the dispatcher's and the roster's way to its worker (`Peer`)."""

    def __init__(
        self,
        desk: Desk,
        roster: Roster,
        *,
        transport: Transport,
        settings: DispatchSettings,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._desk = desk
        self._roster = roster
        self._transport = transport
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._records: deque[bytes] = deque()
        self._bell = asyncio.Event()
        self._room = asyncio.Event()
        self._tokens: dict[bytes, Run] = {}
        self._presence: Presence | None = None
        self._session: WorkerSession | None = None
        self._greeted = asyncio.Event()
        self._heard_at = clock.monotonic()
        self._pings = 0
        self._in_hand = 0
        self._hung_up = False
        """The worker half-closed: it has said everything."""
        self._leaving: Unavailable | None = None
        self._finishing = False
        self._fault: JobwireError | None = None

    async def serve(self, requests: AsyncIterator[bytes], stream: Stream) -> None:
        """Serve until either side ends it. Raises the `JobwireError` that the worker is to be told."""
        stream.on_end(self._leave)
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = (
                    tasks.create_task(self._read(requests, tasks), name="work-read"),
                    tasks.create_task(self._keep_time(), name="work-time"),
                )
                fault = await self._write(stream)
                for helper in helpers:
                    helper.cancel()
            if fault is not None:
                raise fault
        finally:
            if self._presence is not None:
                self._roster.leave(self._presence)

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read(self, requests: AsyncIterator[bytes], tasks: asyncio.TaskGroup) -> None:
        try:
            async for raw in requests:
                self._heard_at = self._clock.monotonic()
                if self._presence is not None:
                    self._presence.seen_at = self._heard_at
                if len(raw) > self._desk.limits.message_bytes:
                    raise too_large(len(raw), self._desk.limits.message_bytes)
                frame = pb.WorkRequest.FromString(raw)
                await self._hear(frame, tasks)
                while self._in_hand >= _FRAMES_IN_HAND or len(self._records) >= _RECORDS_WAITING:
                    self._room.clear()
                    await self._room.wait()
        except WorkerReplaced:
            self.replaced()
        except DecodeError:
            self._fault = UNDECODABLE
        except JobwireError as error:
            self._fault = error
        self._hung_up = True
        self._bell.set()

    async def _hear(self, frame: pb.WorkRequest, tasks: asyncio.TaskGroup) -> None:
        if not self._greeted.is_set():
            if not frame.HasField("hello"):
                raise ProtocolViolation("The first frame of a Work stream must have hello.")
            self._greeted.set()
            await self._greet(frame.hello)
        elif frame.HasField("hello"):
            raise ProtocolViolation("hello belongs into the first frame of a Work stream, and only there.")
        session = self._session
        if session is None:
            return
        if frame.HasField("max_in_flight"):
            self._resize(session, frame.max_in_flight)
        updates, outcomes = frame.lease_updates, frame.outcomes
        if len(updates) + len(outcomes) > self._desk.limits.frame_items:
            raise ProtocolViolation(
                f"A frame holds at most {self._desk.limits.frame_items} outcomes and lease updates, "
                f"not {len(updates) + len(outcomes)}: send more frames."
            )
        if updates or outcomes:
            self._in_hand += 1
            tasks.create_task(self._settle(session, updates, outcomes), name="work-settle")

    async def _greet(self, hello: pb.WorkerHello) -> None:
        fields = hello_fields(hello, self._desk.limits)
        lease_us = lease_within(fields.lease_us, self._settings.lease_us, self._desk.limits)
        held: dict[bytes, Run] = {}
        for token in hello.held_lease_tokens:
            try:
                held[token] = self._desk.tokens.unseal(token)
            except LeaseTokenMalformed:
                continue
        name = WorkerName(fields.worker_id, fields.instance_id, fields.user_agent)
        presence, states = await self._roster.join(
            Hello(name, interest_of(fields), lease_us, fields.max_in_flight_bytes, list(held.values())),
            self,
            self._transport,
        )
        self._presence, self._session = presence, presence.session
        self._tokens = held
        welcome = pb.WorkerWelcome(
            session_id=f"{int(self._chance() * 2**48):012x}",
            max_frame_bytes=self._desk.limits.message_bytes,
            capabilities=_CAPABILITIES,
        )
        welcome.lease_duration.FromMicroseconds(lease_us)
        welcome.heartbeat_interval.FromMicroseconds(lease_us // HEARTBEATS_PER_LEASE)
        by_token = dict(zip(held, states, strict=True))
        for token in hello.held_lease_tokens:
            welcome.leases.append(self._desk.state_message(token[:64], by_token.get(token, _LOST)))
        # Before anything that the session may have put there already: the first answer is the welcome.
        self._records.appendleft(pb.WorkResponse(welcome=welcome).SerializeToString())
        self._bell.set()
        if presence.session is not None and not self._leaving:
            presence.session.resize(fields.max_in_flight)

    def _resize(self, session: WorkerSession, window: int) -> None:
        if not 0 <= window <= self._desk.limits.max_in_flight:
            raise ProtocolViolation(f"max_in_flight must be 0 to {self._desk.limits.max_in_flight}, not {window}.")
        if not self._leaving:
            session.resize(window)

    async def _settle(
        self, session: WorkerSession, updates: Sequence[pb.LeaseUpdate], outcomes: Sequence[pb.Outcome]
    ) -> None:
        """Apply a frame: its lease updates first, so that no outcome overtakes its checkpoint."""
        try:
            if updates:
                await self._extend(session, updates)
            if outcomes:
                await self._report(session, outcomes)
        finally:
            self._in_hand -= 1
            self._room.set()
            self._bell.set()

    async def _extend(self, session: WorkerSession, updates: Sequence[pb.LeaseUpdate]) -> None:
        try:
            states = await self._desk.extend(updates, session.extend)
        except JobwireError as error:
            if isinstance(error, Unavailable):
                return  # not answered: the worker names its leases again, and counts on none until then
            self._fault = error
            return
        for state in states:
            self._records.append(record(4, state.SerializeToString()))

    async def _report(self, session: WorkerSession, outcomes: Sequence[pb.Outcome]) -> None:
        read = [self._desk.read(outcome, self._tokens) for outcome in outcomes]
        reports = [each for each in read if isinstance(each, TokenReport)]
        self._records.extend(each for each in read if isinstance(each, bytes))
        if reports:
            self._records.extend(await self._desk.record(reports, session.report))
            # A token that comes again, since its report was refused, is as good as before: it proves itself.
            forget = self._tokens.pop
            for token, _ in reports:
                forget(token, None)

    # --- writing ------------------------------------------------------------------------------------------------

    async def _write(self, stream: Stream) -> JobwireError | None:
        """Send frames until the stream is over; returns what the worker is to be told, None = OK."""
        while True:
            while self._records and self._fault is None:
                await stream.write(self._next_frame())
                self._room.set()
            if self._is_over():
                return self._fault or (None if self._hung_up else self._leaving)
            self._bell.clear()
            await self._bell.wait()

    def _next_frame(self) -> bytes:
        """As many records as a frame may hold; at least one, whatever its size."""
        limits, records = self._desk.limits, self._records
        frame = [records.popleft()]
        size = len(frame[0])
        while records and len(frame) < limits.frame_items and size + len(records[0]) <= limits.frame_bytes:
            frame.append(records.popleft())
            size += len(frame[-1])
        return b"".join(frame)

    def _is_over(self) -> bool:
        if self._fault is not None:
            return True
        if self._in_hand:
            return False
        if self._hung_up or self._finishing:
            return True
        # A server that goes away lets its workers go as soon as they have nothing left to report.
        idle = self._session is None or not self._session.runs
        return isinstance(self._leaving, Draining) and idle

    # --- the end ------------------------------------------------------------------------------------------------

    def _leave(self, reason: Unavailable) -> None:
        """Asked to end: at first by a notice, the second time for good."""
        if self._leaving is not None or self._session is None:
            self._finishing = True
        else:
            self._session.resize(0)
            self._notice(reason.reason)
        self._leaving = self._leaving or reason
        self._bell.set()

    def _notice(self, reason: str) -> None:
        notice = pb.DrainNotice(reason=reason)
        notice.reconnect_delay.FromMicroseconds(round(self._chance() * RECONNECT_SECONDS * SECOND_US))
        notice.time_left.FromMicroseconds(round(FAREWELL_SECONDS * SECOND_US))
        self._records.append(pb.WorkResponse(drain=notice).SerializeToString())

    async def _keep_time(self) -> None:
        """Ping, and notice silence and an overdue farewell."""
        await wait_any(self._greeted, seconds=HELLO_SECONDS, clock=self._clock)
        if not self._greeted.is_set():
            self._break(ProtocolViolation(f"No frame with hello came within {HELLO_SECONDS:g} s."))
        ends_at: float | None = None
        while True:
            interval = self._heartbeat_seconds()
            await self._clock.sleep(min(PING_SECONDS, interval))
            now = self._clock.monotonic()
            if now - self._heard_at > SILENT_INTERVALS * interval:
                self._break(
                    WorkerSilent(
                        f"Nothing was heard of the worker for {now - self._heard_at:.1f} s: connect again with the "
                        "leases that it holds."
                    )
                )
            if self._leaving is not None:
                ends_at = ends_at if ends_at is not None else now + FAREWELL_SECONDS
                self._finishing = self._finishing or now >= ends_at
            self._pings += 1
            self._records.append(pb.WorkResponse(ping_id=self._pings).SerializeToString())
            self._bell.set()

    def _heartbeat_seconds(self) -> float:
        lease_us = self._session.lease_us if self._session is not None else self._settings.lease_us
        return lease_us / SECOND_US / HEARTBEATS_PER_LEASE

    def _break(self, error: JobwireError) -> None:
        if self._session is not None:
            self._session.resize(0)
        self._fault = self._fault or error
        self._bell.set()

    # --- what the dispatcher and the roster say (Peer) ----------------------------------------------------------

    def assign(self, leases: Sequence[Lease]) -> None:
        """See `Holder`."""
        tokens, records = self._tokens, self._records
        for lease, (token, encoded) in zip(leases, self._desk.assignments(leases), strict=True):
            tokens[token] = (lease.key, lease.fence)
            records.append(record(2, encoded))
        self._bell.set()

    def cancel(self, runs: Sequence[Run], grace_seconds: float) -> None:
        """See `Holder`."""
        for run in runs:
            held = self._session.runs.get(run) if self._session is not None else None
            order = pb.CancelOrder(
                lease_token=self._desk.tokens.seal(*run), job_id="" if held is None else held.lease.job_id
            )
            order.grace.FromMicroseconds(round(grace_seconds * SECOND_US))
            self._records.append(record(5, order.SerializeToString()))
        self._bell.set()

    def lose(self, runs: Sequence[Run]) -> None:
        """See `Holder`."""
        for run in runs:
            token = self._desk.tokens.seal(*run)
            self._tokens.pop(token, None)
            self._records.append(record(4, self._desk.state_message(token, _LOST).SerializeToString()))
        self._bell.set()

    def drain(self, reason: str) -> None:
        """See `Holder`. The gate says the same, and knows why."""

    def replaced(self) -> None:
        """See `Peer`."""
        self._notice("REPLACED")
        self._hung_up = True
        self._bell.set()
