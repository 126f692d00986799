"""`Jobwire`: what a test holds in its hands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc

from jobwire._channel import open_channel
from jobwire.aio import AsyncClient
from jobwire.app import App
from jobwire.client import Client
from jobwire.durations import Duration, parse_duration
from jobwire.models import Job, JobFilter, JobState
from jobwire.settings import Settings
from jobwire.testing.drain import Drained, drain
from jobwire.testing.engine import EngineProcess
from jobwire.testing.submitted import Submitted, Wanted, missing, submitted_of, surplus
from jobwire.worker.clock import SystemClock
from jobwire.worker.handler import Handler, Runner
from jobwire.worker.loading import path_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)

DRAIN_SECONDS: Final = 30
"""How long a drain may take by default, of real time."""


class Jobwire:
    """A server of the test's own: empty at first, in memory, on a Unix socket, with time that only `advance` moves.

    It is the real one, reached over the real wire: whatever a client may do works. Handlers run when the test says so
    (`drain`), in this process, and then as a worker runs them.
    """

    def __init__(self, engine: EngineProcess, *apps: App) -> None:
        """Begin. `apps`: whose handlers `drain` runs. Raises EngineUnavailable, EngineFailed."""
        self._engine = engine
        self._apps: list[App] = []
        self._undo = ExitStack()
        begun = engine.ask("begin")
        self._now_us = int(begun["now_us"])
        self._settings = Settings(address=str(begun["address"]), origin="argument")
        self._client: Client | None = None
        self._channel: grpc.Channel | None = None
        for app in apps:
            self.use(app)

    def end(self) -> None:
        """End the server and the connections to it. `client` is closed; other clients are cut off."""
        self._undo.close()
        self._engine.ask("end")

    # --- how to reach it ----------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where clients find it, in this process and in others. The fixture sets JOBWIRE_ADDRESS to it."""
        return self._settings.address

    @property
    def client(self) -> Client:
        """A client for threads, closed at the end of the test."""
        if self._client is None:
            self._client = Client.from_settings(self._settings)
            self._undo.callback(self._client.close)
        return self._client

    def async_client(self) -> AsyncClient:
        """Make a client for the event loop of the test, which closes it: `async with jobwire.async_client() as c`."""
        return AsyncClient.from_settings(self._settings)

    def use(self, app: App) -> None:
        """Let `drain` run the handlers of this app, too, and what its typed jobs submit (`send_email.submit(…)`) come
        here until the end. Raises ValueError when it has a handler for a type that is taken."""
        if app in self._apps:
            return
        taken = sorted(self._all_handlers().keys() & app.handlers.keys())
        if taken:
            raise ValueError(f"Two apps have a handler for {', '.join(taken)}. Use one of them in a test.")
        self._apps.append(app)
        self._undo.enter_context(app.connect(self.address))

    # --- running jobs -------------------------------------------------------------------------------------------------

    def drain(self, *apps: App, slots: int = 1, timeout: Duration = DRAIN_SECONDS) -> Drained:
        """Run every job that is due now, and what they submit, until nothing is left that the handlers serve.

        Jobs are leased, run in this process by the worker runtime, and reported, as `jobwire work` does it; one after
        the other unless `slots` is more. `def` handlers run in a thread, `async def` on an event loop of their own, not
        the test's. Jobs that wait (for a backoff, a delay) wait on: `advance` the time. Jobs of types without a handler
        stay. A failure of a handler is counted and told in `errors`, not raised.

        apps: whose handlers, beside those in use. timeout: of real time. Raises WaitTimeout when it is over,
        ArgumentInvalid when there are no handlers.
        """
        seconds = parse_duration(timeout, name="timeout").total_seconds()
        with ThreadPoolExecutor(1, thread_name_prefix="jobwire-drain") as thread:
            return thread.submit(self._drain, [*self._apps, *apps], slots, seconds).result()

    async def adrain(self, *apps: App, slots: int = 1, timeout: Duration = DRAIN_SECONDS) -> Drained:
        """As `drain`, while the test's event loop goes on."""
        return await asyncio.to_thread(lambda: self.drain(*apps, slots=slots, timeout=timeout))

    def _drain(self, apps: Sequence[App], slots: int, seconds: float) -> Drained:
        if self._channel is None:
            self._channel = open_channel(self._settings)
            self._undo.callback(self._channel.close)
        handlers = {name: handler for app in apps for name, handler in app.handlers.items()}
        work = drain(
            self._channel, handlers, clock=_WorkerClock(self), slots=slots, timeout_seconds=seconds,
            app_path=_app_path(apps, handlers),
        )  # fmt: skip
        with asyncio.Runner() as runner:
            return runner.run(work)

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The server's time. It stands still, but for `advance`."""
        return _EPOCH + self._now_us * _US

    def advance(self, duration: Duration) -> datetime:
        """Let time pass on the server, and return the time that it is then.

        Whatever falls due happens before this returns: delays and backoffs end, leases that nobody keeps are lost, jobs
        expire, ended jobs are removed when their retention is over. What happens in a chain (a lease is lost, its
        backoff ends) happens at steps of 1 second, or of 1/24 of the duration when that is longer. Nothing runs:
        `drain` does that. Delays and times that clients send count from the server's now.
        """
        seconds = parse_duration(duration).total_seconds()
        self._now_us = int(self._engine.ask("advance", seconds=seconds)["now_us"])
        return self.now

    async def aadvance(self, duration: Duration) -> datetime:
        """As `advance`, while the test's event loop goes on."""
        return await asyncio.to_thread(self.advance, duration)

    # --- what was submitted -------------------------------------------------------------------------------------------

    def submitted(self, job: str | Handler[..., Any] | None = None, /) -> list[Submitted]:
        """List the jobs of a type (or of all), whatever has become of them, the oldest first. Not those deleted."""
        job_type = job.type if isinstance(job, Handler) else job
        found: Iterator[Job] = self.client.jobs(JobFilter(types=(job_type,) if job_type else ()), full=True)
        handlers = self._all_handlers()
        return [submitted_of(each, handlers.get(each.spec.type)) for each in found][::-1]

    def assert_submitted(self, job: str | Handler[..., Any], /, *payload: Any, **fields: Any) -> Submitted:
        """Return the first job of this type whose payload has these fields, among others; or is exactly `payload`.

        Raises AssertionError that shows how the jobs of this type differ.
        """
        __tracebackhide__ = True
        job_type, wanted = _wanted(job, payload, fields)
        everything = self.submitted()
        of_type = [each for each in everything if each.type == job_type]
        for each in of_type:
            if wanted.fits(each):
                return each
        others = [each.type for each in everything if each.type != job_type]
        raise AssertionError(missing(job_type, wanted, of_type, others))

    def refute_submitted(self, job: str | Handler[..., Any], /, *payload: Any, **fields: Any) -> None:
        """Raise AssertionError when there is a job that `assert_submitted` would find."""
        __tracebackhide__ = True
        job_type, wanted = _wanted(job, payload, fields)
        found = [each for each in self.submitted(job_type) if wanted.fits(each)]
        if found:
            raise AssertionError(surplus(job_type, wanted, found))

    def state(self, job: Any, /) -> JobState:
        """Ask the server for the state of a job, given by its handle or its id. Raises JobNotFound."""
        return self.client.get(job if isinstance(job, str) else job.id, full=False).status.state

    def _all_handlers(self) -> Mapping[str, Handler[..., Any]]:
        return {name: handler for app in self._apps for name, handler in app.handlers.items()}

    # --- faults on the wire -------------------------------------------------------------------------------------------

    def lost_reply(self, calls: int = 1, *rpcs: str) -> None:
        """Let the next calls be carried out, and their answers be lost: callers see UNAVAILABLE.

        rpcs: only these, such as "SubmitJob"; default every call of JobService and AdminService. Streams are passed by.
        """
        self._fault("lost_reply", calls, rpcs)

    def unavailable(self, calls: int = 1, *rpcs: str) -> None:
        """Let the next calls and streams end with UNAVAILABLE, without being carried out."""
        self._fault("unavailable", calls, rpcs)

    def slow(self, duration: Duration, calls: int = 1, *rpcs: str) -> None:
        """Let the next calls and streams begin so much later, in real time."""
        self._fault("slow", calls, rpcs, seconds=parse_duration(duration).total_seconds())

    def _fault(self, kind: str, calls: int, rpcs: Sequence[str], **fields: Any) -> None:
        self._engine.ask("fault", kind=kind, calls=calls, rpcs=list(rpcs), **fields)

    def faults_left(self) -> Sequence[str]:
        """Name the faults that were arranged and have not happened. The fixture fails a test that leaves some."""
        left: Sequence[str] = self._engine.ask("faults")["left"]
        return left


@contextmanager
def running(*apps: App, engine: EngineProcess | None = None) -> Iterator[Jobwire]:
    """Make a `Jobwire` for a `with`, without pytest. `engine`: one that runs already; starting one takes a moment."""
    own = engine or EngineProcess()
    try:
        kit = Jobwire(own, *apps)
        try:
            yield kit
        finally:
            kit.end()
    finally:
        if engine is None:
            own.close()


class _WorkerClock(SystemClock):
    """Real seconds, for handlers really run; and the time of day of the server, for what they submit."""

    def __init__(self, kit: Jobwire) -> None:
        self._kit = kit

    def wall_us(self) -> int:
        """See `Clock`."""
        return (self._kit.now - _EPOCH) // _US


def _wanted(job: str | Handler[..., Any], payload: tuple[Any, ...], fields: Mapping[str, Any]) -> tuple[str, Wanted]:
    if len(payload) > 1:
        raise TypeError("Give the whole payload as one value, or its fields by their names.")
    return (job if isinstance(job, str) else job.type), Wanted(payload, fields)


def _app_path(apps: Sequence[App], handlers: Mapping[str, Handler[..., Any]]) -> str | None:
    """Where child processes find the handlers; only asked for when a handler wants one."""
    if all(handler.runner is not Runner.PROCESS for handler in handlers.values()):
        return None
    modules = [handler.function.__module__ for handler in handlers.values()]
    return next((path for app in apps if (path := path_of(app, modules)) is not None), None)
