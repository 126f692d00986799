"""jobwire.v1.AdminService."""

from __future__ import annotations

from typing import Final

from jobwire.v1 import admin_service_pb2 as pb
from jobwire_server.dispatch.roster import Roster
from jobwire_server.domain.errors import FieldInvalid
from jobwire_server.domain.limits import Limits
from jobwire_server.domain.validation import check_page_size
from jobwire_server.kernel.clock import Clock
from jobwire_server.rpc import page_token
from jobwire_server.rpc.calls import Calls, Handler
from jobwire_server.rpc.convert.admin import server_info_response, type_capabilities, workers_response
from jobwire_server.rpc.settings import ServerFacts
from jobwire_server.store.base import Store

SERVICE: Final = "jobwire.v1.AdminService"

_DEFAULT_PAGE_SIZE: Final = 50
_WORKERS_QUERY: Final = page_token.query_hash(b"workers")


class AdminService:
    """The server itself."""

    def __init__(
        self, store: Store, facts: ServerFacts, limits: Limits, *, roster: Roster, clock: Clock, page_secret: bytes
    ) -> None:
        self._store = store
        self._facts = facts
        self._limits = limits
        self._roster = roster
        self._clock = clock
        self._page_secret = page_secret

    def handlers(self, calls: Calls) -> dict[str, Handler]:
        """Return the methods of the service."""
        return {
            "GetServerInfo": calls.unary(f"{SERVICE}/GetServerInfo", self.get_server_info),
            "ListWorkers": calls.unary(f"{SERVICE}/ListWorkers", self.list_workers),
        }

    async def get_server_info(self, raw: bytes, _left: float | None) -> bytes:
        """Tell version, limits, positions, the time, and what recovery did."""
        pb.GetServerInfoRequest.FromString(raw)
        capabilities = type_capabilities(self._facts.types, self._roster.types())
        position = await self._store.position()
        return server_info_response(
            self._facts, self._limits, position, capabilities=capabilities, now_us=self._clock.wall_us()
        )

    async def list_workers(self, raw: bytes, _left: float | None) -> bytes:
        """List the workers that are here, or were lately."""
        request = pb.ListWorkersRequest.FromString(raw)
        violations = check_page_size(request.page_size)
        if violations:
            raise FieldInvalid(violations)
        size = min(request.page_size or _DEFAULT_PAGE_SIZE, self._limits.page_size)
        start = 0
        if request.page_token:
            start = page_token.unseal(request.page_token, _WORKERS_QUERY, self._page_secret).before_key
        workers = self._roster.workers()
        response = workers_response(workers[start : start + size])
        if start + size < len(workers):
            place = page_token.PagePlace(start + size, "", 0)
            response.next_page_token = page_token.seal(place, _WORKERS_QUERY, self._page_secret)
        return response.SerializeToString()
