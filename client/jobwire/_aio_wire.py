"""The async shell's side of the wire: channels, calls with their tries, streams. Belongs to one event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import grpc

from jobwire._aio_merger import AioMerger
from jobwire._ambient import Ambient
from jobwire._calls import Call, Tries
from jobwire._following import EndWait
from jobwire._merging import Merging
from jobwire._requests import Submitted
from jobwire._status import Place, call_timeout, error_from
from jobwire.errors import CallTimeout, ClientClosed, JobwireError, WrongEventLoop
from jobwire.models import Job
from jobwire.settings import Settings
from jobwire.v1.admin_service_pb2_grpc import AdminServiceStub
from jobwire.v1.job_service_pb2_grpc import JobServiceStub

T = TypeVar("T")


class _Link(NamedTuple):
    """A channel with its stubs, and the loop it belongs to."""

    pid: int
    loop: asyncio.AbstractEventLoop
    channel: grpc.aio.Channel
    jobs: JobServiceStub
    admin: AdminServiceStub
    merger: AioMerger

    def method(self, rpc: str) -> Any:
        """Return what calls an RPC."""
        return getattr(self.jobs, rpc, None) or getattr(self.admin, rpc)


def is_being_cancelled() -> bool:
    """True when somebody asked the running task to stop: a CancelledError is then theirs, not the channel's."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class AioWire:
    """One client's connection. The channel is made at the first call, and anew after a fork or for a new loop."""

    def __init__(self, settings: Settings, ambient: Ambient, connect: Callable[[Settings], grpc.aio.Channel]) -> None:
        self._settings = settings
        self._ambient = ambient
        self._connect = connect
        self._link: _Link | None = None
        self._inherited: list[_Link] = []  # of a parent process: not ours to close, so kept from being collected
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """True after `close`."""
        return self._is_closed

    @property
    def is_loop_closed(self) -> bool:
        """True when the loop of the channel has ended."""
        return self._link is None or self._link.loop.is_closed()

    def now(self) -> float:
        """Monotonic time."""
        return self._ambient.clock.monotonic()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await self._ambient.clock.sleep(seconds)

    async def close(self) -> None:
        """End every call and stream. Again is fine."""
        self._is_closed = True
        link, self._link = self._link, None
        if link is not None and link.pid == os.getpid() and not link.loop.is_closed():
            await link.channel.close()

    def _current(self) -> _Link:
        if self._is_closed:
            raise ClientClosed("The client is closed.")
        loop = asyncio.get_running_loop()
        if self._link is not None and not self._is_ours(self._link, loop):
            self._link = None
        if self._link is None:
            channel = self._connect(self._settings)
            merger = AioMerger(self, Merging(retries_fully=self._settings.tries is None))
            stubs = JobServiceStub(channel), AdminServiceStub(channel)
            self._link = _Link(os.getpid(), loop, channel, *stubs, merger)
        return self._link

    def _is_ours(self, link: _Link, loop: asyncio.AbstractEventLoop) -> bool:
        if link.pid != os.getpid():
            self._inherited.append(link)
            return False
        if link.loop is loop:
            return True
        if link.loop.is_closed():  # asyncio.run() for the second time
            return False
        raise WrongEventLoop("This AsyncClient belongs to another event loop, where it was first used.")

    async def submit(self, call: Call[Submitted]) -> Submitted:
        """Make a submit, in one call with others that come at the same time. Raises JobwireError."""
        return await self._current().merger.submit(call)

    async def run(self, call: Call[T], *, since: float | None = None) -> T:
        """Make a call, again while the server is UNAVAILABLE and the deadline allows it. Raises JobwireError.

        `since`: when the time of the call began to run; None = now.
        """
        began = self.now() if since is None else since
        tries = Tries(call, most=self._settings.tries, now=began, chance=self._ambient.chance)
        while True:
            answer, error = await self._try(call, tries.begin(self.now()))
            if error is None:
                return call.read(answer)
            pause = tries.pause(error, self.now())
            if pause is None:
                raise error
            await self.pause(pause)

    async def _try(self, call: Call[Any], seconds: float) -> tuple[Any, JobwireError | None]:
        # The error is raised by the caller, outside this except: a traceback through gRPC's would tell users nothing.
        try:
            return await self._current().method(call.rpc)(call.request, timeout=seconds), None
        except grpc.RpcError as failure:
            return None, self.error_of(failure, call.rpc, call.seconds)
        except asyncio.CancelledError:
            if self._is_closed and not is_being_cancelled():
                return None, ClientClosed("The client was closed while it waited for the server.")
            raise

    async def wait(self, wait: EndWait) -> Job:
        """Poll until a job has ended. Raises JobwireError."""
        while True:
            call = wait.call(self.now())
            answer, error = await self._try(call, call.seconds)
            if error is not None:
                await self.pause(wait.failed(error, self.now()))
                continue
            ended = wait.take(call.read(answer), self.now())
            if ended is not None:
                return ended
            await self.pause(wait.breath(self.now()))

    def stream(self, rpc: str, request: Any, seconds: float | None) -> Any:
        """Open a stream; the caller cancels it in the end, whatever happens."""
        return self._current().method(rpc)(request, timeout=seconds)

    def timeout_of(self, call: Call[Any]) -> CallTimeout:
        """Make the error of a caller whose time is over before an answer came."""
        return call_timeout(self._place(call.rpc, call.seconds))

    def error_of(self, failure: Any, rpc: str, seconds: float | None) -> JobwireError:
        """Translate gRPC's exception."""
        if self._is_closed:
            return ClientClosed("The client was closed while it waited for the server.")
        place = self._place(rpc, seconds)
        return error_from(failure.code().name, failure.details() or "", failure.trailing_metadata() or (), place)

    def _place(self, rpc: str, seconds: float | None) -> Place:
        return Place(self._settings.address, self._settings.origin, rpc, seconds)
