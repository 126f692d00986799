"""A stage for the sync client: grpcio-testing's channel, time that a test moves, and a thread for the caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import grpc
import grpc_testing

from jobwire._ambient import Ambient
from jobwire.client import Client
from jobwire.settings import Settings
from jobwire.v1 import admin_service_pb2, job_service_pb2
from tests.helpers.rich_status import details_of

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """Time that only waiting moves."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.elapsed

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed)

    def wait(self, woken: threading.Event, seconds: float) -> None:
        if not woken.is_set():
            self.pauses.append(seconds)
            self.elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.elapsed += seconds
        await asyncio.sleep(0)


class _TimedChannel:
    """Notes the deadline of each call, which grpcio-testing's channel forgets, and plays deadlines that pass."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.deadlines: list[float | None] = []

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._noting(self._inner.unary_unary(method, None, None))

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._noting(self._inner.unary_stream(method, None, None))

    def _noting(self, callable_: Any) -> Any:
        def call(request: Any, *, timeout: float | None) -> Any:
            self.deadlines.append(timeout)
            return callable_(request, timeout=timeout)

        return call

    def close(self) -> None:
        pass


class Stage:
    """One client, and the server's part to be played by the test."""

    def __init__(self, pool: ThreadPoolExecutor, settings: Settings | None = None, chance: float = 1.0) -> None:
        self.clock = FakeClock()
        self._play = grpc_testing.channel((), grpc_testing.strict_fake_time(0))
        self._channel = _TimedChannel(self._play)
        ids = count(1)
        ambient = Ambient(clock=self.clock, chance=lambda: chance, new_id=lambda: f"id-{next(ids)}")
        self.client = Client.from_settings(settings or Settings(), ambient=ambient, connect=lambda _: self._channel)  # type: ignore[arg-type,return-value]
        self._pool = pool

    @property
    def deadlines(self) -> list[float | None]:
        """Deadlines of all calls so far."""
        return self._channel.deadlines

    def call(self, verb: Callable[[], T]) -> Future[T]:
        """Let the caller do something in a thread of its own."""
        return self._pool.submit(verb)

    def _method(self, rpc: str) -> Any:
        services = (
            job_service_pb2.DESCRIPTOR.services_by_name["JobService"],
            admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
        )
        return next(s.methods_by_name[rpc] for s in services if rpc in s.methods_by_name)

    def take(self, rpc: str) -> tuple[Any, Any]:
        """Wait for a call; return its request and what answers it."""
        _, request, answering = self._play.take_unary_unary(self._method(rpc))
        return request, answering

    def answer(self, rpc: str, response: Any) -> Any:
        """Answer the next call; return its request."""
        request, answering = self.take(rpc)
        answering.terminate(response, (), grpc.StatusCode.OK, "")
        return request

    def refuse(self, rpc: str, code: grpc.StatusCode, reason: str = "", message: str = "No.", **details: Any) -> Any:
        """Refuse the next call, with details when there is a reason; return its request."""
        request, answering = self.take(rpc)
        trailing = details_of(code, reason, message, **details) if reason else ()
        answering.terminate(None, trailing, code, message)
        return request
