"""What every call goes through: a name for the log, size, admission, deadline, and one place where errors become
statuses.

Handlers take and return bytes: a request that cannot be decoded is refused like any other bad request, instead of
being answered by gRPC with the text of the exception. No handler ever calls `abort`: an AbortError is an Exception
that any `except Exception` on its way would swallow, so a refusal is set on the context and the handler returns.
A CancelledError is always raised on; what was handed to the store by then is carried out all the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from jobwire_server.domain.errors import (
    DeadlineTooShort,
    FieldInvalid,
    JobwireError,
    PayloadTooLarge,
    Unavailable,
    Violation,
)
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.telemetry import Log, LogEvent, mark_call
from jobwire_server.rpc.gate import Gate, OpenStream
from jobwire_server.rpc.settings import RpcSettings
from jobwire_server.rpc.status import Refusal, internal_refusal, refusal_of

# Strings, since grpc's classes are generic for the type checker only.
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
UnaryMethod = Callable[[bytes, float | None], Awaitable[bytes]]
"""(request, seconds left of the caller's deadline or None) → response."""
StreamMethod = Callable[[bytes, "Stream"], Awaitable[None]]
BidiMethod = Callable[[AsyncIterator[bytes], "Stream"], Awaitable[None]]

UNDECODABLE: Final = FieldInvalid([Violation("request", "its bytes are not a message of this type")])


REQUEST_ID_KEY: Final = "x-request-id"
"""Metadata in which a caller may name its call; the name is in the log, and in the answer to a bug."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


class BareStatus(Exception):
    """Raised by the services that are not ours (health) to end a call with a bare status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(code, message, ())


class _Caller:
    """One call, as the log names it: by the caller's own id when it has sent a well-formed one, else by one made here.
    Nothing of it is done before somebody asks."""

    __slots__ = ("_chance", "_context", "_id")

    def __init__(self, context: Context, chance: Callable[[], float]) -> None:
        self._context = context
        self._chance = chance
        self._id = ""

    def __call__(self) -> str:
        if not self._id:
            given = dict(self._context.invocation_metadata() or ()).get(REQUEST_ID_KEY, "")
            known = isinstance(given, str) and _REQUEST_ID.fullmatch(given)
            self._id = str(given) if known else _made_id(self._chance)
        return self._id


def _made_id(chance: Callable[[], float]) -> str:
    return f"{int(chance() * 2**48):012x}"


class Stream:
    """The writing side of one stream. Exactly one task writes."""

    def __init__(self, context: Context, admitted: OpenStream, clock: Clock) -> None:
        self._context = context
        self._admitted = admitted
        self._clock = clock
        self._task = asyncio.current_task()
        self.interrupted_by: JobwireError | None = None
        admitted.on_end = self._interrupt
        admitted.on_stall = self._interrupt

    def on_end(self, finish: Callable[[Unavailable], None]) -> None:
        """Call `finish` when the stream is to end soon. Without it the method is interrupted where it stands."""
        self._admitted.on_end = finish

    async def write(self, message: bytes) -> None:
        """Send one message. Returns when the transport has taken it, which does not mean that anybody has read it."""
        self._admitted.writing_since = self._clock.monotonic()
        await self._context.write(message)
        self._admitted.writing_since = None

    def _interrupt(self, reason: JobwireError) -> None:
        if self.interrupted_by is None and self._task is not None:
            self.interrupted_by = reason
            self._task.cancel()

    def was_interrupted(self) -> JobwireError | None:
        """Return the reason if the cancellation that is being handled was ours and nobody else's."""
        if self.interrupted_by is None or self._task is None or self._task.uncancel() > 0:
            return None
        return self.interrupted_by


class Calls:
    """Makes handlers out of methods, each wrapped once."""

    def __init__(
        self,
        gate: Gate,
        settings: RpcSettings,
        *,
        message_bytes: int,
        clock: Clock,
        chance: Callable[[], float],
        log: Log,
    ) -> None:
        self._gate = gate
        self._settings = settings
        self._message_bytes = message_bytes
        self._clock = clock
        self._chance = chance
        self._log = log

    def unary(self, name: str, method: UnaryMethod) -> Handler:
        """Wrap a method that answers one request with one response."""
        gate, min_seconds, chance, most = (
            self._gate,
            self._settings.min_deadline_seconds,
            self._chance,
            self._message_bytes,
        )

        async def handle(request: bytes, context: Context) -> bytes:
            caller = _Caller(context, chance)
            mark_call(caller)
            size = len(request)
            if size > most:
                return _end(context, refusal_of(too_large(size, most)))
            refused = gate.take_call(size)
            if refused is not None:
                return _end(context, refusal_of(refused))
            try:
                left = _seconds_left(context)
                if left is not None and left < min_seconds:
                    return _end(context, refusal_of(_too_short(left)))
                return await method(request, left)
            except JobwireError as error:
                return _end(context, refusal_of(error))
            except DecodeError:
                return _end(context, refusal_of(UNDECODABLE))
            except Exception as error:  # noqa: BLE001 - the last line of defence: nothing of it may reach the wire
                return _end(context, self._internal(name, error, caller))
            finally:
                gate.end_call(size)

        return grpc.unary_unary_rpc_method_handler(handle)

    def ungated_unary(self, name: str, method: Callable[[bytes], Awaitable[bytes]]) -> Handler:
        """Wrap a method that also answers while the server starts and drains."""

        async def handle(request: bytes, context: Context) -> bytes:
            caller = _Caller(context, self._chance)
            mark_call(caller)
            try:
                return await method(request)
            except BareStatus as error:
                return _end(context, error.refusal)
            except DecodeError:
                return _end(context, refusal_of(UNDECODABLE))
            except Exception as error:  # noqa: BLE001 - as above
                return _end(context, self._internal(name, error, caller))

        return grpc.unary_unary_rpc_method_handler(handle)

    def server_stream(self, name: str, method: StreamMethod) -> Handler:
        """Wrap a method that answers one request with many responses."""

        async def handle(request: bytes, context: Context) -> None:
            if len(request) > self._message_bytes:
                _end(context, refusal_of(too_large(len(request), self._message_bytes)))
                return
            await self._run_stream(name, context, self._gate.stream(), lambda stream: method(request, stream))

        return grpc.unary_stream_rpc_method_handler(handle)

    def ungated_server_stream(self, name: str, method: StreamMethod) -> Handler:
        """As `server_stream`, also while the server starts and drains."""

        async def handle(request: bytes, context: Context) -> None:
            await self._run_stream(name, context, self._gate.open_stream(), lambda stream: method(request, stream))

        return grpc.unary_stream_rpc_method_handler(handle)

    def bidi(self, name: str, method: BidiMethod) -> Handler:
        """Wrap a method that reads and writes streams."""

        async def handle(requests: AsyncIterator[bytes], context: Context) -> None:
            await self._run_stream(name, context, self._gate.stream(), lambda stream: method(requests, stream))

        return grpc.stream_stream_rpc_method_handler(handle)

    def ungated_bidi(self, name: str, method: BidiMethod) -> Handler:
        """Wrap a method that reads and writes streams, also while the server starts and drains."""

        async def handle(requests: AsyncIterator[bytes], context: Context) -> None:
            await self._run_stream(name, context, self._gate.open_stream(), lambda stream: method(requests, stream))

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _run_stream(
        self,
        name: str,
        context: Context,
        admission: AbstractContextManager[OpenStream],
        run: Callable[[Stream], Awaitable[None]],
    ) -> None:
        caller = _Caller(context, self._chance)
        mark_call(caller)
        try:
            with admission as admitted:
                # Sent before any work, so that the caller can see that the stream is up.
                await context.send_initial_metadata(())
                stream = Stream(context, admitted, self._clock)
                try:
                    await run(stream)
                except asyncio.CancelledError:
                    reason = stream.was_interrupted()
                    if reason is None:
                        raise
                    _end(context, refusal_of(reason))
        except JobwireError as error:
            _end(context, refusal_of(error))
        except BareStatus as error:
            _end(context, error.refusal)
        except DecodeError:
            _end(context, refusal_of(UNDECODABLE))
        except grpc.aio.InternalError as error:
            # A write to a caller who has just gone: nobody is left to be told, and nothing is wrong with us.
            self._log.debug("rpc.caller_gone", method=name, error=str(error))
        except Exception as error:  # noqa: BLE001 - the last line of defence, as for unary calls
            _end(context, self._internal(name, error, caller))

    def _internal(self, name: str, error: Exception, caller: _Caller) -> Refusal:
        error_id = _made_id(self._chance)
        self._log.error(LogEvent.RPC_FAILED, method=name, error_id=error_id, exc_info=error)
        return internal_refusal(error_id, caller())


def too_large(size: int, most: int) -> PayloadTooLarge:
    """Return the refusal of a message over the limit."""
    return PayloadTooLarge(
        f"The request has {size:,} bytes, the most is {most:,}: send less in one call.", limit=most, actual=size
    )


def _end(context: Context, refusal: Refusal) -> bytes:
    context.set_code(refusal.code)
    context.set_details(refusal.message)
    context.set_trailing_metadata(refusal.trailers)
    return b""


def _seconds_left(context: Context) -> float | None:
    """Return what is left of the caller's deadline, None when there is none (whatever the stubs of grpc say)."""
    return context.time_remaining()


def _too_short(left: float) -> DeadlineTooShort:
    return DeadlineTooShort(
        f"Only {max(left, 0) * 1000:.1f} ms were left when the call arrived; nothing was done. Use a longer deadline."
    )
