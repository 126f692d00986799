"""Watches: iterators that outlive cuts and restarts of the server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc

from jobwire._aio_wire import AioWire, is_being_cancelled
from jobwire._following import Follow
from jobwire._wire import Wire
from jobwire.errors import ClientClosed
from jobwire.models import JobEvent, WatchCursor

T = TypeVar("T")


class _Taken(Generic[T]):
    """What came and was not handed out yet: never more than one response of the server."""

    def __init__(self, follow: Follow[T]) -> None:
        self._follow = follow
        self._items: deque[T] = deque()
        self._observers: list[Callable[[T], None]] = []
        self._cursor: WatchCursor | None = follow.cursor

    def __bool__(self) -> bool:
        return bool(self._items)

    def observe(self, observer: Callable[[T], None]) -> None:
        self._observers.append(observer)

    def fill(self, response: Any, now: float) -> None:
        self._items.extend(self._follow.take(response, now))

    def pop(self) -> T:
        item = self._items.popleft()
        if isinstance(item, JobEvent) and item.cursor is not None:
            self._cursor = item.cursor
        for observer in self._observers:
            observer(item)
        return item

    @property
    def cursor(self) -> WatchCursor | None:
        """What was handed out, and once everything was, also what was looked through without a match."""
        return self._cursor if self._items else self._follow.cursor


class Watch(Generic[T]):
    """Iterates over updates or events; one thread at a time. It opens its stream with the first `next`.

    Cuts and restarts of the server do not show: it resumes without gap or repetition. `close()`, `with`, or dropping
    it ends the stream on the server too.
    """

    def __init__(self, wire: Wire, follow: Follow[T]) -> None:
        self._wire = wire
        self._follow = follow
        self._taken = _Taken(follow)
        self._call: Any = None
        self._is_closed = False

    @property
    def cursor(self) -> WatchCursor | None:
        """Resume a later watch after this: everything up to here has been handed out. None where there is no log."""
        return self._taken.cursor

    def observe(self, observer: Callable[[T], None]) -> Self:
        """Call `observer` with each item right before it is handed out."""
        self._taken.observe(observer)
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while not self._taken:
            if self._is_closed or self._follow.is_done:
                self.close()
                raise StopIteration
            pause = self._advance()
            if pause and not self._is_closed:
                self._wire.pause(pause)
        return self._taken.pop()

    def _advance(self) -> float:
        """Take one response, or the end of the stream; return the pause before the next."""
        failure: grpc.RpcError | None = None
        try:
            if self._call is None:
                request, seconds = self._follow.open(self._wire.now())
                self._call = self._wire.stream(self._follow.rpc, request, seconds)
            self._taken.fill(next(self._call), self._wire.now())
            return 0.0
        except StopIteration:
            pass
        except grpc.RpcError as caught:
            failure = caught
        except BaseException:  # Ctrl+C for instance: whoever iterates again gets a new stream from the same place
            self._drop()
            raise
        self._drop()
        if self._is_closed or self._follow.is_done:
            return 0.0
        if failure is None:
            return self._follow.ended(self._wire.now())
        return self._follow.failed(self._wire.error_of(failure, self._follow.rpc, None), self._wire.now())

    def _drop(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def close(self) -> None:
        """End the watch, while another iterates over it if need be. Iterating on just stops."""
        self._is_closed = True
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncWatch(Generic[T]):
    """Iterates over updates or events; one task at a time. It opens its stream with the first `anext`.

    Cuts and restarts of the server do not show: it resumes without gap or repetition. `close()`, `async with`, or
    dropping it ends the stream on the server too.
    """

    def __init__(self, wire: AioWire, follow: Follow[T]) -> None:
        self._wire = wire
        self._follow = follow
        self._taken = _Taken(follow)
        self._call: Any = None
        self._is_closed = False

    @property
    def cursor(self) -> WatchCursor | None:
        """Resume a later watch after this: everything up to here has been handed out. None where there is no log."""
        return self._taken.cursor

    def observe(self, observer: Callable[[T], None]) -> Self:
        """Call `observer` with each item right before it is handed out."""
        self._taken.observe(observer)
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._taken:
            if self._is_closed or self._follow.is_done:
                self.close()
                raise StopAsyncIteration
            pause = await self._advance()
            if pause and not self._is_closed:
                await self._wire.pause(pause)
        return self._taken.pop()

    async def _advance(self) -> float:
        """Take one response, or the end of the stream; return the pause before the next."""
        failure: grpc.RpcError | None = None
        try:
            if await self._took_one():
                return 0.0
        except grpc.RpcError as caught:
            failure = caught
        except BaseException:  # a cancelled read ends its call: whoever iterates again gets one from the same place
            self._drop()
            raise
        self._drop()
        if self._is_closed or self._follow.is_done:
            return 0.0
        if failure is None:
            return self._follow.ended(self._wire.now())
        return self._follow.failed(self._wire.error_of(failure, self._follow.rpc, None), self._wire.now())

    async def _took_one(self) -> bool:
        """Read one response; False at the end of the stream."""
        if self._call is None:
            request, seconds = self._follow.open(self._wire.now())
            self._call = self._wire.stream(self._follow.rpc, request, seconds)
        try:
            response = await self._call.read()
        except asyncio.CancelledError:
            if is_being_cancelled() or not (self._is_closed or self._wire.is_closed):
                raise
            if self._is_closed:  # by another task
                return False
            raise ClientClosed("The client was closed while it waited for the server.") from None
        if response is grpc.aio.EOF:
            return False
        self._taken.fill(response, self._wire.now())
        return True

    def _drop(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def close(self) -> None:
        """End the watch, while another iterates over it if need be. Iterating on just stops."""
        self._is_closed = True
        self._drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # An abandoned stream call of grpc.aio is never collected, so nobody else would end it. After the end of its
        # loop there is nothing left to end.
        call = self.__dict__.get("_call")
        if call is not None and not self._wire.is_loop_closed:
            call.cancel()
