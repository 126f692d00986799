"""`StreamTransport`: one worker, and however many Work streams it takes to keep it at its server."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import platform
import random
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import NoReturn

import grpc

from jobwire._channel import open_aio_channel
from jobwire._status import Place
from jobwire.errors import JobwireError, Unavailable
from jobwire.settings import Settings
from jobwire.v1 import worker_service_pb2 as pb
from jobwire.worker.alarm import within
from jobwire.worker.clock import Clock, SystemClock
from jobwire.worker.stream.convert import hello_message, lease_state_of, seconds_of
from jobwire.worker.stream.ending import Pauses
from jobwire.worker.stream.link import Link
from jobwire.worker.transport import (
    MAX_WINDOW,
    Ack,
    AckCode,
    Hello,
    Inbox,
    LeaseState,
    LeaseUpdate,
    OutcomeReport,
    Token,
    Welcome,
)

_log = logging.getLogger("jobwire.worker")

GOODBYE_SECONDS = 1.0
"""How long `close` waits for the server to end the stream."""
CANCEL_GRACE_SECONDS = 10.0
"""The server's default. Each cancel order brings its own."""
REPLACED_PAUSE_SECONDS = 5.0
FIGHT_SECONDS = 60.0
"""Replaced twice within this time: somebody else has our name."""
_TRIES_BETWEEN_WARNINGS = 10


class StreamTransport:
    """Implements `jobwire.worker.transport.Transport` on `WorkerService.Work`. One worker, opened once.

    A stream that is lost is replaced: after a pause with full jitter, or the one that the server asked for. A stream
    that the server wants gone (DrainNotice) carries on until its successor is welcome. From the moment at which the
    next hello is made, no assignment of the old stream is delivered: what that hello does not name, the server takes
    for never received.

    It gives up, and tells the inbox why, when the server refuses the worker for good. Also when another stream
    replaced this one (REPLACED) for the second time within a minute: the first may be an old hello of our own that a
    server found when it thawed; two processes that fight for one name would take each other's jobs for ever.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
        connect: Callable[[Settings], grpc.aio.Channel] = open_aio_channel,
    ) -> None:
        """`settings`: address and credentials, as a client has them. `chance`: a number in [0, 1)."""
        self._settings = settings
        self._clock = clock or SystemClock()
        self._pauses = Pauses(chance)
        self._connect = connect
        self._channel: grpc.aio.Channel | None = None
        self._window = 0
        self._link: Link | None = None
        self._why_none = "the worker has no stream to its server yet"
        self._first_welcome: asyncio.Future[Welcome] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._streams: set[asyncio.Task[None]] = set()

    # See `Transport`.

    async def open(self, hello: Hello, inbox: Inbox) -> Welcome:
        """See `Transport`. Waits for the server as long as it takes. Raises JobwireError when it refuses the worker."""
        if self._channel is not None:
            raise RuntimeError("This transport was opened before. Make a new one: a transport serves one worker.")
        self._channel = self._connect(self._settings)
        first: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._first_welcome = first
        self._keeper = asyncio.create_task(self._keep_safely(hello, inbox), name="jobwire worker stream")
        try:
            return await first
        except BaseException:
            await self.close()
            raise

    async def resize(self, max_in_flight: int) -> None:
        """See `Transport`. Without a stream it takes effect with the next hello."""
        self._window = min(max(0, max_in_flight), MAX_WINDOW)
        if self._link is not None:
            self._link.resize(self._window)

    async def report(self, reports: Sequence[OutcomeReport]) -> Sequence[Ack]:
        """See `Transport`."""
        return await self._linked().report(reports)

    async def abandon(self, tokens: Sequence[Token]) -> None:
        """See `Transport`."""
        acks = await self._linked().report([(token, None) for token in tokens])
        if any(ack.code is AckCode.RETRY for ack in acks):
            raise ConnectionError("the server could not end the leases now")

    async def update(self, updates: Sequence[LeaseUpdate]) -> Sequence[LeaseState]:
        """See `Transport`."""
        return await self._linked().update(updates)

    async def close(self) -> None:
        """See `Transport`. Again is fine."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        if (link := self._link) is not None and not link.over.done():
            link.leave()
            await within(self._clock, GOODBYE_SECONDS, asyncio.shield(link.over))
        for stream in list(self._streams):
            stream.cancel()
        if self._streams:
            await asyncio.wait(self._streams)
        if self._channel is not None:
            await self._channel.close()

    def _linked(self) -> Link:
        if self._link is None:
            raise ConnectionError(self._why_none)
        return self._link

    # How a worker stays at its server.

    async def _keep_safely(self, hello: Hello, inbox: Inbox) -> None:
        """Keep a stream open. When that cannot be done any more, say why to whoever has to know."""
        try:
            await self._keep(hello, inbox)
        except JobwireError as error:
            refusal: Exception = error
        except Exception as error:  # noqa: BLE001 (a worker without its keeper must not look alive)
            _log.exception("Keeping the worker's stream failed.")
            refusal = error
        self._link, self._why_none = None, str(refusal)
        assert self._first_welcome is not None
        if self._first_welcome.done():
            inbox.refuse(f"The server at {self._settings.address} will not have this worker: {refusal}")
        else:
            self._first_welcome.set_exception(refusal)

    async def _keep(self, hello: Hello, inbox: Inbox) -> NoReturn:
        """Keep a stream open until cancelled. Raises JobwireError when the server refuses the worker for good."""
        link: Link | None = None
        replaced_at = -math.inf
        while True:
            link = await self._introduce(hello, inbox, link)
            began_at = self._clock.monotonic()
            await asyncio.wait((link.over, link.notice), return_when=asyncio.FIRST_COMPLETED)
            now = self._clock.monotonic()
            self._pauses.lasted(now - began_at)
            if link.is_replaced:
                if now - replaced_at < FIGHT_SECONDS:
                    raise _robbed(hello)
                replaced_at = now
            ending = link.ending()
            if ending.error is not None and ending.is_final(was_welcome=True):
                raise ending.error
            _log.warning("%s Opening another stream to %s.", ending.why, self._settings.address)
            wish_seconds = max(ending.wish_seconds, REPLACED_PAUSE_SECONDS if link.is_replaced else 0.0)
            await self._clock.sleep(self._pauses.next(wish_seconds))

    async def _introduce(self, hello: Hello, inbox: Inbox, old: Link | None) -> Link:
        """Try until the server says welcome. Raises JobwireError when it never will."""
        for tries in itertools.count():
            link = self._say_hello(hello, inbox, old)
            await asyncio.wait((link.over, link.welcome), return_when=asyncio.FIRST_COMPLETED)
            if link.welcome.done():
                if old is not None:
                    old.leave()
                return link
            ending = link.ending()
            if ending.error is not None and ending.is_final(was_welcome=old is not None):
                raise ending.error
            if tries % _TRIES_BETWEEN_WARNINGS == 0:
                _log.warning("%s The worker waits for it.", ending.why)
            await self._clock.sleep(self._pauses.next(ending.wish_seconds))
        raise AssertionError("it counts for ever")

    def _say_hello(self, hello: Hello, inbox: Inbox, old: Link | None) -> Link:
        if old is not None:
            old.takes_work = False
        window, held = self._window, list(inbox.held())[:MAX_WINDOW]

        def welcomed(welcome: pb.WorkerWelcome) -> None:
            """Before anything else of this stream is delivered."""
            self._link = link
            if window != self._window:
                link.resize(self._window)
            self._greet(welcome, inbox)

        assert self._channel is not None
        place = Place(self._settings.address, self._settings.origin, "Work", None)
        link = Link(self._channel, place, inbox=inbox, clock=self._clock, on_welcome=welcomed)
        message = hello_message(hello, window=window, held=held, user_agent=_user_agent())
        stream = asyncio.create_task(link.run(message), name="jobwire worker stream")
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)
        return link

    def _greet(self, message: pb.WorkerWelcome, inbox: Inbox) -> None:
        welcome = Welcome(
            lease_seconds=seconds_of(message.lease_duration),
            heartbeat_seconds=seconds_of(message.heartbeat_interval),
            cancel_grace_seconds=CANCEL_GRACE_SECONDS,
        )
        assert self._first_welcome is not None
        if self._first_welcome.done():
            _log.info("The worker is back at %s, session %s.", self._settings.address, message.session_id)
            inbox.renewed(welcome, [lease_state_of(state) for state in message.leases])
        else:
            self._first_welcome.set_result(welcome)


def _robbed(hello: Hello) -> JobwireError:
    return Unavailable(
        f"Another process connects as worker {hello.worker_id!r}, instance {hello.instance_id!r}, and took this one's "
        "place twice. Give every worker process a name of its own."
    )


def _user_agent() -> str:
    try:
        version = metadata.version("jobwire")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return f"jobwire-python/{version} python/{platform.python_version()}"
