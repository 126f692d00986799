"""The process of the server's own pool: `python -m jobwire_server.pool.child PARENT_PID`.

It is a worker like any other, on the Work stream of a private Unix socket, so that no handler shares the server's GIL
or its memory. It never outlives its server: the kernel ends it (Linux), and so does the end of the pipe.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from jobwire.settings import Settings
from jobwire.worker.child import die_with, end_at_once, take_pipes
from jobwire.worker.handler import Handler
from jobwire.worker.runtime import WorkerRuntime
from jobwire.worker.stream.transport import StreamTransport
from jobwire_server.kernel.loop import loop_factory
from jobwire_server.kernel.telemetry import LogFormat, LogLevel, make_log, route_python_logging
from jobwire_server.pool.apps import AppUnusable, find_app
from jobwire_server.pool.builtin import builtin_app
from jobwire_server.pool.lines import Plan, decode, encode
from jobwire_server.pool.settings import runtime_settings

Say = Callable[[dict[str, Any]], None]


class _Orders:
    """What the server says, line by line, on the event loop. When the server is gone, so are we."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        threading.Thread(target=self._listen, name="jobwire-pool-orders", daemon=True).start()

    async def next(self) -> bytes:
        """Wait for the next line."""
        return await self._lines.get()

    def _listen(self) -> None:
        try:
            for line in self._source:
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
        finally:
            end_at_once()


async def serve(source: BinaryIO, say: Say) -> int:
    """Be the pool until told to drain; returns the exit code."""
    orders = _Orders(source)
    plan = Plan.read(await orders.next())
    route_python_logging(make_log(LogFormat(plan.log_format), LogLevel(plan.log_level)))
    try:
        handlers = _handlers(plan)
    except AppUnusable as error:
        say({"broken": str(error)})
        return 1
    say({"handlers": sorted(handlers)})
    order = decode(await orders.next())
    runtime = WorkerRuntime(
        transport=StreamTransport(Settings(address=order["connect"], origin="argument")),
        handlers=handlers,
        slots=plan.slots,
        worker_id=order["worker_id"],
        app_path=plan.app,
        settings=runtime_settings(plan),
        on_health=lambda reason: say({"health": reason}),
    )
    await runtime.start()
    await runtime.resume()
    say({"connected": True})
    order = decode(await orders.next())
    await runtime.drain(order["drain"])
    await runtime.stop()
    return 0


def _handlers(plan: Plan) -> dict[str, Handler[..., Any]]:
    handlers: dict[str, Handler[..., Any]] = {}
    if plan.builtin:
        handlers.update(builtin_app().handlers)
    if plan.app is not None:
        handlers.update(find_app(plan.app, directory=Path(plan.directory)).handlers)
    return handlers


def main() -> int:
    """Entry point: the server's process id is the only argument."""
    die_with(int(sys.argv[1]))
    # The server decides when to end, and how: a Ctrl+C at the terminal, or a signal to all, is not for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source, target = take_pipes()

    def say(message: dict[str, Any]) -> None:
        os.write(target, encode(message))

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(serve(source, say))


if __name__ == "__main__":
    sys.exit(main())
