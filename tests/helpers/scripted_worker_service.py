"""A real grpc.aio server whose WorkerService says exactly what a test tells it to, stream by stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from jobwire.v1 import worker_service_pb2 as pb
from tests.helpers.rich_status import details_of

LEASE_SECONDS = 30
HEARTBEAT_SECONDS = 10


class ScriptedStream:
    """The server's end of one Work stream."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._ending: asyncio.Future[Callable[[], Any]] = asyncio.get_running_loop().create_future()
        self._heard = asyncio.Event()
        self.frames: list[pb.WorkRequest] = []
        """What the worker said, the hello's frame included."""
        self.half_closed = False
        self.gone = False
        """The worker cut it, or both sides are through."""

    @property
    def hello(self) -> pb.WorkerHello:
        return self.frames[0].hello

    @property
    def outcomes(self) -> list[pb.Outcome]:
        return [outcome for frame in self.frames for outcome in frame.outcomes]

    @property
    def updates(self) -> list[pb.LeaseUpdate]:
        return [update for frame in self.frames for update in frame.lease_updates]

    @property
    def pongs(self) -> list[int]:
        return [frame.pong_id for frame in self.frames if frame.pong_id]

    @property
    def windows(self) -> list[int]:
        return [frame.max_in_flight for frame in self.frames if frame.HasField("max_in_flight")]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until what the worker said makes this true."""
        while not holds():
            self._heard.clear()
            await self._heard.wait()

    async def send(self, **fields: Any) -> None:
        """Say one frame."""
        await self.send_bytes(pb.WorkResponse(**fields).SerializeToString())

    async def send_bytes(self, data: bytes) -> None:
        """Say what need not be a frame."""
        await self._context.write(data)

    async def welcome(self, leases: Sequence[pb.LeaseState] = (), **more: Any) -> None:
        """Take the worker in; `more`: other fields of the same frame."""
        welcome = pb.WorkerWelcome(session_id="s", leases=leases, max_frame_bytes=4 << 20)
        welcome.lease_duration.seconds = LEASE_SECONDS
        welcome.heartbeat_interval.seconds = HEARTBEAT_SECONDS
        await self.send(welcome=welcome, **more)

    async def ack(self, *outcomes: pb.Outcome, code: int = pb.OUTCOME_CODE_RECORDED) -> None:
        """Answer these, in one frame."""
        await self.send(outcome_acks=[pb.OutcomeAck(lease_token=one.lease_token, code=code) for one in outcomes])  # type: ignore[arg-type]

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK, reason: str = "", message: str = "", **more: Any) -> None:
        """End it: well, or with an error (`reason` empty: as a transport or a proxy would)."""

        async def abort() -> None:
            if reason:
                self._context.set_trailing_metadata(details_of(code, reason, message, **more))
            await self._context.abort(code, message)

        async def nothing() -> None:
            pass

        self._ending.set_result(nothing if code is grpc.StatusCode.OK else abort)

    async def serve(self, requests: AsyncIterator[bytes]) -> None:
        reader = asyncio.create_task(self._read(requests))
        try:
            await (await self._ending)()
        finally:
            self.gone = True
            self._heard.set()
            reader.cancel()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        async for data in requests:
            self.frames.append(pb.WorkRequest.FromString(data))
            self._heard.set()
        self.half_closed = True
        self._heard.set()


class ScriptedWorkerService:
    """Listens on a Unix socket; `start` and `stop` as often as a test likes."""

    def __init__(self, socket: Path) -> None:
        self.address = f"unix:{socket}"
        self.streams: list[ScriptedStream] = []
        self._unseen: asyncio.Queue[ScriptedStream] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def stream(self) -> ScriptedStream:
        """Wait for the next stream, and its hello."""
        stream = await self._unseen.get()
        await stream.until(lambda: bool(stream.frames))
        return stream

    def has_stream(self) -> bool:
        """Whether `stream` has one that nobody saw."""
        return not self._unseen.empty()

    async def welcomed(self) -> ScriptedStream:
        """Wait for the next stream, and take its worker in."""
        stream = await self.stream()
        await stream.welcome()
        return stream

    async def start(self, *, knows_work: bool = True) -> None:
        """Listen."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
        handler = grpc.stream_stream_rpc_method_handler(self._work)
        if knows_work:
            service = grpc.method_handlers_generic_handler("jobwire.v1.WorkerService", {"Work": handler})
            self._server.add_generic_rpc_handlers((service,))
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        """Break everything off, as a crash would."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    async def _work(self, requests: AsyncIterator[bytes], context: Any) -> None:
        stream = ScriptedStream(context)
        self.streams.append(stream)
        self._unseen.put_nowait(stream)
        await stream.serve(requests)
