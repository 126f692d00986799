"""A stream transport between a scripted server and an inbox that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobwire.settings import make_settings
from jobwire.v1 import worker_service_pb2 as pb
from jobwire.worker.stream.transport import StreamTransport
from jobwire.worker.transport import (
    Assignment,
    CancelOrder,
    Hello,
    LeaseState,
    OutcomeReport,
    Success,
    Token,
    Welcome,
)
from tests.helpers.clock import ManualClock
from tests.helpers.scripted_worker_service import ScriptedStream, ScriptedWorkerService

HELLO = Hello(worker_id="w", instance_id="i", types=("it",), max_in_flight=10)


class KeepingInbox:
    """Implements `jobwire.worker.transport.Inbox`: everything is noted, in order."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, Any]] = []
        self.holding: list[Token] = []
        self._noted = asyncio.Event()

    def assign(self, assignments: Sequence[Assignment]) -> None:
        self._note("assign", [one.token for one in assignments])
        self.assignments = list(assignments)

    def cancel(self, orders: Sequence[CancelOrder]) -> None:
        self._note("cancel", list(orders))

    def lose(self, tokens: Sequence[Token]) -> None:
        self._note("lose", list(tokens))

    def drain(self, reason: str) -> None:
        self._note("drain", reason)

    def held(self) -> Sequence[Token]:
        return self.holding

    def renewed(self, welcome: Welcome, states: Sequence[LeaseState]) -> None:
        self._note("renewed", (welcome, list(states)))

    def refuse(self, reason: str) -> None:
        self._note("refuse", reason)

    def noted(self, kind: str) -> list[Any]:
        """Every note of this kind."""
        return [what for name, what in self.notes if name == kind]

    async def note(self, kind: str, count: int = 1) -> Any:
        """Wait for the `count`th note of this kind."""
        while len(self.noted(kind)) < count:
            self._noted.clear()
            await self._noted.wait()
        return self.noted(kind)[count - 1]

    def _note(self, kind: str, what: Any) -> None:
        self.notes.append((kind, what))
        self._noted.set()


class Line:
    """Everything that a test of the transport needs."""

    def __init__(self, folder: Path, chance: Callable[[], float]) -> None:
        self.server = ScriptedWorkerService(folder / "s")
        self.inbox = KeepingInbox()
        self.clock = ManualClock()
        settings = make_settings(
            self.server.address, {}, deadline="10s", patience=None, tries=None, tls=False, files=(None, None, None)
        )
        self.transport = StreamTransport(settings, clock=self.clock, chance=chance)

    async def opened(self, hello: Hello = HELLO) -> ScriptedStream:
        """Open the transport; returns the server's end of its stream."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.transport.open(hello, self.inbox))
            return await self.server.welcomed()

    async def paused(self) -> float:
        """Wait until the transport pauses before the next stream; returns for how long. Let it pass with `clock`."""
        while (seconds := self._pause()) is None:  # noqa: ASYNC110 (a clock tells nobody who sleeps)
            await asyncio.sleep(0)
        return seconds

    def _pause(self) -> float | None:
        """Streams listen for silence on the same clock: their sleeps are longer."""
        seconds = self.clock.seconds_to_next()
        return seconds if seconds is not None and seconds < 20 else None

    async def let_pauses_pass(self) -> ScriptedStream:
        """Wait for the next hello, however many tries it takes."""
        while not self.server.has_stream():
            self.clock.advance(self._pause() or 0.0)
            await asyncio.sleep(0)
        return await self.server.stream()

    async def next_stream(self) -> ScriptedStream:
        """Let the pause pass, and wait for the next hello."""
        self.clock.advance(await self.paused())
        return await self.server.stream()


@asynccontextmanager
async def line(*, chance: Callable[[], float] = lambda: 1.0, listening: bool = True) -> AsyncIterator[Line]:
    """A transport that was not opened yet, and its server."""
    with TemporaryDirectory(prefix="jw-") as folder:  # tmp_path may be too long for a Unix socket
        it = Line(Path(folder), chance)
        if listening:
            await it.server.start()
        try:
            yield it
        finally:
            closing = asyncio.create_task(it.transport.close())
            while not closing.done():  # nobody ends its streams: the goodbye lasts as long as it may
                it.clock.advance(1.0)
                await asyncio.sleep(0.001)
            closing.result()
            await it.server.stop()


def assignment(token: bytes, **fields: Any) -> pb.Assignment:
    """A job, as the server sends it."""
    message = pb.Assignment(lease_token=token, job_id=f"job-{token.decode()}", type="it", queue="q", **fields)
    message.lease_remaining.seconds = 30
    return message


def success(*tokens: bytes) -> list[OutcomeReport]:
    """Reports of success."""
    return [OutcomeReport(token, Success()) for token in tokens]
