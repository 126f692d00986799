"""jobwire inside another program: the whole service, and its handlers, in one process and on one event loop.

    app = App("shop")

    @app.job("add")
    async def add(a: int, b: int) -> int:
        return a + b

    async with Embedded(app, db="jobs.db") as service, AsyncClient(service.address) as client:
        job = await client.submit("add", [1, 2])
        print(await job.result())

The durability, the recovery and the contract are those of `jobwire serve`; workers in other processes and languages may
connect. What is missing is the isolation: handlers share this program's memory, and end with it. There is one Embedded
per file, and no signal handling: the program decides when to end.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from jobwire.app import App
from jobwire_server.app import Ready, Service, StartFailed
from jobwire_server.config import Command, load
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.kernel.telemetry import Log, SilentLog
from jobwire_server.process import SWITCH_INTERVAL_SECONDS

__all__ = ["Embedded", "Ready", "StartFailed"]


class Embedded:
    """One service in this process: `async with`. It starts as a server does, and drains at the end of the block."""

    def __init__(
        self,
        app: App,
        *,
        db: str | Path | None = None,
        listen: str | None = None,
        slots: int = 16,
        grace: float = 30.0,
        app_path: str | None = None,
        log: Log | None = None,
    ) -> None:
        """db: SQLite file, None = a private temporary one without durability. listen: HOST:PORT or unix:PATH, None =
        a private Unix socket. slots: most jobs at once. grace: seconds that running jobs get at the end. app_path:
        MODULE:APP, where child processes find handlers with runner="process".
        """
        self._app = app
        self._flags = {
            "db": None if db is None else str(db),
            "memory": True if db is None else None,
            "listen": listen,
            "slots": str(slots),
            "grace": f"{round(grace * 1000)}ms",
            "app": app_path,
        }
        self._log = log or SilentLog()
        self._undo = AsyncExitStack()
        self._service: Service | None = None
        self._ready: Ready | None = None
        self._fault: BaseException | None = None

    @property
    def address(self) -> str:
        """Where clients and remote workers find it."""
        if self._ready is None:
            raise RuntimeError("This service is not running: use it inside `async with`.")
        return self._ready.address

    @property
    def broken(self) -> BaseException | None:
        """What made a part of it fail since it started; None while all is well."""
        return self._fault

    async def __aenter__(self) -> Self:
        """Start. Raises `StartFailed` (the store is taken, a port is taken, a handler does not fit)."""
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_SECONDS))
        if self._flags["listen"] is None:
            folder = Path(tempfile.mkdtemp(prefix="jobwire-"))
            self._undo.callback(shutil.rmtree, folder, ignore_errors=True)
            self._flags["listen"] = f"unix:{folder}/jobwire.sock"
        config = load(Command.DEV, self._flags, {}, None)
        self._service = Service(
            config, log=self._log, failpoint=no_failpoint, on_broken=self._break, embedded=self._app
        )
        try:
            self._ready = await self._service.start(self._undo)
        except BaseException:
            await self._undo.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain: running jobs finish within the grace, or are given back at no cost to their attempts."""
        try:
            if self._service is not None and self._fault is None:
                await self._service.drain()
        finally:
            self._ready = None
            await self._undo.aclose()

    def _break(self, name: str, error: BaseException) -> None:
        self._fault = self._fault or error
        self._log.error("server.part_failed", part=name, error=str(error))
