"""`App`: the handlers of an application, by job type."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, ParamSpec, TypeVar, overload

from jobwire.durations import Duration, parse_duration
from jobwire.settings import make_settings
from jobwire.worker.context import JobContext, current_job
from jobwire.worker.handler import Handler, Runner
from jobwire.worker.loading import find, path_of
from jobwire.worker.steering import Cancel, Cancelled, Fail, LeaseLost, Retry, Snooze

P = ParamSpec("P")
R = TypeVar("R")

RunnerName = Literal["async", "thread", "process"]

__all__ = [
    "App", "Cancel", "Cancelled", "Fail", "Handler", "JobContext", "LeaseLost", "Retry", "Snooze", "current_job",
    "load_app",
]  # fmt: skip


class App:
    """Collects handlers. Connects to nothing: workers and servers are given the app.

    ```python
    app = App("shop")

    @app.job("email.send", timeout="30s")
    async def send_email(to: str, subject: str) -> dict: ...
    ```
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._handlers: dict[str, Handler[..., Any]] = {}

    def __repr__(self) -> str:
        return f"<App {self.name!r}: {', '.join(sorted(self._handlers)) or 'no handlers'}>"

    @property
    def handlers(self) -> Mapping[str, Handler[..., Any]]:
        """Handlers by job type."""
        return MappingProxyType(self._handlers)

    @overload
    def job(self, type: Callable[P, R], /) -> Handler[P, R]: ...
    @overload
    def job(
        self,
        type: str | None = None,
        /,
        *,
        queue: str = "",
        timeout: Duration | None = None,
        runner: RunnerName | None = None,
    ) -> Callable[[Callable[P, R]], Handler[P, R]]: ...
    def job(
        self,
        type: Callable[P, R] | str | None = None,  # noqa: A002 (the contract's word)
        /,
        *,
        queue: str = "",
        timeout: Duration | None = None,
        runner: RunnerName | None = None,
    ) -> Handler[P, R] | Callable[[Callable[P, R]], Handler[P, R]]:
        """Make a function the handler of a job type: `@app.job` or `@app.job("type", …)`.

        type: job type; default `module.function`. queue: where its jobs belong, empty = "default". timeout: longest
        run of an attempt, beside the job's own; the tighter one counts. runner: "async" (default of `async def`),
        "thread" (default of `def`), or "process" (either kind; for CPU work, and where a time limit must be hard).

        The function stays callable as before. How payloads become arguments: `jobwire.worker.arguments`. Raises
        ValueError when the type has a handler already.
        """

        def register(function: Callable[P, R]) -> Handler[P, R]:
            handler = Handler(
                function,
                type=type if isinstance(type, str) else f"{function.__module__}.{function.__qualname__}",
                queue=queue,
                timeout_seconds=None if timeout is None else parse_duration(timeout, name="timeout").total_seconds(),
                runner=None if runner is None else Runner(runner),
            )
            if handler.type in self._handlers:
                raise ValueError(f"App {self.name!r} has a handler for {handler.type!r} already. Choose another type.")
            self._handlers[handler.type] = handler
            return handler

        if callable(type):
            return register(type)
        return register

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
        from jobwire.worker.process import WorkerSettings  # noqa: PLC0415
        from jobwire.worker.telling import work_aloud  # noqa: PLC0415
        from jobwire.worker.transport import Subscription  # noqa: PLC0415

        shares = queues if isinstance(queues, Mapping) else dict.fromkeys(queues, 1)
        settings = WorkerSettings(
            slots=slots,
            queues=tuple(Subscription(name, weight) for name, weight in shares.items()),
            worker_id=worker_id,
            lease_seconds=None if lease is None else parse_duration(lease, name="lease").total_seconds(),
            prefetch=prefetch,
            grace_seconds=parse_duration(grace, name="grace").total_seconds(),
            max_jobs=max_jobs,
            max_jobs_per_child=max_jobs_per_child,
            memory_bytes_per_child=memory_bytes_per_child,
        )
        connection = make_settings(address, os.environ, tls=tls, files=(ca, cert, key))
        modules = [handler.function.__module__ for handler in self._handlers.values()]
        work_aloud(self._handlers, connection, settings, app_path=path_of(self, modules), quiet=quiet)


def load_app(path: str) -> App:
    """Import `MODULE:APP`. Raises ValueError with a sentence when there is no App; the module's errors pass through."""
    app = find(path)
    if not isinstance(app, App):
        raise ValueError(f"{path!r} is a {type(app).__name__}, not an App.")  # noqa: TRY004 (the text was wrong)
    return app
