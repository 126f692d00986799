"""The private door of the server's own pool: a Unix socket in a folder that only this user can enter."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import grpc

from jobwire_server.domain.errors import Draining
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Chance
from jobwire_server.kernel.telemetry import Log
from jobwire_server.rpc.calls import Calls
from jobwire_server.rpc.gate import Gate, Phase
from jobwire_server.rpc.served import Served
from jobwire_server.rpc.settings import RpcSettings, channel_options
from jobwire_server.rpc.work import lease_token
from jobwire_server.rpc.work.desk import Desk
from jobwire_server.rpc.work.service import SERVICE, WorkerService
from jobwire_server.store.base import Transport

ENDLESS_SECONDS = 1e9
"""The pool's stream lives as long as the server."""


class PoolListener:
    """Serves the Work stream, and nothing else, to the pool's process. Its leases are those of this server (DIRECT):
    recovery voids them when the server is dead."""

    def __init__(self, served: Served, *, clock: Clock, chance: Chance, log: Log) -> None:
        self._served = served
        self._clock = clock
        self._chance = chance
        self._log = log
        self._server: grpc.aio.Server | None = None
        self._folder: Path | None = None
        self._gate: Gate | None = None

    @property
    def address(self) -> str:
        """Where it listens, once it does."""
        return f"unix:{self._folder}/pool"

    async def start(self) -> None:
        """Listen. The dispatcher grants nothing yet, so whoever connects is paused."""
        served, settings = self._served, RpcSettings(max_stream_age_seconds=ENDLESS_SECONDS)
        gate = self._gate = Gate(settings, clock=self._clock, chance=self._chance)
        gate.enter(Phase.SERVING)
        calls = Calls(
            gate,
            settings,
            message_bytes=served.jobs.limits.message_bytes,
            clock=self._clock,
            chance=self._chance,
            log=self._log,
        )
        tokens = lease_token.LeaseTokens(await served.store.secret(lease_token.PURPOSE))
        desk = Desk(tokens=tokens, jobs=served.jobs, clock=self._clock, limits=served.jobs.limits)
        service = WorkerService(
            desk, served.engine, gate=gate, clock=self._clock, chance=self._chance, transport=Transport.DIRECT
        )
        self._folder = Path(tempfile.mkdtemp(prefix="jobwire-"))
        server = grpc.aio.server(options=channel_options(served.jobs.limits))
        handlers = service.stream_handlers(calls)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(self.address)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Close the door. Idempotent."""
        server, self._server = self._server, None
        if self._gate is not None:
            for _ in range(2):  # the first time a stream is asked, the second time it is told
                self._gate.end_streams(Draining("The server is shutting down."))
        if server is not None:
            await server.stop(0)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
