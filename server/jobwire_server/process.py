"""A server as a process: signals, exit code, and the last resort.

The first SIGTERM or SIGINT drains. The second one ends the process on the spot: what was acknowledged is on disk, and
recovery returns what was running.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import Any, Final

from jobwire_server.app import Ready, Service, StartFailed
from jobwire_server.config import Config
from jobwire_server.kernel.clock import Clock, SystemClock
from jobwire_server.kernel.failpoint import Failpoint, Failpoints
from jobwire_server.kernel.last_resort import LastResort, last_resort, no_last_resort
from jobwire_server.kernel.loop import wait_any
from jobwire_server.kernel.service_manager import ServiceManager
from jobwire_server.kernel.telemetry import Log, LogEvent, make_log, route_python_logging

__all__ = ["Ready", "Server", "StartFailed", "serve_until_signalled"]

SWITCH_INTERVAL_SECONDS: Final = 1e-4
"""The store's writer thread gives up the GIL at every step of SQLite and gets it back only after this long from a
busy event loop. At Python's default of 5 ms, a commit beside such a loop takes six times as long."""

OVERDUE_SECONDS: Final = 1.6
"""A server that has not got to its end this long after its grace is ended where it stands, so that it is gone 2 s after
its grace whatever a handler, a disk or a busy machine does."""

GC_THRESHOLDS: Final = (20_000, 20, 100)
FAILPOINTS_VARIABLE: Final = "JOBWIRE_FAILPOINTS"
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Server:
    """One life of a server process: `run` once."""

    def __init__(
        self,
        config: Config,
        *,
        log: Log,
        failpoint: Failpoint,
        on_ready: Callable[[Ready], None],
        clock: Clock | None = None,
        at_latest: LastResort = no_last_resort,
        manager: ServiceManager | None = None,
    ) -> None:
        self._config = config
        self._at_latest = at_latest
        self._log = log
        self._on_ready = on_ready
        self._manager = manager or ServiceManager()
        self._clock = clock or SystemClock()
        self._service = Service(config, log=log, failpoint=failpoint, on_broken=self._break, clock=self._clock)
        self._stop = asyncio.Event()
        self._broken = asyncio.Event()
        self._fault: BaseException | None = None
        self._starting: asyncio.Task[Any] | None = None

    async def run(self) -> int:
        """Start, serve until a signal comes, drain; returns the exit code. Raises `StartFailed`."""
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
        self._starting = asyncio.current_task()
        self._catch_signals()
        try:
            with ExitStack() as ending:
                async with AsyncExitStack() as undo:
                    ready = await self._service.start(undo)
                    self._starting = None
                    _settle_heap()
                    self._on_ready(ready)
                    self._manager.ready(f"ready {ready.address}")
                    await wait_any(self._stop, self._broken, seconds=None, clock=self._clock)
                    self._manager.stopping()
                    broken = self._broken.is_set()
                    grace = 0.0 if broken else self._config.grace
                    ending.enter_context(self._at_latest(grace + OVERDUE_SECONDS, int(broken)))
                    if not broken:
                        await self._service.drain()
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
        finally:
            self._ignore_signals()
        if self._fault is not None:
            self._log.error(LogEvent.SERVER_FAILED, error=str(self._fault), type=type(self._fault).__name__)
            return 1
        self._log.info(LogEvent.SERVER_STOPPED)
        return 0

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._signalled)

    def _ignore_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        """The first signal: stop in order. The next one gets the system's answer, and that is death at once."""
        self._ignore_signals()
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._stop.set()
        if self._starting is not None:
            self._starting.cancel()

    def _break(self, name: str, error: BaseException) -> None:
        """A part that must live as long as the server has failed: end, rather than serve half."""
        if self._fault is None:
            self._fault = error
            self._log.error(LogEvent.PART_FAILED, part=name, error=str(error), type=type(error).__name__)
        self._broken.set()


def _settle_heap() -> None:
    """Take what the start has built out of the collector's sight, and have it look less often.

    Hardly anything here forms cycles, and with a thousand watchers a full collection was seen to stop the loop for 30
    to 170 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def serve_until_signalled(
    config: Config, environment: Mapping[str, str], *, on_ready: Callable[[Ready], None]
) -> int:
    """Run a server in this process until a signal ends it; returns the exit code. Raises `StartFailed`."""
    log = make_log(config.log_format, config.log_level)
    route_python_logging(log)
    try:
        failpoint = Failpoints(environment.get(FAILPOINTS_VARIABLE, ""))
    except ValueError as error:
        raise StartFailed(str(error)) from error
    server = Server(
        config,
        log=log,
        failpoint=failpoint,
        on_ready=on_ready,
        at_latest=last_resort(log),
        manager=ServiceManager.found(environment),
    )
    return await server.run()
