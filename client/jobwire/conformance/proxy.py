"""The proxy between the program and the server: carries every call byte for byte, and does to its frames what a fault
says. On the wire every RPC is a stream of messages each way, so one path serves them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from jobwire._status import Place, error_from
from jobwire.conformance.frames import METHODS, Call, Fate, Frame, Sender
from jobwire.conformance.journal import Journal

Fault = Callable[[Frame], Awaitable[Fate]]
"""Decides what becomes of a frame. It may edit the frame, and may wait: then everything behind it waits, too."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that was started again is found at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.so_reuseport", 0),
    ("grpc.enable_http_proxy", 0),
)
_OWN_HEADERS: Final = frozenset({"user-agent", "content-type", "te"})
"""Headers that each leg of a call has of its own."""


_DETAILS: Final = "grpc-status-details-bin"
_OF_THE_LIBRARY: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""Without details they do not come from the server: gRPC itself lost the connection, and says so in this way."""


class _Cut(Exception):
    """The call is to be cut here."""


class _Ended(Exception):
    """The server has ended the call."""


class _Gone(Exception):
    """The program has gone away from the call."""


async def pass_all(_frame: Frame) -> Fate:
    """No fault."""
    return Fate.FORWARD


class Proxy:
    """Listens on a port of loopback; forwards to `target`. `fault` may be changed at any time."""

    def __init__(self, target: str, journal: Journal, now: Callable[[], float]) -> None:
        self.fault: Fault = pass_all
        self._target = target
        self._journal = journal
        self._now = now
        self._port = 0
        self._listener: grpc.aio.Server | None = None
        self._upstream: Any = None
        self._relays: set[_Relay] = set()

    @property
    def address(self) -> str:
        """Where programs connect to. Known once it was open, and the same each time."""
        return f"127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Listen."""
        self._upstream = grpc.aio.insecure_channel(self._target, _OPTIONS)
        listener = grpc.aio.server(options=_OPTIONS)
        listener.add_generic_rpc_handlers((_AnyMethod(self._carry),))
        self._port = listener.add_insecure_port(f"127.0.0.1:{self._port}")
        await listener.start()
        self._listener = listener  # not before: one that was not started cannot be stopped

    async def close(self) -> None:
        """Stop listening and drop every connection, as a server does that dies. Again is fine."""
        if self._listener is not None:
            await self._listener.stop(None)
            await self._upstream.close()
            self._listener = None

    def cut(self, name: str) -> None:
        """Cut every open call of an RPC."""
        for relay in self._relays:
            if relay.call.name == name:
                relay.cut.set()

    async def inject(self, message: Message) -> None:
        """Send a frame to the program in each open stream of Work, as if it came from the server."""
        for relay in list(self._relays):
            if relay.call.name == "Work":
                await relay.send(message)

    async def _carry(self, path: str, requests: AsyncIterator[bytes], context: Any) -> None:
        call = Call(len(self._journal.calls) + 1, path)
        self._journal.opened(call)
        relay = _Relay(call, context, self._journal, self)
        self._relays.add(relay)
        try:
            await relay.run(requests, self._dial(path, context))
        except asyncio.CancelledError:
            call.end = call.end or "gone"
            raise
        finally:
            self._relays.discard(relay)
            self._journal.note()

    def _dial(self, path: str, context: Any) -> Any:
        headers = [
            (key, value)
            for key, value in context.invocation_metadata()
            if key not in _OWN_HEADERS and not key.startswith("grpc-")
        ]
        return self._upstream.stream_stream(path)(timeout=context.time_remaining(), metadata=headers)

    async def judge(self, frame: Frame) -> Fate:
        """Take a frame down, and let the fault decide."""
        self._journal.came(frame)
        frame.fate = fate = await self.fault(frame)
        self._journal.judged(frame)
        return fate

    def frame(self, call: Call, sender: Sender, data: bytes) -> Frame | None:
        """Read a message; None for what the contract does not know."""
        method = METHODS.get(call.path)
        if method is None:
            return None
        kind = method.request if sender is Sender.PROGRAM else method.response
        try:
            return Frame(call, sender, kind.FromString(data), self._now())
        except DecodeError:  # the server will have its own word for that
            return None


class _AnyMethod(grpc.GenericRpcHandler):
    """Serves every method as a stream of bytes each way."""

    def __init__(self, carry: Callable[[str, AsyncIterator[bytes], Any], Awaitable[None]]) -> None:
        self._carry = carry

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of a method: see grpc."""

        async def handle(requests: AsyncIterator[bytes], context: Any) -> None:
            await self._carry(handler_call_details.method, requests, context)

        return grpc.stream_stream_rpc_method_handler(handle)


class _Relay:
    """One call: two pumps, and a cut."""

    def __init__(self, call: Call, context: Any, journal: Journal, proxy: Proxy) -> None:
        self.call = call
        self.cut = asyncio.Event()
        self.is_gone = False
        self._context = context
        self._journal = journal
        self._proxy = proxy
        self._is_frozen = False
        self._writing = asyncio.Lock()  # two writers in one stream break it

    async def run(self, requests: AsyncIterator[bytes], upstream: Any) -> None:
        """Carry the call to its end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump_up(requests, upstream))
                tasks.create_task(self._pump_down(upstream))
                tasks.create_task(self._wait_for_cut())
        except* _Ended:
            pass
        except* _Cut:
            self.cut.set()
        except* _Gone:
            pass
        finally:
            upstream.cancel()
        async with self._writing:  # the last one may still be on its way
            pass
        if self.is_gone:
            raise asyncio.CancelledError  # as grpc itself says it in most cases
        if self.cut.is_set():
            await self._end(grpc.StatusCode.UNAVAILABLE, "the connection was lost", ())
        else:
            await self._end(await upstream.code(), await upstream.details(), await upstream.trailing_metadata())

    async def send(self, message: Message) -> None:
        """Send a frame of the proxy's own to the program."""
        frame = Frame(self.call, Sender.SERVER, message, 0.0)
        frame.fate = Fate.FORWARD
        with suppress(_Gone):
            await self._write_down(message.SerializeToString())
        self._journal.judged(frame)

    async def _end(self, code: grpc.StatusCode, details: str, trailers: Sequence[tuple[str, str | bytes]]) -> None:
        reason = None
        if code is not grpc.StatusCode.OK:
            reason = error_from(code.name, details or "", trailers or (), Place("", "", self.call.name, None)).code
            if code in _OF_THE_LIBRARY and not any(key == _DETAILS for key, _ in trailers or ()):
                code, details = grpc.StatusCode.UNAVAILABLE, "the connection was lost"
        self.call.end = code.name
        self._journal.ended(self.call, reason)
        if code is not grpc.StatusCode.OK:
            try:
                await self._context.abort(code, details or "", tuple(trailers or ()))
            except grpc.aio.AbortError:
                raise
            except grpc.aio.BaseError as error:
                raise asyncio.CancelledError from error  # it went away this very moment
        self._context.set_trailing_metadata(tuple(trailers or ()))

    async def _wait_for_cut(self) -> None:
        await self.cut.wait()
        raise _Cut

    async def _pump_up(self, requests: AsyncIterator[bytes], upstream: Any) -> None:
        async for data in requests:
            frame = self._proxy.frame(self.call, Sender.PROGRAM, data)
            if frame is not None:
                self.call.asked = frame.message
            for each in await self._passing(frame, data):
                await self._write_up(upstream, each)
        await self._thawed()
        self.call.is_half_closed = True
        self._journal.note()
        await upstream.done_writing()

    @staticmethod
    async def _write_up(upstream: Any, data: bytes) -> None:
        try:
            await upstream.write(data)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await asyncio.Event().wait()  # the call has ended: the other pump learns how

    async def _write_down(self, data: bytes) -> None:
        # A cut must not break a write off in the middle: the program would then never be told of an end.
        await asyncio.shield(self._write_whole(data))
        if self.is_gone:
            raise _Gone

    async def _write_whole(self, data: bytes) -> None:
        async with self._writing:
            try:
                await self._context.write(data)
            except grpc.aio.BaseError:
                self.is_gone = True

    async def _pump_down(self, upstream: Any) -> None:
        try:
            async for data in upstream:
                frame = self._proxy.frame(self.call, Sender.SERVER, data)
                for each in await self._passing(frame, data):
                    await self._write_down(each)
                if frame is not None and frame.fate is Fate.FORWARD_AND_CUT:
                    raise _Cut
        except grpc.aio.AioRpcError:
            pass  # its status is read at the end
        await self._thawed()
        raise _Ended

    async def _passing(self, frame: Frame | None, data: bytes) -> Sequence[bytes]:
        """What is to be written for a message: itself, as often as the fault says."""
        await self._thawed()
        if frame is None:
            return (data,)
        fate = await self._proxy.judge(frame)
        if frame.is_edited:
            data = frame.message.SerializeToString()
        match fate:
            case Fate.CUT:
                raise _Cut
            case Fate.FREEZE:
                self._is_frozen = True
            case Fate.TWICE:
                return (data, data)
            case Fate.FORWARD | Fate.FORWARD_AND_CUT:
                return (data,)
            case Fate.SWALLOW:
                pass
        await self._thawed()
        return ()

    async def _thawed(self) -> None:
        """Go on, unless this call is frozen: then never."""
        if self._is_frozen:
            await asyncio.Event().wait()
