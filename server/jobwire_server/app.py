"""The composition root: what a server is made of, in which order it starts, and how it ends.

Start (each step is logged with its duration; one that fails undoes those before it, in reverse):

    open store → migrate → recovery → dispatcher → worker pool (paused) → gRPC listener → first lease, SERVING

Stop, at the first SIGTERM or SIGINT: NOT_SERVING, every call is answered DRAINING, watchers get their farewell → no
more leases → running jobs finish, or are given back without costing an attempt → last calls end, listener closed →
pool, dispatcher, sweeps, store. The second signal ends the
process on the spot: what was acknowledged is on disk, and recovery returns what was running.
"""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar

import uuid_utils

from jobwire.worker.handler import Handler
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from jobwire.worker.slots import Patience
from jobwire_server.config import Command, Config
from jobwire_server.dispatch.dispatcher import Dispatcher
from jobwire_server.dispatch.engine import Engine
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.domain.job import SECOND_US
from jobwire_server.jobs import Jobs
from jobwire_server.kernel.clock import Clock, SystemClock
from jobwire_server.kernel.failpoint import Failpoint, Failpoints
from jobwire_server.kernel.last_resort import LastResort, last_resort, no_last_resort
from jobwire_server.kernel.loop import background, wait_any
from jobwire_server.kernel.telemetry import Log, LogEvent, make_log, route_python_logging
from jobwire_server.pool.apps import find_app
from jobwire_server.pool.builtin import builtin_app
from jobwire_server.pool.direct import DirectTransport
from jobwire_server.recovery import Recovery, RecoveryReport, RecoverySettings
from jobwire_server.rpc import settings as rpc_settings
from jobwire_server.rpc.server import RpcServer, Served
from jobwire_server.scheduler import Scheduler, SweepSettings
from jobwire_server.store.sqlite.store import SqliteSettings, SqliteStore
from jobwire_server.watch.hub import WatchHub

T = TypeVar("T")

SWITCH_INTERVAL_SECONDS: Final = 1e-4
"""The store's writer thread gives up the GIL at every step of SQLite and gets it back only after this long from a
busy event loop. At Python's default of 5 ms, a commit beside such a loop takes six times as long."""

LAST_CALLS_SECONDS: Final = 0.25
"""Calls in flight get this long at the end, even if running jobs have used up the grace."""

POOL_SETTINGS: Final = RuntimeSettings(flush_seconds=0.5, patience=Patience(stop_seconds=0.6, drain_seconds=0.4))
"""Handlers that do not listen when the grace is over are given up soon enough to be gone 2 s after it."""

OVERDUE_SECONDS: Final = 1.6
"""A server that has not got to its end this long after its grace is ended where it stands, so that it is gone 2 s after
its grace whatever a handler, a disk or a busy machine does."""

GC_THRESHOLDS: Final = (20_000, 20, 100)

FAILPOINTS_VARIABLE: Final = "JOBWIRE_FAILPOINTS"
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StartFailed(Exception):
    """The server did not start; what had been started was undone. The message names the step and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What there is to say when health is SERVING."""

    address: str
    recovery: RecoveryReport
    types: tuple[str, ...]
    """Job types of the pool."""
    seconds: float
    """Since the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a drain has to speak to."""

    dispatcher: Dispatcher
    scheduler: Scheduler
    pool: WorkerRuntime | None
    rpc: RpcServer


class Server:
    """One life of a server: `run` once."""

    def __init__(
        self,
        config: Config,
        *,
        log: Log,
        failpoint: Failpoint,
        on_ready: Callable[[Ready], None],
        clock: Clock | None = None,
        at_latest: LastResort = no_last_resort,
    ) -> None:
        self._config = config
        self._at_latest = at_latest
        self._log = log
        self._failpoint = failpoint
        self._on_ready = on_ready
        self._clock = clock or SystemClock()
        self._chance = random.SystemRandom().random
        self._instance_id = secrets.token_hex(8)
        self._started_us = self._clock.wall_us()
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
                    parts = await self._start(undo)
                    self._starting = None
                    await wait_any(self._stop, self._broken, seconds=None, clock=self._clock)
                    broken = self._broken.is_set()
                    grace = 0.0 if broken else self._config.grace
                    ending.enter_context(self._at_latest(grace + OVERDUE_SECONDS, int(broken)))
                    if not broken:
                        await self._drain(parts)
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

    # --- start ----------------------------------------------------------------------------------------------------

    async def _start(self, undo: AsyncExitStack) -> _Parts:
        """Everything in its order. Each step leaves its undoing on `undo`."""
        config, clock, log, started_at = self._config, self._clock, self._log, self._clock.monotonic()
        handlers = await self._step("find handlers", self._find_handlers())
        store = await self._step("open and migrate store", self._open_store(undo))
        self._failpoint("startup.before_recovery")
        recovery = await self._step("recovery", self._recover(store))
        self._failpoint("startup.after_recovery")
        hub = WatchHub(store=store, clock=clock, log=log)
        engine = Engine(
            store=store,
            clock=clock,
            chance=self._chance,
            instance_id=self._instance_id,
            log=log,
            on_progress=hub.progress,
            settings=DispatchSettings(
                lease_us=round(config.lease * SECOND_US), cancel_grace_us=round(config.cancel_grace * SECOND_US)
            ),
        )
        scheduler = Scheduler(store=store, clock=clock, chance=self._chance, log=log, settings=SweepSettings())
        await self._step("dispatcher", self._start_dispatcher(undo, hub, scheduler, engine))
        pool = await self._step("worker pool, paused", self._start_pool(undo, engine.dispatcher, handlers))
        rpc = self._rpc(store, hub, engine, recovery, sorted(handlers))
        address = await self._step("gRPC listener", self._start_rpc(undo, rpc))
        self._failpoint("startup.before_serving")
        engine.dispatcher.grant()
        if pool is not None:
            await pool.resume()
        _settle_heap()
        rpc.set_serving(True)
        seconds = clock.monotonic() - started_at
        log.info(LogEvent.SERVER_READY, address=address, seconds=round(seconds, 3))
        self._on_ready(Ready(address=address, recovery=recovery, types=tuple(sorted(handlers)), seconds=seconds))
        return _Parts(dispatcher=engine.dispatcher, scheduler=scheduler, pool=pool, rpc=rpc)

    async def _step(self, name: str, work: Awaitable[T]) -> T:
        started_at = self._clock.monotonic()
        self._log.info(LogEvent.STEP_STARTED, step=name)
        try:
            result = await work
        except Exception as error:
            self._log.error(LogEvent.STEP_FAILED, step=name, error=str(error), type=type(error).__name__)
            raise StartFailed(f"The server did not start ({name}). {error}") from error
        self._log.info(LogEvent.STEP_ENDED, step=name, seconds=round(self._clock.monotonic() - started_at, 4))
        return result

    async def _find_handlers(self) -> Mapping[str, Handler[..., Any]]:
        handlers: dict[str, Handler[..., Any]] = {}
        if self._config.command is Command.DEV:
            handlers.update(builtin_app().handlers)
        if self._config.app is not None:
            handlers.update(find_app(self._config.app, directory=Path.cwd()).handlers)
        return handlers

    async def _open_store(self, undo: AsyncExitStack) -> SqliteStore:
        store = SqliteStore(
            self._config.db,
            clock=self._clock,
            chance=self._chance,
            settings=SqliteSettings(
                max_depth=self._config.max_depth, cancel_grace_us=round(self._config.cancel_grace * SECOND_US)
            ),
            failpoint=self._failpoint,
            log=self._log,
        )
        store.on_fatal(lambda error: self._break("store", error))
        await store.open()
        undo.push_async_callback(store.close)
        return store

    async def _recover(self, store: SqliteStore) -> RecoveryReport:
        settings = RecoverySettings(time_limit_seconds=self._config.recovery_time_limit)
        recovery = Recovery(store=store, clock=self._clock, log=self._log, settings=settings)
        report = await recovery.run(self._instance_id)
        self._log.info(
            LogEvent.RECOVERY_ENDED,
            returned=report.returned,
            still_leased=report.still_leased,
            failed=report.failed,
            cancelled=report.cancelled,
            waiting=report.waiting,
            seconds=round(report.duration_seconds, 4),
            retries=report.retries,
        )
        return report

    async def _start_dispatcher(
        self, undo: AsyncExitStack, hub: WatchHub, scheduler: Scheduler, engine: Engine
    ) -> None:
        await hub.start()
        undo.push_async_callback(hub.stop)
        await undo.enter_async_context(background(scheduler.run(), "sweeps", self._break))
        await undo.enter_async_context(background(engine.run(), "dispatcher", self._break))

    async def _start_pool(
        self, undo: AsyncExitStack, dispatcher: Dispatcher, handlers: Mapping[str, Handler[..., Any]]
    ) -> WorkerRuntime | None:
        if not handlers:
            return None
        pool = WorkerRuntime(
            transport=DirectTransport(dispatcher),
            handlers=handlers,
            slots=self._config.slots,
            worker_id=f"pool-{self._instance_id}",
            instance_id=self._instance_id,
            app_path=self._config.app,
            settings=POOL_SETTINGS,
            on_health=self._pool_health,
        )
        await pool.start()
        undo.push_async_callback(pool.stop)
        return pool

    def _rpc(
        self, store: SqliteStore, hub: WatchHub, engine: Engine, recovery: RecoveryReport, types: Sequence[str]
    ) -> RpcServer:
        config = self._config
        tls = None
        if config.tls is not None:
            tls = rpc_settings.Tls(certificate=config.tls.cert, key=config.tls.key, client_ca=config.tls.client_ca)
        return RpcServer(
            served=Served(
                Jobs(store=store, hub=hub, clock=self._clock, new_id=new_job_id, log=self._log), hub, store, engine
            ),
            facts=rpc_settings.ServerFacts(
                version=version("jobwire"),
                # So that whoever submits a type that nobody here serves can be told.
                capabilities=tuple(f"type:{name}" for name in types),
                start_time_us=self._started_us,
                recovery=rpc_settings.RecoveryFacts(
                    returned=recovery.returned,
                    still_leased=recovery.still_leased,
                    failed=recovery.failed,
                    waiting=recovery.waiting,
                    duration_us=round(recovery.duration_seconds * SECOND_US),
                    retries=recovery.retries,
                ),
                max_depth=config.max_depth,
            ),
            settings=rpc_settings.RpcSettings(listen=(config.listen,), tls=tls),
            clock=self._clock,
            chance=self._chance,
            log=self._log,
        )

    async def _start_rpc(self, undo: AsyncExitStack, rpc: RpcServer) -> str:
        undo.push_async_callback(rpc.stop, 0.0)
        (address,) = await rpc.start()
        return address

    def _pool_health(self, reason: str | None) -> None:
        if reason is None:
            self._log.info(LogEvent.POOL_HEALTH, healthy=True)
        else:
            self._log.error(LogEvent.POOL_HEALTH, healthy=False, reason=reason)

    # --- end ------------------------------------------------------------------------------------------------------

    async def _drain(self, parts: _Parts) -> None:
        """Take nothing new, then let jobs and calls end within the grace."""
        config, clock = self._config, self._clock
        ends_at = clock.monotonic() + config.grace
        self._log.info(LogEvent.SERVER_DRAINING, grace_seconds=config.grace)
        await parts.rpc.drain()
        await clock.sleep(min(config.drain_delay, config.grace))
        await parts.dispatcher.stop_granting("the server is shutting down")
        parts.scheduler.stop()
        if parts.pool is not None:
            await parts.pool.drain(max(0.0, ends_at - clock.monotonic()))
        # Last, so that whoever calls while jobs finish is told DRAINING, and not cut off without a reason.
        await parts.rpc.stop(max(LAST_CALLS_SECONDS, ends_at - clock.monotonic()))

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


def new_job_id() -> str:
    """Make an id for a job or a batch: UUIDv7, so that ids grow with time."""
    return str(uuid_utils.uuid7())


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
    server = Server(config, log=log, failpoint=failpoint, on_ready=on_ready, at_latest=last_resort(log))
    return await server.run()
