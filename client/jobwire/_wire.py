"""The sync shell's side of the wire: channels, calls with their tries, streams. Safe to share between threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from jobwire._ambient import Ambient
from jobwire._calls import Call, Tries
from jobwire._following import EndWait
from jobwire._merger import Merger
from jobwire._merging import Merging
from jobwire._requests import Submitted
from jobwire._status import Place, call_timeout, error_from
from jobwire.errors import CallTimeout, ClientClosed, JobwireError
from jobwire.models import Job
from jobwire.settings import Settings
from jobwire.v1.admin_service_pb2_grpc import AdminServiceStub
from jobwire.v1.job_service_pb2_grpc import JobServiceStub

T = TypeVar("T")


class _Link:
    """A channel with its stubs, and what merges submits for it."""

    def __init__(self, channel: grpc.Channel, merger: Merger) -> None:
        self.channel = channel
        self.merger = merger
        self._services = (JobServiceStub(channel), AdminServiceStub(channel))

    def method(self, rpc: str) -> Any:
        """Return what calls an RPC."""
        jobs, admin = self._services
        return getattr(jobs, rpc, None) or getattr(admin, rpc)


class Wire:
    """One client's connection. The channel is made at the first call, and anew in a forked child."""

    def __init__(self, settings: Settings, ambient: Ambient, connect: Callable[[Settings], grpc.Channel]) -> None:
        self._settings = settings
        self._ambient = ambient
        self._connect = connect
        # By process: a forked child must not touch its parent's channel, not even to close it. No lock: one that
        # another thread holds at the fork would stay locked in the child for ever.
        self._links: dict[int, _Link] = {}
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """True after `close`."""
        return self._closed.is_set()

    def now(self) -> float:
        """Monotonic time."""
        return self._ambient.clock.monotonic()

    def pause(self, seconds: float) -> None:
        """Wait; `close` ends the wait."""
        self._ambient.clock.wait(self._closed, seconds)

    def close(self) -> None:
        """End every call and stream of this process. Again is fine."""
        self._closed.set()
        link = self._links.pop(os.getpid(), None)
        if link is not None:
            link.channel.close()

    def _current(self) -> _Link:
        if self._closed.is_set():
            raise ClientClosed("The client is closed.")
        link = self._links.get(os.getpid())
        if link is None:
            merger = Merger(self, Merging(retries_fully=self._settings.tries is None))
            made = _Link(self._connect(self._settings), merger)
            link = self._links.setdefault(os.getpid(), made)
            if link is not made:  # another thread was faster
                made.channel.close()
        return link

    def await_event(self, woken: threading.Event, seconds: float) -> None:
        """Wait for an event, at most so long."""
        self._ambient.clock.wait(woken, seconds)

    def submit(self, call: Call[Submitted]) -> Submitted:
        """Make a submit, in one call with others that come at the same time. Raises JobwireError."""
        return self._current().merger.submit(call)

    def run(self, call: Call[T], *, since: float | None = None) -> T:
        """Make a call, again while the server is UNAVAILABLE and the deadline allows it. Raises JobwireError.

        `since`: when the time of the call began to run; None = now.
        """
        began = self.now() if since is None else since
        tries = Tries(call, most=self._settings.tries, now=began, chance=self._ambient.chance)
        while True:
            answer, error = self._try(call, tries.begin(self.now()))
            if error is None:
                return call.read(answer)
            pause = tries.pause(error, self.now())
            if pause is None:
                raise error
            self.pause(pause)

    def _try(self, call: Call[Any], seconds: float) -> tuple[Any, JobwireError | None]:
        # The error is raised by the caller, outside this except: a traceback through gRPC's would tell users nothing.
        try:
            return self._current().method(call.rpc)(call.request, timeout=seconds), None
        except grpc.RpcError as failure:
            return None, self.error_of(failure, call.rpc, call.seconds)
        except ValueError:
            if self._closed.is_set():  # between the check and the call
                return None, ClientClosed("The client was closed.")
            raise

    def wait(self, wait: EndWait) -> Job:
        """Poll until a job has ended. Raises JobwireError."""
        while True:
            call = wait.call(self.now())
            answer, error = self._try(call, call.seconds)
            if error is not None:
                self.pause(wait.failed(error, self.now()))
                continue
            ended = wait.take(call.read(answer), self.now())
            if ended is not None:
                return ended
            self.pause(wait.breath(self.now()))

    def stream(self, rpc: str, request: Any, seconds: float | None) -> Iterator[Any]:
        """Open a stream; the caller cancels it in the end, whatever happens."""
        stream: Iterator[Any] = self._current().method(rpc)(request, timeout=seconds)
        return stream

    def timeout_of(self, call: Call[Any]) -> CallTimeout:
        """Make the error of a caller whose time is over before an answer came."""
        return call_timeout(self._place(call.rpc, call.seconds))

    def error_of(self, failure: Any, rpc: str, seconds: float | None) -> JobwireError:
        """Translate gRPC's exception."""
        if self._closed.is_set():
            return ClientClosed("The client was closed while it waited for the server.")
        place = self._place(rpc, seconds)
        return error_from(failure.code().name, failure.details() or "", failure.trailing_metadata() or (), place)

    def _place(self, rpc: str, seconds: float | None) -> Place:
        return Place(self._settings.address, self._settings.origin, rpc, seconds)
