"""A runtime on a scripted server, and gates for handlers to wait at."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jobwire.app import App
from jobwire.worker.handler import Handler
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from tests.helpers.clock import ManualClock
from tests.helpers.scripted_transport import ScriptedTransport

PATIENCE_SECONDS = 20.0
"""Only reached when a test fails."""


class Worker:
    """A started runtime and the two ends it hangs between."""

    def __init__(self, runtime: WorkerRuntime, server: ScriptedTransport, clock: Any, health: list[str | None]) -> None:
        self.runtime = runtime
        self.server = server
        self.clock = clock
        self.health = health


@asynccontextmanager
async def working(
    app: App | Mapping[str, Handler[..., Any]],
    *,
    slots: int = 4,
    server: ScriptedTransport | None = None,
    clock: ManualClock | None = None,
    app_path: str | None = None,
    settings: RuntimeSettings | None = None,
) -> AsyncIterator[Worker]:
    """Run these handlers; time stands still if a clock is given."""
    handlers = app.handlers if isinstance(app, App) else app
    server = server or ScriptedTransport()
    health: list[str | None] = []
    runtime = WorkerRuntime(
        transport=server, handlers=handlers, slots=slots, worker_id="w", app_path=app_path,
        settings=settings or RuntimeSettings(), clock=clock, on_health=health.append,
    )  # fmt: skip
    await runtime.start()
    await runtime.resume()
    try:
        yield Worker(runtime, server, clock, health)
    finally:
        await runtime.stop()


class Gate:
    """Where handlers in threads wait until the test opens it. Opened in the end by whoever uses `with`."""

    def __init__(self) -> None:
        self._arrivals = threading.Semaphore(0)
        self._open = threading.Event()

    def wait(self) -> None:
        """The handler's side."""
        self._arrivals.release()
        assert self._open.wait(PATIENCE_SECONDS), "the test forgot to open the gate"

    def open(self) -> None:
        """Let everybody through, now and later."""
        self._open.set()

    async def arrived(self, count: int = 1) -> None:
        """Wait until so many more handlers have come."""
        for _ in range(count):
            assert await asyncio.to_thread(self._arrivals.acquire, timeout=PATIENCE_SECONDS)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


async def until(holds: Callable[[], bool]) -> None:
    """Yield until this is true: for facts that threads make true, and tell nobody of."""
    while not holds():  # noqa: ASYNC110 (nobody would set an event)
        await asyncio.sleep(0)


class Notes:
    """A named pipe that handlers in child processes write lines to, and the test waits for them."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        # Open for writing, too: the pipe must not end when the first writer goes.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._text = b""

    async def line(self) -> list[str]:
        """Wait for the next line; returns its words."""
        while b"\n" not in self._text:
            readable, _, _ = await asyncio.to_thread(select.select, [self._fd], [], [], PATIENCE_SECONDS)
            assert readable, "no handler wrote anything"
            self._text += os.read(self._fd, 4096)
        line, _, self._text = self._text.partition(b"\n")
        return line.decode().split()

    def close(self) -> None:
        """Stop listening."""
        os.close(self._fd)


async def ended(pid: int) -> None:
    """Wait until this process is gone."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        readable, _, _ = await asyncio.to_thread(select.select, [watch], [], [], 20)
        assert readable, f"process {pid} lives on"
    finally:
        os.close(watch)


async def settled() -> None:
    """Let the event loop finish what is ready, a few turns deep."""
    for _ in range(20):
        await asyncio.sleep(0)
