"""Callers live in the machine's time, the store of a test in its own: their times are moved over at the border."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.rpc import job_service

_REQUESTS: Final[dict[str, type[Message]]] = {
    "SubmitJob": pb.SubmitJobRequest,
    "BatchSubmitJobs": pb.BatchSubmitJobsRequest,
    "RetryJob": pb.RetryJobRequest,
}
_KEYS: Final = 10_000
"""Most request ids whose shift is remembered; beyond it all are forgotten."""


class Shifting(grpc.aio.ServerInterceptor):
    """Moves the absolute times of submits and retries by what lies between the two clocks.

    A client makes `delay="10m"` a time by its own clock. Ten minutes later by the clock of the test, and a millisecond
    later by the client's, the job is due.
    """

    def __init__(self, shift_us: Callable[[], int]) -> None:
        """`shift_us`: the store's time less the callers' now, in microseconds."""
        self._shift_us = shift_us
        self._shifts: dict[str, int] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        service, _, rpc = handler_call_details.method.removeprefix("/").partition("/")
        kind = _REQUESTS.get(rpc)
        if handler is None or kind is None or service != job_service.SERVICE:
            return handler
        inner = handler.unary_unary

        async def handle(raw: bytes, context: Any) -> Any:
            return await inner(self._moved(kind, raw), context)

        return grpc.unary_unary_rpc_method_handler(handle)

    def _moved(self, kind: type[Message], raw: bytes) -> bytes:
        try:
            request = kind.FromString(raw)
        except DecodeError:
            return raw  # the service says what is wrong with it
        for key, time in _times(request):
            time.FromMicroseconds(time.ToMicroseconds() + self._shift_of(key))
        return request.SerializeToString()

    def _shift_of(self, key: str) -> int:
        """A call that is repeated is moved as far as at first: with other times it would be another request."""
        if not key:
            return self._shift_us()
        if len(self._shifts) >= _KEYS:
            self._shifts.clear()
        return self._shifts.setdefault(key, self._shift_us())


def _times(request: Message) -> Iterable[tuple[str, Timestamp]]:
    """The times of a request, each with the key that names its call."""
    match request:
        case pb.SubmitJobRequest():
            for field in ("schedule_time", "expire_time"):
                if request.spec.HasField(field):
                    yield request.request_id, getattr(request.spec, field)
        case pb.BatchSubmitJobsRequest():
            for each in request.requests:
                for key, time in _times(each):
                    yield key or request.request_id, time
        case pb.RetryJobRequest() if request.HasField("schedule_time"):
            yield "", request.schedule_time
        case _:
            return
