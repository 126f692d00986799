"""Who is let in: nobody before the server serves, nobody new while it drains, and no more than it can bear."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from jobwire_server.domain.errors import (
    Draining,
    JobwireError,
    NotReady,
    SlowConsumer,
    StreamAge,
    TooManyRequests,
    TooManyStreams,
    Unavailable,
)
from jobwire_server.kernel.clock import Clock
from jobwire_server.rpc.settings import RpcSettings


class Phase(Enum):
    """Life of the server as its callers see it."""

    STARTING = 0
    SERVING = 1
    DRAINING = 2


class OpenStream:
    """One admitted stream: how old it may become, and since when its writer has been waiting for its reader."""

    __slots__ = ("ends_at", "on_end", "on_stall", "writing_since")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.writing_since: float | None = None
        self.on_end: Callable[[Unavailable], None] | None = None
        """Asks the stream to finish soon, with this reason."""
        self.on_stall: Callable[[SlowConsumer], None] | None = None
        """Ends the stream in the middle of its write."""


class Gate:
    """Admission, per class: a flood of one kind of call leaves room for the others."""

    def __init__(self, settings: RpcSettings, *, clock: Clock, chance: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._chance = chance
        self._phase = Phase.STARTING
        self._calls = 0
        self._bytes = 0
        self._streams: set[OpenStream] = set()
        self._polls = 0

    @property
    def phase(self) -> Phase:
        """What the server is doing."""
        return self._phase

    def enter(self, phase: Phase) -> None:
        """Change the phase; a draining server never serves again."""
        if self._phase is not Phase.DRAINING:
            self._phase = phase

    def refusal(self) -> JobwireError | None:
        """Return why nobody is let in now, or None."""
        if self._phase is Phase.SERVING:
            return None
        return not_ready() if self._phase is Phase.STARTING else draining()

    def take_call(self, size: int) -> JobwireError | None:
        """Admit a unary call of `size` bytes (then `end_call` must follow), or return why not."""
        if self._phase is not Phase.SERVING:
            return self.refusal()
        settings = self._settings
        if self._calls >= settings.max_unary_calls or self._bytes + size > settings.max_request_bytes:
            return TooManyRequests(
                f"{self._calls} calls are in flight, which is as many as the server takes at once: slow down.",
                limit=settings.max_unary_calls,
            )
        self._calls += 1
        self._bytes += size
        return None

    def end_call(self, size: int) -> None:
        """A unary call is over."""
        self._calls -= 1
        self._bytes -= size

    @contextmanager
    def long_poll(self) -> Iterator[None]:
        """Count the current unary call as a stream while it waits, so that waiting callers do not keep others out."""
        if len(self._streams) + self._polls >= self._settings.max_streams:
            raise self._too_many_streams()
        self._polls += 1
        self._calls -= 1
        try:
            yield
        finally:
            self._polls -= 1
            self._calls += 1

    @contextmanager
    def stream(self) -> Iterator[OpenStream]:
        """Admit a stream for as long as the context lasts; raise why not."""
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        with self.open_stream() as stream:
            yield stream

    @contextmanager
    def open_stream(self) -> Iterator[OpenStream]:
        """As `stream`, for the services that also answer before the server serves."""
        if len(self._streams) + self._polls >= self._settings.max_streams:
            raise self._too_many_streams()
        settings = self._settings
        spread = 1.0 + settings.stream_age_jitter * (2.0 * self._chance() - 1.0)
        stream = OpenStream(self._clock.monotonic() + settings.max_stream_age_seconds * spread)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    def _too_many_streams(self) -> TooManyStreams:
        limit = self._settings.max_streams
        return TooManyStreams(f"{limit} streams are open, which is as many as the server keeps.", limit=limit)

    def end_streams(self, reason: Unavailable) -> None:
        """Ask every open stream to end."""
        for stream in tuple(self._streams):
            if stream.on_end is not None:
                stream.on_end(reason)

    def sweep(self) -> None:
        """End streams that are too old, or whose reader has stalled."""
        now, settings = self._clock.monotonic(), self._settings
        stalled_since = now - settings.slow_consumer_seconds
        for stream in tuple(self._streams):
            since = stream.writing_since
            if since is not None and since <= stalled_since and stream.on_stall is not None:
                stream.on_stall(slow_consumer(settings.slow_consumer_seconds))
            elif now >= stream.ends_at and stream.on_end is not None:
                stream.ends_at = math.inf  # once: a Work stream has its farewell, and is cut when it is told again
                stream.on_end(stream_age())


def not_ready() -> NotReady:
    """Return the answer of a server that is starting."""
    return NotReady("The server is starting and has not finished its recovery: try again in a moment.")


def draining() -> Draining:
    """Return the answer of a server that is going away."""
    return Draining("The server is shutting down: try again, another server or its successor will answer.")


def stream_age() -> Unavailable:
    """Return the reason why an old stream ends."""
    return StreamAge("The stream has reached its greatest age: open it again at once with the last cursor.")


def slow_consumer(seconds: float) -> SlowConsumer:
    """Return the reason why a stream ends whose reader does not read."""
    return SlowConsumer(
        f"A message of the stream was not taken within {seconds:g} s: open it again with the last cursor, read "
        "faster, or ask for conflate."
    )
