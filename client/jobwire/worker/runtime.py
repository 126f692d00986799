"""The worker runtime: one set of slots, one transport."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobwire.worker.alarm import within
from jobwire.worker.attempt import Attempt, Cause
from jobwire.worker.clock import Clock, SystemClock
from jobwire.worker.executors.base import Executor
from jobwire.worker.executors.loop import LoopExecutor
from jobwire.worker.executors.memory import can_tell
from jobwire.worker.executors.processes import ChildLimits, ProcessExecutor
from jobwire.worker.executors.threads import ThreadExecutor
from jobwire.worker.handler import Handler, Runner
from jobwire.worker.health import Health
from jobwire.worker.heartbeat import Heartbeat
from jobwire.worker.mailbox import Mailbox
from jobwire.worker.programs.executor import ProgramExecutor
from jobwire.worker.reporter import Reporter
from jobwire.worker.run import Event, Run
from jobwire.worker.slots import Patience, Slots
from jobwire.worker.transport import ANY_QUEUE, MAX_WINDOW, Hello, Subscription, Transport

_log = logging.getLogger("jobwire.worker")


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """What may be turned."""

    prefetch: int = 0
    """Assignments that may wait in the worker beyond its slots. They are leased, so nobody else can run them."""
    max_in_flight_bytes: int = 64 << 20
    """Most payload bytes of assignments in the worker, those that wait and those that run; one may go beyond. 0 = no
    bound."""
    progress_seconds: float = 0.1
    """Shortest time between two messages of progress."""
    flush_seconds: float = 1.0
    """How long a drain waits for the last outcomes to be acknowledged."""
    patience: Patience = field(default_factory=Patience)
    max_jobs_per_child: int | None = None
    """Jobs that one child process runs before it is replaced. None = no bound."""
    memory_bytes_per_child: int | None = None
    """Resident memory of a child process; one that runs a job and holds more is killed, and that job's lease is lost.
    Only on Linux. None = no bound."""

    def __post_init__(self) -> None:
        """Raises ValueError with a sentence."""
        if self.max_jobs_per_child is not None and self.max_jobs_per_child < 1:
            raise ValueError(f"A child process runs at least 1 job, not {self.max_jobs_per_child}.")
        if self.memory_bytes_per_child is not None and not can_tell():
            raise ValueError("memory_bytes_per_child needs /proc, which this system does not have.")


class WorkerRuntime:
    """Runs handlers for one transport, at most `slots` at once.

    `start`, then `resume`; `drain` and `stop` at the end, all on the event loop that carries the transport. No handler
    ever runs on that loop, so none can keep heartbeats from going out.

    `handlers`: by job type, as `App.handlers` has them. `app_path`: `MODULE:APP`, where child processes find them;
    with it, jobs whose last lease was lost run in a child process, too.
    `queues`: where it takes jobs from. `lease_seconds`: wished lease, None = the server's own.
    `on_health`: told the reason when the runtime becomes unhealthy, and None when it is well again.
    """

    def __init__(  # noqa: PLR0913 (all by name)
        self,
        *,
        transport: Transport,
        handlers: Mapping[str, Handler[..., Any]],
        slots: int,
        worker_id: str,
        instance_id: str | None = None,
        queues: Sequence[Subscription] = (Subscription(ANY_QUEUE),),
        lease_seconds: float | None = None,
        app_path: str | None = None,
        settings: RuntimeSettings = RuntimeSettings(),
        clock: Clock | None = None,
        on_health: Callable[[str | None], None] | None = None,
    ) -> None:
        if slots < 1:
            raise ValueError(f"A worker needs at least 1 slot, not {slots}.")
        if slots + settings.prefetch > MAX_WINDOW:
            raise ValueError(f"Slots and prefetch together are {slots + settings.prefetch}; the most is {MAX_WINDOW}.")
        apart = sorted(handler.type for handler in handlers.values() if handler.runner is Runner.PROCESS)
        if apart and app_path is None:
            raise ValueError(
                f"Handlers that run in child processes ({', '.join(apart[:5])}) need app_path, MODULE:APP, under which "
                "a child can import them."
            )
        self._transport = transport
        self._handlers = dict(handlers)
        self._limit = slots
        self._settings = settings
        self._clock = clock or SystemClock()
        self._health = Health(on_health)
        self._app_path = app_path
        self._hello = Hello(
            worker_id=worker_id,
            instance_id=instance_id or secrets.token_hex(8),
            types=tuple(sorted(self._handlers)),
            max_in_flight=slots + settings.prefetch,
            queues=tuple(queues),
            max_in_flight_bytes=settings.max_in_flight_bytes,
            lease_seconds=lease_seconds,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._parts: _Parts | None = None
        self._window = 0
        self._resumed = False

    @property
    def healthy(self) -> bool:
        """False when too many handlers hang, or a part of the runtime broke."""
        return self._health.reason is None

    @property
    def unhealthy_reason(self) -> str | None:
        """What is wrong; None while healthy."""
        return self._health.reason

    @property
    def refused(self) -> bool:
        """True when the server will not have this worker any more: it gets no more work, and can only be ended."""
        return self._health.stands("server")

    @property
    def running(self) -> int:
        """Handlers that run now."""
        return self._parts.slots.running if self._parts else 0

    @property
    def hung(self) -> int:
        """Handlers that were given up and still run."""
        return self._parts.slots.hung if self._parts else 0

    async def start(self) -> None:
        """Open the transport, paused: nothing is assigned before `resume`."""
        if self._parts is not None:
            raise RuntimeError("This runtime was started before. Make a new one: a runtime runs once.")
        parts = self._parts = self._assemble()
        parts.slots.on_welcome = parts.heartbeat.resume
        parts.heartbeat.pace(await self._transport.open(self._hello, parts.slots))
        duties: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "deadlines": parts.slots.alarm.run,
            "reports": parts.reporter.run,
            "heartbeats": parts.heartbeat.beat,
            "progress": parts.heartbeat.pass_progress_on,
            "window": lambda: self._keep_window(parts),
        }
        for name, work in duties.items():
            self._tasks.append(asyncio.create_task(self._watched(name, work), name=f"jobwire worker {name}"))

    async def resume(self) -> None:
        """Let assignments flow."""
        self._resumed = True
        await self._resize()

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing new, let what runs finish within the grace, give back the rest at no cost to its attempts.

        Returns when every outcome is acknowledged, at the latest `2 * stop_seconds + flush_seconds` after the grace.
        """
        parts = self._started()
        self._resumed = False
        await self._resize()
        parts.slots.drain("the worker is shutting down")
        if not await within(self._clock, grace_seconds, parts.slots.idle()):
            parts.slots.stop_all(Cause.DRAIN, "the worker is shutting down")
            await within(self._clock, 2 * self._settings.patience.stop_seconds, parts.slots.idle())
        if not await within(self._clock, self._settings.flush_seconds, parts.reporter.flushed()):
            _log.error("The last outcomes were not acknowledged in time; their leases end by themselves.")

    async def stop(self) -> None:
        """End everything now. What still runs is told to stop and reported by nobody: `drain` first."""
        parts = self._started()
        parts.slots.stop_all(Cause.LOST, "the worker stopped")
        for executor in parts.executors.values():
            await executor.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks) if self._tasks else None
        self._tasks.clear()
        await self._transport.close()

    def _started(self) -> _Parts:
        if self._parts is None:
            raise RuntimeError("This runtime was not started.")
        return self._parts

    def _assemble(self) -> _Parts:
        loop = asyncio.get_running_loop()
        reporter = Reporter(self._transport, self._clock)
        letters: Mailbox[tuple[Run, Event]] = Mailbox(loop, lambda bundle: slots.heard(bundle))  # noqa: PLW0108 (made below)
        progress: Mailbox[Attempt] = Mailbox(loop, lambda bundle: heartbeat.moved(bundle))  # noqa: PLW0108
        executors = self._executors(letters.post)
        slots = Slots(
            limit=self._limit,
            handlers=self._handlers,
            executors=executors,
            reporter=reporter,
            clock=self._clock,
            health=self._health,
            patience=self._settings.patience,
            on_progress=progress.post,
        )
        heartbeat = Heartbeat(
            transport=self._transport,
            slots=slots,
            reporter=reporter,
            clock=self._clock,
            progress_seconds=self._settings.progress_seconds,
        )
        return _Parts(slots, reporter, heartbeat, executors)

    def _executors(self, post: Callable[[tuple[Run, Event]], None]) -> Mapping[Runner, Executor]:
        wanted = {handler.runner for handler in self._handlers.values()}
        executors: dict[Runner, Executor] = {}
        if Runner.ASYNC in wanted:
            executors[Runner.ASYNC] = LoopExecutor(clock=self._clock, post=post)
        if Runner.THREAD in wanted:
            executors[Runner.THREAD] = ThreadExecutor(limit=self._limit, clock=self._clock, post=post)
        if Runner.PROGRAM in wanted:
            executors[Runner.PROGRAM] = ProgramExecutor(limit=self._limit, clock=self._clock, post=post)
        if self._app_path is not None:  # also for suspects: see Slots
            limits = ChildLimits(self._settings.max_jobs_per_child, self._settings.memory_bytes_per_child)
            executors[Runner.PROCESS] = ProcessExecutor(
                limit=self._limit, app_path=self._app_path, post=post, limits=limits
            )
        return executors

    async def _keep_window(self, parts: _Parts) -> None:
        """Tell the server whenever slots are lost to hung handlers, or won back."""
        changed = asyncio.Event()
        parts.slots.on_capacity = changed.set
        while True:
            await changed.wait()
            changed.clear()
            try:
                await self._resize()
            except ConnectionError as error:
                _log.warning("The server cannot be told of the new window: %s. Trying again.", error)
                changed.set()
                await self._clock.sleep(1.0)

    async def _resize(self) -> None:
        capacity = self._started().slots.capacity
        window = capacity + self._settings.prefetch if self._resumed and capacity else 0
        if window != self._window:
            self._window = window
            await self._transport.resize(window)

    async def _watched(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A part that breaks makes the runtime unhealthy; its error is never lost."""
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever broke it, the runtime says so)
            _log.exception("The worker's part %r broke.", name)
            self._health.fault(name, f"The worker's part {name!r} broke: {error!r}. Restart the worker.")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a started runtime is made of."""

    slots: Slots
    reporter: Reporter
    heartbeat: Heartbeat
    executors: Mapping[Runner, Executor]
