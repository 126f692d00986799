"""jobwire.v1.AdminService."""

from __future__ import annotations

from typing import Final

from jobwire.v1 import admin_service_pb2 as pb
from jobwire_server.domain.limits import Limits
from jobwire_server.rpc.calls import Calls, Handler
from jobwire_server.rpc.convert.admin import server_info_response
from jobwire_server.rpc.settings import ServerFacts
from jobwire_server.store.base import Store

SERVICE: Final = "jobwire.v1.AdminService"


class AdminService:
    """The server itself."""

    def __init__(self, store: Store, facts: ServerFacts, limits: Limits) -> None:
        self._store = store
        self._facts = facts
        self._limits = limits

    def handlers(self, calls: Calls) -> dict[str, Handler]:
        """Return the methods of the service."""
        return {"GetServerInfo": calls.unary(f"{SERVICE}/GetServerInfo", self.get_server_info)}

    async def get_server_info(self, raw: bytes, _left: float | None) -> bytes:
        """Tell version, limits, positions and what recovery did."""
        pb.GetServerInfoRequest.FromString(raw)
        return server_info_response(self._facts, self._limits, await self._store.position())
