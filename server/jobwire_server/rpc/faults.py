"""What a test may do to calls on the wire: lose the answer, refuse, be slow. No server is given this but a test's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import grpc

from jobwire_server.rpc import admin_service, job_service

_SERVICES: Final = (job_service.SERVICE, admin_service.SERVICE)

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class FaultKind(StrEnum):
    """What happens to a call."""

    LOST_REPLY = "lost_reply"
    """It is carried out in full, and the caller learns nothing of it but UNAVAILABLE. Unary calls only."""
    UNAVAILABLE = "unavailable"
    """It is not carried out, and ends with UNAVAILABLE."""
    SLOW = "slow"
    """It begins later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault, and which calls it happens to."""

    kind: FaultKind
    calls: int = 1
    """To so many, the next ones."""
    rpcs: tuple[str, ...] = ()
    """Names without their service, such as `SubmitJob`; empty = every call of JobService and AdminService."""
    seconds: float = 0.0
    """How much later, of real time, when SLOW."""


class Faults(grpc.aio.ServerInterceptor):
    """Stands before all services. A call meets at most one fault: the oldest that fits it."""

    def __init__(self) -> None:
        self._faults: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Let a fault happen to the next calls that it fits."""
        self._faults.append((fault, fault.calls))

    def left(self) -> Sequence[str]:
        """Name the faults that have not happened to as many calls as they were meant for."""
        return [f"{fault.kind} ({calls} of {fault.calls} calls to come)" for fault, calls in self._faults]

    def clear(self) -> None:
        """Forget what has not happened yet."""
        self._faults.clear()

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        service, _, rpc = handler_call_details.method.removeprefix("/").partition("/")
        if handler is None:
            return None
        fault = self._next(service, rpc, is_unary=handler.unary_unary is not None)
        return handler if fault is None else _faulty(handler, fault)

    def _next(self, service: str, rpc: str, *, is_unary: bool) -> Fault | None:
        for index, (fault, calls) in enumerate(self._faults):
            fits = rpc in fault.rpcs if fault.rpcs else service in _SERVICES
            if not fits or (fault.kind is FaultKind.LOST_REPLY and not is_unary):
                continue
            if calls == 1:
                del self._faults[index]
            else:
                self._faults[index] = (fault, calls - 1)
            return fault
        return None


def _faulty(handler: Any, fault: Fault) -> Any:
    """The handler with the fault in front of it, or behind it. The services take and return bytes."""
    if handler.unary_unary is not None:
        return grpc.unary_unary_rpc_method_handler(_around(handler.unary_unary, fault))
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(_around(handler.unary_stream, fault))
    return grpc.stream_stream_rpc_method_handler(_around(handler.stream_stream, fault))


def _around(behaviour: Callable[[Any, Any], Awaitable[Any]], fault: Fault) -> Callable[[Any, Any], Awaitable[Any]]:
    async def handle(request: Any, context: Any) -> Any:
        if fault.kind is FaultKind.UNAVAILABLE:
            return _gone(context)
        if fault.kind is FaultKind.SLOW:
            await asyncio.sleep(fault.seconds)
        answer = await behaviour(request, context)
        return _gone(context) if fault.kind is FaultKind.LOST_REPLY else answer

    return handle


def _gone(context: Any) -> bytes:
    """What a caller sees of a connection that broke: a bare status, without a reason of ours."""
    context.set_trailing_metadata(())
    context.set_code(grpc.StatusCode.UNAVAILABLE)
    context.set_details("Socket closed")
    return b""
