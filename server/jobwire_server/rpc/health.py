"""grpc.health.v1. Not serving until told so; its streams end when the server drains.

The servicer of the grpc package is born SERVING, holds a lock while it writes to its watchers (one that does not
read stops every change of state), and its watches outlast a graceful stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import grpc
from grpc_health.v1 import health_pb2 as pb

from jobwire_server.domain.errors import Unavailable
from jobwire_server.rpc.calls import BareStatus, Calls, Handler, Stream

SERVICE: Final = "grpc.health.v1.Health"

_Status = pb.HealthCheckResponse


class Health:
    """State of each service, and of the server as a whole (the empty name)."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(("", *services))
        self._serving = False
        self._bells: set[asyncio.Event] = set()

    def set_serving(self, *, serving: bool) -> None:
        """Change the state of all services and tell everybody who watches."""
        self._serving = serving
        for bell in self._bells:
            bell.set()

    def handlers(self, calls: Calls) -> dict[str, Handler]:
        """Return the methods of the service."""
        return {
            "Check": calls.ungated_unary(f"{SERVICE}/Check", self._check),
            "List": calls.ungated_unary(f"{SERVICE}/List", self._list),
            "Watch": calls.ungated_server_stream(f"{SERVICE}/Watch", self._watch),
        }

    async def _check(self, raw: bytes) -> bytes:
        service = pb.HealthCheckRequest.FromString(raw).service
        if service not in self._services:
            raise BareStatus(grpc.StatusCode.NOT_FOUND, "There is no such service here: ask reflection for the list.")
        response: bytes = _Status(status=self._status()).SerializeToString()
        return response

    async def _list(self, raw: bytes) -> bytes:
        pb.HealthListRequest.FromString(raw)
        statuses = {service: _Status(status=self._status()) for service in self._services}
        response: bytes = pb.HealthListResponse(statuses=statuses).SerializeToString()
        return response

    async def _watch(self, raw: bytes, stream: Stream) -> None:
        """Send the state at once and whenever it changes; an unknown service is watched in case it comes."""
        service = pb.HealthCheckRequest.FromString(raw).service
        known = service in self._services
        bell = asyncio.Event()
        reasons: list[Unavailable] = []

        def finish(reason: Unavailable) -> None:
            reasons.append(reason)
            bell.set()

        stream.on_end(finish)
        self._bells.add(bell)
        try:
            sent = None
            while True:
                bell.clear()
                status = self._status() if known else _Status.SERVICE_UNKNOWN
                if status != sent:
                    await stream.write(_Status(status=status).SerializeToString())
                    sent = status
                elif reasons:
                    raise reasons[0]
                else:
                    await bell.wait()
        finally:
            self._bells.discard(bell)

    def _status(self) -> pb.HealthCheckResponse.ServingStatus:
        return _Status.SERVING if self._serving else _Status.NOT_SERVING
