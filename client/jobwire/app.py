"""`App`: the handlers of an application, by job type."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload

from jobwire._clients import Clients, Connection, ConnectOptions, Pair, pair_of
from jobwire.durations import Duration, parse_duration
from jobwire.settings import make_settings
from jobwire.submitting import JobFunction
from jobwire.worker.context import JobContext, current_job
from jobwire.worker.handler import Handler, Runner
from jobwire.worker.loading import find, path_of
from jobwire.worker.steering import Cancel, Cancelled, Fail, LeaseLost, Retry, Snooze

if TYPE_CHECKING:
    from jobwire.aio import AsyncClient
    from jobwire.client import Client

P = ParamSpec("P")
S = ParamSpec("S")
V = TypeVar("V")

RunnerName = Literal["async", "thread", "process"]

__all__ = [
    "App", "Cancel", "Cancelled", "Fail", "Handler", "JobContext", "LeaseLost", "Retry", "Snooze", "current_job",
    "load_app",
]  # fmt: skip


class Registration(Protocol):
    """What `app.job("type", …)` returns: it makes a function a typed job."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[JobContext, S], Coroutine[Any, Any, V]], /
    ) -> JobFunction[Concatenate[JobContext, S], Coroutine[Any, Any, V], S, V]: ...
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, V]], /
    ) -> JobFunction[P, Coroutine[Any, Any, V], P, V]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[JobContext, S], V], /
    ) -> JobFunction[Concatenate[JobContext, S], V, S, V]: ...
    @overload
    def __call__(self, function: Callable[P, V], /) -> JobFunction[P, V, P, V]: ...


class App:
    """Collects handlers, and submits their jobs. Connects to nothing before the first submit.

    ```python
    app = App("shop")

    @app.job("email.send", timeout="30s")
    async def send_email(to: str, subject: str) -> dict: ...

    send_email.submit("ada@example.org", "Welcome")     # to the server that JOBWIRE_ADDRESS names
    ```
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._handlers: dict[str, Handler[..., Any]] = {}
        self._clients = Clients()

    def __repr__(self) -> str:
        return f"<App {self.name!r}: {', '.join(sorted(self._handlers)) or 'no handlers'}>"

    @property
    def handlers(self) -> Mapping[str, Handler[..., Any]]:
        """Handlers by job type."""
        return MappingProxyType(self._handlers)

    # --- submitting

    @property
    def client(self) -> Client:
        """The client that `submit`, `run` and `map` of its jobs use.

        The one of `connect` within its block, else the one bound, else one made from the environment's settings
        (JOBWIRE_ADDRESS …) when it is first asked for.
        """
        return self._clients.pair().sync()

    @property
    def async_client(self) -> AsyncClient:
        """The client that `asubmit`, `arun` and `amap` of its jobs use. See `client`."""
        return self._clients.pair().aio()

    def bind(self, client: Client | AsyncClient) -> None:
        """Submit through this client from now on; its twin for the other kind of calls is made of its settings."""
        self._clients.bind(Pair(client.settings, client))

    def connect(self, address: str | None = None, **options: Unpack[ConnectOptions]) -> Connection:
        """Submit to this server within a block: `with app.connect("jobs:7780") as client:`, or `async with`.

        Takes what `Client` takes. It holds for all threads and tasks; `async with` also closes what the async calls
        opened, `with` leaves that to the end of their event loop. Raises ArgumentInvalid.
        """
        return Connection(self._clients, pair_of(address, **options))

    # --- handlers

    @overload
    def job(
        self, type: Callable[Concatenate[JobContext, S], Coroutine[Any, Any, V]], /
    ) -> JobFunction[Concatenate[JobContext, S], Coroutine[Any, Any, V], S, V]: ...
    @overload
    def job(self, type: Callable[P, Coroutine[Any, Any, V]], /) -> JobFunction[P, Coroutine[Any, Any, V], P, V]: ...
    @overload
    def job(
        self, type: Callable[Concatenate[JobContext, S], V], /
    ) -> JobFunction[Concatenate[JobContext, S], V, S, V]: ...
    @overload
    def job(self, type: Callable[P, V], /) -> JobFunction[P, V, P, V]: ...
    @overload
    def job(
        self,
        type: str | None = None,
        /,
        *,
        queue: str = "",
        timeout: Duration | None = None,
        runner: RunnerName | None = None,
    ) -> Registration: ...
    def job(
        self,
        type: Callable[..., Any] | str | None = None,  # noqa: A002 (the contract's word)
        /,
        *,
        queue: str = "",
        timeout: Duration | None = None,
        runner: RunnerName | None = None,
    ) -> Any:
        """Make a function the handler of a job type, and its submitter: `@app.job` or `@app.job("type", …)`.

        type: job type; default `module.function`. queue: where its jobs belong, empty = "default". timeout: longest
        run of an attempt, beside the job's own; the tighter one counts. runner: "async" (default of `async def`),
        "thread" (default of `def`), or "process" (either kind; for CPU work, and where a time limit must be hard).

        The function stays callable as before, and gains `submit`, `run`, `map`, `options` and their async twins (see
        `JobFunction`). How payloads become arguments: `jobwire.worker.arguments`. Raises ValueError when the type has a
        handler already.
        """

        def register(function: Callable[..., Any]) -> Any:
            handler: JobFunction[..., Any, ..., Any] = JobFunction(
                function,
                self._clients,
                type=type if isinstance(type, str) else f"{function.__module__}.{function.__qualname__}",
                queue=queue,
                timeout_seconds=None if timeout is None else parse_duration(timeout, name="timeout").total_seconds(),
                runner=None if runner is None else Runner(runner),
            )
            if handler.type in self._handlers:
                raise ValueError(f"App {self.name!r} has a handler for {handler.type!r} already. Choose another type.")
            self._handlers[handler.type] = handler
            return handler

        return register(type) if callable(type) else register

    def run(  # noqa: PLR0913 (all by name but the first)
        self,
        address: str | None = None,
        *,
        slots: int = 16,
        queues: Mapping[str, int] | Sequence[str] = ("*",),
        worker_id: str = "",
        lease: Duration | None = None,
        prefetch: int | None = None,
        grace: Duration = "30s",
        max_jobs: int | None = None,
        max_jobs_per_child: int | None = None,
        memory_bytes_per_child: int | None = None,
        tls: bool | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        quiet: bool = False,
    ) -> None:
        """Be a worker for these handlers, in this process and thread, until SIGTERM or Ctrl+C: `jobwire work` in code.

        ```python
        if __name__ == "__main__":
            app.run(slots=8, queues={"mail": 3, "*": 1})
        ```

        address: the argument, else found as `Client` finds it; a server that is not there is waited for.
        slots: most handlers that run at once. queues: names, or names with weights; "*" is every queue not named beside
        it. worker_id: unique among live workers, default made of the host's name. lease: wished, default the server's.
        prefetch: jobs that may wait here beyond the slots, default as many as end within 0.1 s. grace: what running
        jobs have to finish after the first signal; the rest is given back, and the second signal ends the grace.
        max_jobs: return after so many.
        max_jobs_per_child, memory_bytes_per_child: when a child process (runner="process") is replaced, or killed.
        quiet: no line on stderr for each job.

        Raises ArgumentInvalid, and JobwireError when the server refuses the worker.
        """
        # Whoever only registers handlers need not import a worker, nor gRPC.
        from jobwire.worker.process import WorkerSettings, subscriptions  # noqa: PLC0415
        from jobwire.worker.telling import work_aloud  # noqa: PLC0415

        settings = WorkerSettings(
            slots=slots, queues=subscriptions(queues), worker_id=worker_id, prefetch=prefetch, max_jobs=max_jobs,
            max_jobs_per_child=max_jobs_per_child, memory_bytes_per_child=memory_bytes_per_child,
            lease_seconds=None if lease is None else parse_duration(lease, name="lease").total_seconds(),
            grace_seconds=parse_duration(grace, name="grace").total_seconds(),
        )  # fmt: skip
        connection = make_settings(address, os.environ, tls=tls, files=(ca, cert, key))
        modules = [handler.function.__module__ for handler in self._handlers.values()]
        work_aloud(self._handlers, connection, settings, app_path=path_of(self, modules), quiet=quiet)


def load_app(path: str) -> App:
    """Import `MODULE:APP`. Raises ValueError with a sentence when there is no App; the module's errors pass through."""
    app = find(path)
    if not isinstance(app, App):
        raise ValueError(f"{path!r} is a {type(app).__name__}, not an App.")  # noqa: TRY004 (the text was wrong)
    return app
