"""The gRPC server: puts the services together, listens, drains, stops."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2

from jobwire.v1 import admin_service_pb2, job_service_pb2, worker_service_pb2
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.telemetry import Log, LogFormat, LogLevel, make_log
from jobwire_server.rpc import admin_service, health, job_service, page_token, reflection
from jobwire_server.rpc.calls import Calls, Handler
from jobwire_server.rpc.gate import Gate, Phase, draining
from jobwire_server.rpc.served import Served
from jobwire_server.rpc.settings import RecoveryFacts, RpcSettings, ServerFacts, Tls, channel_options
from jobwire_server.rpc.watch_service import WatchService
from jobwire_server.rpc.work import lease_token
from jobwire_server.rpc.work import service as work
from jobwire_server.rpc.work.desk import Desk

__all__ = ["Interceptor", "ListenFailed", "RecoveryFacts", "RpcServer", "RpcSettings", "Served", "ServerFacts", "Tls"]

Interceptor: TypeAlias = "grpc.aio.ServerInterceptor"

_UNIX: Final = "unix:"
_SWEEP_SECONDS: Final = 1.0


class _Secrets(NamedTuple):
    """Keys that the store keeps."""

    page: bytes
    lease: bytes


class ListenFailed(Exception):
    """An address cannot be listened on; the message says which, why, and what to do."""


def system_chance() -> float:
    """Return a random number in [0, 1) from the operating system."""
    return secrets.randbits(53) / 2**53


class RpcServer:
    """One gRPC server. `start()`, `drain()`, `stop()`, in that order; `start` and `stop` belong into one task."""

    def __init__(
        self,
        *,
        served: Served,
        facts: ServerFacts,
        settings: RpcSettings,
        clock: Clock,
        chance: Callable[[], float] = system_chance,
        log: Log | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._jobs, self._hub, self._store, self._engine = served
        self._chance = chance
        self._facts = facts
        self._settings = settings
        self._clock = clock
        self._gate = Gate(settings, clock=clock, chance=chance)
        self._calls = Calls(
            self._gate,
            settings,
            message_bytes=self._jobs.limits.message_bytes,
            clock=clock,
            chance=chance,
            log=log or make_log(LogFormat.AUTO, LogLevel.WARNING),
        )
        self._health = health.Health((job_service.SERVICE, work.SERVICE, admin_service.SERVICE))
        self._server: grpc.aio.Server | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> Sequence[str]:
        """Bind and start at once; return the addresses, ports filled in. Nothing but health and reflection serves yet.

        Raises `ListenFailed`.
        """
        secrets_ = _Secrets(await self._store.secret(page_token.PURPOSE), await self._store.secret(lease_token.PURPOSE))
        server = grpc.aio.server(interceptors=self._interceptors, options=channel_options(self._jobs.limits))
        for service, handlers in self._services(secrets_).items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        credentials = None if self._settings.tls is None else _credentials(self._settings.tls)
        # A port that is bound and not started swallows connections: nothing may come between these lines.
        addresses = [_bind(server, address, credentials) for address in self._settings.listen]
        await server.start()
        self._server = server
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._sweeper = self._tasks.create_task(self._sweep(), name="rpc-sweep")
        return addresses

    def set_serving(self, serving: bool) -> None:
        """Open or close the server to its callers, and say so in health."""
        self._gate.enter(Phase.SERVING if serving else Phase.STARTING)
        self._health.set_serving(serving=serving and self._gate.phase is Phase.SERVING)

    def set_ready(self, ready: bool) -> None:
        """Say in health whether calls make sense now. They are let in all the same: each is told what is the matter."""
        self._health.set_serving(serving=ready and self._gate.phase is Phase.SERVING)

    async def drain(self) -> None:
        """Let nobody new in, and ask every stream and long poll to end; unary calls in flight go on."""
        self._gate.enter(Phase.DRAINING)
        self._health.set_serving(serving=False)
        self._hub.drain(draining())
        self._gate.end_streams(draining())

    async def stop(self, grace_seconds: float) -> None:
        """Wait up to the grace for calls in flight, cancel the rest, and close every connection. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        await self.drain()
        # The second time it is for good: a Work stream whose worker is busy would stay otherwise. Its leases stand.
        self._gate.end_streams(draining())
        await server.stop(grace_seconds)
        if self._tasks is not None and self._sweeper is not None:
            self._sweeper.cancel()
            await self._tasks.__aexit__(None, None, None)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_SECONDS)
            self._gate.sweep()

    def _services(self, secrets_: _Secrets) -> dict[str, dict[str, Handler]]:
        calls, limits, page_secret = self._calls, self._jobs.limits, secrets_.page
        jobs = job_service.JobService(self._jobs, self._gate, clock=self._clock, page_secret=page_secret)
        streams = WatchService(self._hub, limits)
        workers = work.WorkerService(
            Desk(tokens=lease_token.LeaseTokens(secrets_.lease), jobs=self._jobs, clock=self._clock, limits=limits),
            self._engine,
            gate=self._gate,
            clock=self._clock,
            chance=self._chance,
        )
        admin = admin_service.AdminService(
            self._store,
            self._facts,
            limits,
            roster=self._engine.roster,
            clock=self._clock,
            page_secret=page_secret,
        )
        services = {
            job_service.SERVICE: jobs.handlers(calls) | streams.handlers(calls),
            work.SERVICE: workers.handlers(calls),
            admin_service.SERVICE: admin.handlers(calls),
            health.SERVICE: self._health.handlers(calls),
        }
        # The details of errors are described, too: tools then show them readable.
        files = (
            job_service_pb2.DESCRIPTOR,
            worker_service_pb2.DESCRIPTOR,
            admin_service_pb2.DESCRIPTOR,
            health_pb2.DESCRIPTOR,
            error_details_pb2.DESCRIPTOR,
        )
        mirror = reflection.Reflection(services, files)
        return services | {name: mirror.handlers(calls, name) for name in reflection.SERVICES}


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    try:
        if address.startswith(_UNIX):
            _bind_unix(server, address)
            return address
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except (RuntimeError, OSError) as error:
        raise ListenFailed(
            f"{address} cannot be listened on: {_reason(error)} Is another server running there? "
            "Choose another address, or stop the other server."
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"


def _bind_unix(server: grpc.aio.Server, address: str) -> None:
    """Bind a socket that only this user can reach. gRPC would take over the socket of a living server."""
    path = Path(address.removeprefix(_UNIX))
    if path.is_socket() and _answers(path):
        raise OSError("a server answers on this socket.")
    server.add_insecure_port(address)
    path.chmod(0o600)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) else "the address is taken or not one of this machine."


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    try:
        certificate, key = tls.certificate.read_bytes(), tls.key.read_bytes()
        client_ca = None if tls.client_ca is None else tls.client_ca.read_bytes()
    except OSError as error:
        raise ListenFailed(f"The TLS file {error.filename} cannot be read: {error.strerror}.") from error
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=client_ca, require_client_auth=client_ca is not None
    )
