"""The composition root: what a server is made of, in which order it starts, and how it ends.

Start (each step is logged with its duration; one that fails undoes those before it, in reverse):

    open store → migrate → recovery → dispatcher → worker pool (paused) → gRPC listener → first lease, SERVING

The process of the pool imports its handlers meanwhile; it is connected, and paused, in its turn.

Stop: NOT_SERVING, every call is answered DRAINING, watchers and workers get their farewell → no more leases → running
jobs of the pool finish, or are given back without costing an attempt → last calls end, listener closed → pool,
dispatcher, sweeps, store. Jobs of remote workers go on: their leases stand.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import uuid_utils

from jobwire.app import App
from jobwire_server.config import Command, Config, PostgresUrl
from jobwire_server.dispatch.engine import Engine
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.domain.job import SECOND_US
from jobwire_server.jobs import Jobs
from jobwire_server.kernel.clock import Clock, SharedTime, SystemClock
from jobwire_server.kernel.failpoint import Failpoint
from jobwire_server.kernel.loop import background
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.pool.base import Pool
from jobwire_server.pool.direct import DirectPool
from jobwire_server.pool.lines import Plan
from jobwire_server.pool.process import ProcessPool
from jobwire_server.recovery import Recovery, RecoveryReport, RecoverySettings
from jobwire_server.rpc import settings as rpc_settings
from jobwire_server.rpc.pool_listener import PoolListener
from jobwire_server.rpc.server import Interceptor, RpcServer, Served
from jobwire_server.rpc.work.desk import follow_ups_of
from jobwire_server.scheduler import Scheduler, SweepSettings
from jobwire_server.store.base import Store
from jobwire_server.store.sqlite.store import SqliteSettings, SqliteStore
from jobwire_server.watch.hub import WatchHub

if TYPE_CHECKING:
    from jobwire_server.store.postgres.store import PostgresStore

T = TypeVar("T")

LAST_CALLS_SECONDS: Final = 0.25
"""Calls in flight get this long at the end, even if running jobs have used up the grace."""


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

    store: Store
    engine: Engine
    scheduler: Scheduler
    pool: Pool | None
    rpc: RpcServer


class Service:
    """One life of a server, whatever process it lives in: `start`, then `drain`; the undo stack ends the rest."""

    def __init__(
        self,
        config: Config,
        *,
        log: Log,
        failpoint: Failpoint,
        on_broken: Callable[[str, BaseException], None],
        clock: Clock | None = None,
        store_clock: Clock | None = None,
        embedded: App | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        """`on_broken`: told when a part that must live as long as the server has failed. `store_clock`: the store's own
        time, where it is not that of everything else. `embedded`: handlers that run in this very process; without them
        the pool is a process of its own. `interceptors`: what calls go through first, the outermost first."""
        self._config = config
        self._log = log
        self._failpoint = failpoint
        self._on_broken = on_broken
        self._clock = clock or SystemClock()
        self._store_clock = store_clock or self._clock
        self._shared_time = SharedTime(self._clock)
        if isinstance(config.db, PostgresUrl):
            self._clock = self._shared_time
        self._embedded = embedded
        self._interceptors = tuple(interceptors)
        self._chance = random.SystemRandom().random
        self._instance_id = secrets.token_hex(8)
        self._started_at = self._clock.monotonic()
        self._parts: _Parts | None = None

    @property
    def store(self) -> Store:
        """The store, while the service lives: for tests that carry out by themselves what a sweep would."""
        if self._parts is None:
            raise RuntimeError("This service has not started.")
        return self._parts.store

    # --- start ----------------------------------------------------------------------------------------------------

    async def start(self, undo: AsyncExitStack) -> Ready:
        """Everything in its order. Each step leaves its undoing on `undo`. Raises `StartFailed`."""
        clock, log = self._clock, self._log
        started_at = self._started_at = clock.monotonic()
        store = self._store()
        hub = WatchHub(store=store, clock=clock, log=log)
        engine = self._engine(store, hub)
        scheduler = Scheduler(store=store, clock=clock, chance=self._chance, log=log, settings=SweepSettings())
        jobs = Jobs(store=store, hub=hub, clock=clock, new_id=new_job_id, log=log, expect=engine.dispatcher.expect)
        served = Served(jobs, hub, store, engine)
        listener = PoolListener(served, clock=clock, chance=self._chance, log=log)
        pool = self._pool(engine, listener, jobs)
        finding = await self._find_handlers(undo, pool)

        await self._step("open and migrate store", self._open_store(undo, store))
        self._failpoint("startup.before_recovery")
        recovery = await self._step("recovery", self._recover(store))
        self._failpoint("startup.after_recovery")
        await self._step("dispatcher", self._start_dispatcher(undo, hub, scheduler, engine))
        types = await self._step("worker pool, paused", self._start_pool(undo, pool, listener, finding))
        rpc = self._rpc(served, recovery, types, pool)
        address = await self._step("gRPC listener", self._start_rpc(undo, rpc))
        self._failpoint("startup.before_serving")
        engine.dispatcher.grant()
        rpc.set_serving(True)

        self._parts = _Parts(store=store, engine=engine, scheduler=scheduler, pool=pool, rpc=rpc)
        seconds = clock.monotonic() - started_at
        log.info(LogEvent.SERVER_READY, address=address, seconds=round(seconds, 3))
        return Ready(address=address, recovery=recovery, types=tuple(types), seconds=seconds)

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

    async def _find_handlers(self, undo: AsyncExitStack, pool: Pool | None) -> asyncio.Task[Sequence[str]] | None:
        """Let the pool import its handlers beside the next steps: that takes longer than all of them."""
        if pool is None:
            return None
        undo.push_async_callback(pool.stop)
        finding = asyncio.get_running_loop().create_task(_sequence(pool), name="find-handlers")

        async def abandon() -> None:
            finding.cancel()
            await asyncio.wait((finding,))

        undo.push_async_callback(abandon)
        return finding

    async def _open_store(self, undo: AsyncExitStack, store: Store) -> None:
        await store.open()
        undo.push_async_callback(store.close)

    async def _recover(self, store: Store) -> RecoveryReport:
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
        await undo.enter_async_context(background(scheduler.run(), "sweeps", self._on_broken))
        await undo.enter_async_context(background(engine.run(), "dispatcher", self._on_broken))

    async def _start_pool(
        self,
        undo: AsyncExitStack,
        pool: Pool | None,
        listener: PoolListener,
        finding: asyncio.Task[Sequence[str]] | None,
    ) -> Sequence[str]:
        if pool is None or finding is None:
            return ()
        types = await finding
        undo.push_async_callback(listener.stop)
        await listener.start()
        undo.push_async_callback(pool.stop)
        await pool.connect()
        await undo.enter_async_context(background(pool.run(), "worker pool", self._on_broken))
        return types

    async def _start_rpc(self, undo: AsyncExitStack, rpc: RpcServer) -> str:
        undo.push_async_callback(rpc.stop, 0.0)
        (address,) = await rpc.start()
        return address

    # --- parts ----------------------------------------------------------------------------------------------------

    def _store(self) -> SqliteStore | PostgresStore:
        config = self._config
        if isinstance(config.db, PostgresUrl):
            return self._postgres_store(config.db)
        store = SqliteStore(
            config.db,
            clock=self._store_clock,
            chance=self._chance,
            settings=SqliteSettings(max_depth=config.max_depth, cancel_grace_us=round(config.cancel_grace * SECOND_US)),
            failpoint=self._failpoint,
            log=self._log,
        )
        store.on_fatal(lambda error: self._on_broken("store", error))
        return store

    def _postgres_store(self, where: PostgresUrl) -> PostgresStore:
        try:
            # Here, since it is an extra: whoever keeps jobs in a file need not have installed the client library.
            from jobwire_server.store.postgres.store import PostgresSettings, PostgresStore  # noqa: PLC0415
        except ImportError as error:
            raise StartFailed(
                f"The server did not start: its PostgreSQL driver is not installed ({error}). "
                "Install it: pip install 'jobwire[postgres]'."
            ) from error
        config = self._config
        store = PostgresStore(
            where.url,
            clock=self._clock,
            chance=self._chance,
            settings=PostgresSettings(
                max_depth=config.max_depth,
                cancel_grace_us=round(config.cancel_grace * SECOND_US),
                notify=not config.db_pooler,
                prepare=not config.db_pooler,
            ),
            failpoint=self._failpoint,
            log=self._log,
        )
        store.on_fatal(lambda error: self._on_broken("store", error))
        store.on_reach(self._reached)
        store.on_time(self._shared_time.agree)
        return store

    def _reached(self, reached: bool) -> None:
        """Health says NOT_SERVING while the database is away; calls get their own answers from the store."""
        if self._parts is not None:
            self._parts.rpc.set_ready(reached)

    def _engine(self, store: Store, hub: WatchHub) -> Engine:
        config = self._config
        return Engine(
            store=store,
            clock=self._clock,
            chance=self._chance,
            instance_id=self._instance_id,
            log=self._log,
            on_progress=hub.progress,
            settings=DispatchSettings(
                lease_us=round(config.lease * SECOND_US), cancel_grace_us=round(config.cancel_grace * SECOND_US)
            ),
        )

    def _pool(self, engine: Engine, listener: PoolListener, jobs: Jobs) -> Pool | None:
        config, name = self._config, f"pool-{self._instance_id}"
        if self._embedded is not None:
            return DirectPool(
                engine.dispatcher,
                self._embedded,
                slots=config.slots,
                worker_id=name,
                app_path=config.app,
                log=self._log,
                follow_ups=lambda requests: follow_ups_of(requests, jobs, jobs.limits),
            )
        builtin = config.command is Command.DEV
        if config.app is None and not builtin:
            return None
        plan = Plan(
            app=config.app,
            directory=str(Path.cwd()),
            builtin=builtin,
            slots=config.slots,
            max_jobs_per_child=config.max_jobs_per_child,
            memory_per_child_bytes=config.memory_per_child,
            log_format=config.log_format,
            log_level=config.log_level,
        )
        return ProcessPool(
            plan,
            name=name,
            address=lambda: listener.address,
            bury=engine.roster.bury,
            clock=self._clock,
            chance=self._chance,
            log=self._log,
        )

    def _rpc(self, served: Served, recovery: RecoveryReport, types: Sequence[str], pool: Pool | None) -> RpcServer:
        config = self._config
        tls = None
        if config.tls is not None:
            tls = rpc_settings.Tls(certificate=config.tls.cert, key=config.tls.key, client_ca=config.tls.client_ca)
        return RpcServer(
            served=served,
            facts=rpc_settings.ServerFacts(
                version=version("jobwire"),
                store_kind="postgresql" if isinstance(config.db, PostgresUrl) else "sqlite",
                types=tuple(types),
                start_time_us=self._clock.wall_us() - round((self._clock.monotonic() - self._started_at) * SECOND_US),
                recovery=rpc_settings.RecoveryFacts(
                    returned=recovery.returned,
                    still_leased=recovery.still_leased,
                    failed=recovery.failed,
                    waiting=recovery.waiting,
                    duration_us=round(recovery.duration_seconds * SECOND_US),
                    retries=recovery.retries,
                ),
                max_depth=config.max_depth,
                pool_trouble=rpc_settings.no_trouble if pool is None else lambda: pool.trouble,
            ),
            settings=rpc_settings.RpcSettings(listen=(config.listen,), tls=tls),
            interceptors=self._interceptors,
            clock=self._clock,
            chance=self._chance,
            log=self._log,
        )

    # --- end ------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Take nothing new, then let jobs and calls end within the grace."""
        parts, config, clock = self._parts, self._config, self._clock
        if parts is None:
            return
        ends_at = clock.monotonic() + config.grace
        self._log.info(LogEvent.SERVER_DRAINING, grace_seconds=config.grace)
        await parts.rpc.drain()
        await clock.sleep(min(config.drain_delay, config.grace))
        await parts.engine.dispatcher.stop_granting("the server is shutting down")
        parts.scheduler.stop()
        if parts.pool is not None:
            await parts.pool.drain(max(0.0, ends_at - clock.monotonic()))
        # Last, so that whoever calls while jobs finish is told DRAINING, and not cut off without a reason.
        await parts.rpc.stop(max(LAST_CALLS_SECONDS, ends_at - clock.monotonic()))


async def _sequence(pool: Pool) -> Sequence[str]:
    return await pool.find_handlers()


def new_job_id() -> str:
    """Make an id for a job or a batch: UUIDv7, so that ids grow with time."""
    return str(uuid_utils.uuid7())
