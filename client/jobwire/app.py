"""`App`: the handlers of an application, by job type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, ParamSpec, TypeVar, overload

from jobwire.durations import Duration, parse_duration
from jobwire.worker.context import JobContext, current_job
from jobwire.worker.handler import Handler, Runner
from jobwire.worker.loading import find
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


def load_app(path: str) -> App:
    """Import `MODULE:APP`. Raises ValueError with a sentence when there is no App; the module's errors pass through."""
    app = find(path)
    if not isinstance(app, App):
        raise ValueError(f"{path!r} is a {type(app).__name__}, not an App.")  # noqa: TRY004 (the text was wrong)
    return app
