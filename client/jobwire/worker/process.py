"""A worker as a process: it starts, works until a signal or its last job, drains, and ends.

`App.run` and `jobwire work` are this.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from jobwire.errors import ArgumentInvalid, ErrorDetails, JobwireError
from jobwire.settings import Settings
from jobwire.worker.clock import Clock, SystemClock
from jobwire.worker.handler import Handler
from jobwire.worker.limited import LimitedTransport
from jobwire.worker.observed import Ended, ObservedTransport
from jobwire.worker.programs.handler import Program
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from jobwire.worker.stream.transport import StreamTransport
from jobwire.worker.transport import ANY_QUEUE, Subscription, Transport

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
DEFAULT_SLOTS: Final = 16
DEFAULT_GRACE_SECONDS: Final = 30.0

_log = logging.getLogger("jobwire.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What may be turned about a worker process."""

    slots: int = DEFAULT_SLOTS
    """Handlers that run at once."""
    queues: tuple[Subscription, ...] = (Subscription(ANY_QUEUE),)
    worker_id: str = ""
    """Unique among the live workers of a server; empty = made of the host's name and chance."""
    lease_seconds: float | None = None
    """Wished lease; None = the server's own."""
    prefetch: int | None = None
    """Jobs that may wait here beyond the slots: leased, so that nobody else can run them. None = as many as end within
    a tenth of a second."""
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    """What running jobs have to finish after the first signal; the rest is given back."""
    max_jobs: int | None = None
    """Stop after so many."""
    max_jobs_per_child: int | None = None
    """Child processes are replaced after so many jobs; None = never."""
    memory_bytes_per_child: int | None = None
    """Resident memory from which on a child process is replaced; None = no bound."""


def subscriptions(queues: Mapping[str, int] | Iterable[str]) -> tuple[Subscription, ...]:
    """What a worker takes, from names of queues (weight 1), or names with weights."""
    shares = queues if isinstance(queues, Mapping) else dict.fromkeys(queues, 1)
    return tuple(Subscription(name, weight) for name, weight in shares.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """Who is told what, on the event loop: neither may block."""

    on_ready: Callable[[str], None] = lambda _worker_id: None
    """The server knows the worker, by this id."""
    on_end: Callable[[Ended], None] | None = None
    """One job more has ended."""


def new_worker_id() -> str:
    """Make a name for a worker process: two on one host, or on two hosts of one name, must not share it."""
    return f"{socket.gethostname()[:150]}-{secrets.token_hex(3)}"


def check_handlers(handlers: Mapping[str, Handler[..., Any]]) -> None:
    """Raise ArgumentInvalid when there are none, or one cannot be given any payload: now, not at its first job."""
    if not handlers:
        raise ArgumentInvalid("The app has no handlers. Decorate a function with @app.job.")
    for handler in handlers.values():
        if isinstance(handler, Program):
            continue
        try:
            _ = handler.arguments
        except TypeError as error:
            raise ArgumentInvalid(f"The handler of {handler.type!r} cannot be used: {error}") from error


def run_worker(
    handlers: Mapping[str, Handler[..., Any]],
    connection: Settings,
    settings: WorkerSettings,
    *,
    app_path: str | None = None,
    ears: Ears = Ears(),
) -> None:
    """Be a worker of the server at `connection`, in this thread: see `work`."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work(handlers, StreamTransport(connection), settings, app_path=app_path, ears=ears))


def log_to_stderr(level: int) -> None:
    """Show the log, unless the application has set up one: warnings of all, and of ours what `level` lets through."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("jobwire").setLevel(level)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop where there is one; None = asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not installed on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def work(
    handlers: Mapping[str, Handler[..., Any]],
    transport: Transport,
    settings: WorkerSettings,
    *,
    app_path: str | None = None,
    ears: Ears = Ears(),
    clock: Clock | None = None,
) -> None:
    """Be a worker until SIGTERM or SIGINT, or until `settings.max_jobs` have ended; then drain.

    The first signal: nothing new, finish within the grace, give the rest back with its checkpoints and at no cost to
    its attempts. The second ends the grace. The third is the system's, which ends the process.

    Waits for a server that is not there. Raises ArgumentInvalid, and JobwireError when the server refuses the worker,
    now or later.
    """
    check_handlers(handlers)
    try:
        worker = _Worker(handlers, transport, settings, app_path=app_path, ears=ears, clock=clock or SystemClock())
    except ValueError as error:
        raise ArgumentInvalid(str(error)) from error
    await worker.run()


class _Worker:
    """A runtime, from its start to its end."""

    def __init__(
        self,
        handlers: Mapping[str, Handler[..., Any]],
        transport: Transport,
        settings: WorkerSettings,
        *,
        app_path: str | None,
        ears: Ears,
        clock: Clock,
    ) -> None:
        self._ears = ears
        self._grace_seconds = settings.grace_seconds
        self._over = asyncio.Event()
        self._refusal = ""
        self._worker_id = settings.worker_id or new_worker_id()
        if ears.on_end is not None:
            transport = ObservedTransport(transport, clock, ears.on_end)
        if settings.max_jobs is not None:
            transport = LimitedTransport(transport, settings.max_jobs, self._over.set)
        self._runtime = WorkerRuntime(
            transport=transport,
            handlers=handlers,
            slots=settings.slots,
            worker_id=self._worker_id,
            queues=settings.queues,
            lease_seconds=settings.lease_seconds,
            app_path=app_path,
            settings=RuntimeSettings(
                prefetch=settings.prefetch,
                max_jobs_per_child=settings.max_jobs_per_child,
                memory_bytes_per_child=settings.memory_bytes_per_child,
            ),
            clock=clock,
            on_health=self._judge,
        )

    async def run(self) -> None:
        """Work until there is a reason to end. Raises JobwireError when the server refuses the worker."""
        stops = _Stops()
        with stops.listening():
            try:
                if await _first(self._runtime.start(), stops.first.wait()):
                    self._ears.on_ready(self._worker_id)
                    await self._runtime.resume()
                    await _first(self._over.wait(), stops.first.wait())
                    if not await _first(self._runtime.drain(self._grace_seconds), stops.second.wait()):
                        await self._runtime.drain(0.0)
            finally:
                await self._runtime.stop()
        if self._refusal:
            raise JobwireError(self._refusal, ErrorDetails(code="WORKER_REFUSED"))

    def _judge(self, reason: str | None) -> None:
        """A worker that its server will not have any more is over; one that is merely unwell goes on."""
        if reason is not None and self._runtime.refused:
            self._refusal = reason
            self._over.set()


async def _first(wanted: Coroutine[Any, Any, Any], other: Coroutine[Any, Any, Any]) -> bool:
    """Wait for either and cancel the other one; whether `wanted` was over. Raises what it raised."""
    tasks = [asyncio.create_task(each) for each in (wanted, other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
            return True
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class _Stops:
    """The signals that end a worker."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals, where there are any: they are the main thread's."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._hear, number)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
                if before[number] is not None:  # None = not Python's
                    signal.signal(number, before[number])

    def _hear(self, number: signal.Signals) -> None:
        if not self.first.is_set():
            _log.info("%s: nothing new is begun, what runs may finish.", number.name)
            self.first.set()
        elif not self.second.is_set():
            _log.info("%s again: what runs is given back now.", number.name)
            self.second.set()
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
