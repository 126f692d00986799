"""A real server on a Unix socket in this process, and short names for what tests say to it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import uuid_utils
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from jobwire.v1 import admin_service_pb2_grpc, job_service_pb2_grpc, worker_service_pb2_grpc
from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.dispatch.engine import Engine
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.domain.limits import DEFAULT_LIMITS, Limits
from jobwire_server.jobs import Jobs
from jobwire_server.kernel.clock import Clock, SystemClock
from jobwire_server.kernel.telemetry import SilentLog
from jobwire_server.rpc.server import RpcServer, RpcSettings, Served, ServerFacts, system_chance
from jobwire_server.rpc.status import DETAILS_KEY
from jobwire_server.store.base import Store
from jobwire_server.watch.hub import WatchHub
from tests.helpers.stores import StoreRig

DETAIL_TYPES: Mapping[str, type[Message]] = {
    name: getattr(error_details_pb2, name)
    for name in (
        "ErrorInfo",
        "BadRequest",
        "RetryInfo",
        "QuotaFailure",
        "ResourceInfo",
        "PreconditionFailure",
        "RequestInfo",
    )
}


class FastClock:
    """The machine's time, `speed` times as fast: a minute of patience costs a test a fraction of a second."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._system = SystemClock()

    def monotonic(self) -> float:
        """Seconds, each of them short."""
        return self._system.monotonic() * self._speed

    def wall_us(self) -> int:
        """The wall clock is not hurried."""
        return self._system.wall_us()

    async def sleep(self, seconds: float) -> None:
        """Sleep for short seconds."""
        await self._system.sleep(seconds / self._speed)


class KeepingLog(SilentLog):
    """Remembers the error lines."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **fields: Any) -> None:
        """Keep the line."""
        self.errors.append((event, fields))


class Refusal:
    """An error as a caller sees it: code, message, reason and details by their short names."""

    def __init__(self, error: aio.AioRpcError) -> None:
        self.code = error.code()
        self.message = error.details() or ""
        trailers = dict(error.trailing_metadata() or ())
        raw = trailers.get(DETAILS_KEY, b"")
        self.trailers = trailers
        self.trailer_bytes = sum(len(key) + len(value) for key, value in trailers.items()) + len(self.message.encode())
        self.status = status_pb2.Status.FromString(raw)
        self.details: dict[str, Any] = {}
        for part in self.status.details:
            name = part.TypeName().removeprefix("google.rpc.")
            message = DETAIL_TYPES[name]()
            part.Unpack(message)
            assert name not in self.details, f"{name} is there twice"
            self.details[name] = message

    @property
    def reason(self) -> str:
        """The reason of ErrorInfo."""
        info = self.details["ErrorInfo"]
        assert info.domain == "jobwire.dev"
        return str(info.reason)

    @property
    def facts(self) -> dict[str, str]:
        """The metadata of ErrorInfo."""
        return dict(self.details["ErrorInfo"].metadata)

    @property
    def fields(self) -> list[str]:
        """The fields that BadRequest names."""
        return [violation.field for violation in self.details["BadRequest"].field_violations]

    @property
    def retry_seconds(self) -> float:
        """What RetryInfo says."""
        return float(self.details["RetryInfo"].retry_delay.ToTimedelta().total_seconds())


async def refused(call: Any) -> Refusal:
    """Await a call (or read a stream to its end) that must be refused, and return how."""
    try:
        if hasattr(call, "read"):
            while await call.read() is not aio.EOF:
                pass
        else:
            await call
    except aio.AioRpcError as error:
        refusal = Refusal(error)
        if refusal.status.ByteSize():
            assert refusal.status.code == refusal.code.value[0]
            assert refusal.status.message == refusal.message
        return refusal
    raise AssertionError("the call was not refused")


class RpcRig:
    """Store, hub, use cases and gRPC server, wired as in production, on a memory store."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        settings: RpcSettings | None = None,
        limits: Limits = DEFAULT_LIMITS,
        serving: bool = True,
        around: Callable[[Store], Store] = lambda store: store,
        beside: RpcRig | None = None,
        **store_settings: Any,
    ) -> None:
        """`beside`: another server, whose store this one shares."""
        self.clock = clock or SystemClock()
        self._beside = beside
        self.stores = StoreRig(None, **store_settings) if beside is None else beside.stores
        self.log = KeepingLog()
        self._limits = limits
        self._settings = settings or RpcSettings()
        self._serving = serving
        self._around = around
        self._folder = Path(tempfile.mkdtemp(prefix="jw-"))
        self.address = f"unix:{self._folder}/s"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._ends = stack.pop_all()
        return self

    async def _start(self, stack: AsyncExitStack) -> None:
        """Start one after the other; what has been started is ended with the stack, also when the next one fails."""
        stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        if self._beside is None:
            await self.stores.open()
            stack.push_async_callback(self.stores.close)
        self.store = self._around(self.stores.store)
        self.hub = WatchHub(store=self.store, clock=self.clock)
        await self.hub.start()
        stack.push_async_callback(self.hub.stop)
        self.jobs = Jobs(
            store=self.store,
            hub=self.hub,
            clock=self.clock,
            new_id=lambda: str(uuid_utils.uuid7()),
            limits=self._limits,
        )
        self.engine = Engine(
            store=self.store,
            clock=self.clock,
            chance=system_chance,
            instance_id="this",
            log=self.log,
            on_progress=self.hub.progress,
            settings=DispatchSettings(),
        )
        stack.push_async_callback(_ended, asyncio.create_task(self.engine.run()))
        self.server = RpcServer(
            served=Served(self.jobs, self.hub, self.store, self.engine),
            facts=ServerFacts(version="1.2.3", start_time_us=self.stores.clock.wall_us()),
            settings=replace(self._settings, listen=(self.address, *self._extra_addresses())),
            clock=self.clock,
            log=self.log,
        )
        self.addresses = await self.server.start()
        stack.push_async_callback(self.server.stop, 5)
        if self._serving:
            self.engine.dispatcher.grant()
            self.server.set_serving(True)
        self.channel = await stack.enter_async_context(self.connect())
        self.api = job_service_pb2_grpc.JobServiceStub(self.channel)
        self.work = worker_service_pb2_grpc.WorkerServiceStub(self.channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self.channel)

    def _extra_addresses(self) -> tuple[str, ...]:
        return () if self._settings.listen == RpcSettings().listen else self._settings.listen

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ends.aclose()

    def connect(self, *options: tuple[str, Any]) -> aio.Channel:
        """Open another connection, one that shares nothing with the others."""
        return aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1), *options])

    # --- short names ----------------------------------------------------------------------------------------------

    async def submit(self, **fields: Any) -> jpb.Job:
        """Submit a job of type `work` and return it."""
        return (await self.api.SubmitJob(request_of(**fields))).job

    async def get(self, job_id: str, **fields: Any) -> jpb.Job:
        """Read a job."""
        return (await self.api.GetJob(pb.GetJobRequest(job_id=job_id, **fields))).job


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def request_of(**fields: Any) -> pb.SubmitJobRequest:
    """A SubmitJobRequest; what is no field of it is a field of its spec."""
    own = {name: fields.pop(name) for name in ("job_id", "request_id", "validate_only") if name in fields}
    return pb.SubmitJobRequest(spec=jpb.JobSpec(**{"type": "work", **fields}), **own)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so that has no event to wait for; the test's own timeout is the bound."""
    while not condition():  # noqa: ASYNC110 - there is no event, which is why this exists
        await asyncio.sleep(0)


def elapsed_since(start: float) -> float:
    """Seconds of the machine since `start`, for upper bounds that only a hang exceeds."""
    return time.monotonic() - start


Code = grpc.StatusCode
