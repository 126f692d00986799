"""A registered handler: the function, what it wants, and how it is to be run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Generic, ParamSpec, TypeVar

from jobwire.worker.arguments import Arguments

P = ParamSpec("P")
R = TypeVar("R")


class Runner(StrEnum):
    """Where a handler runs."""

    ASYNC = "async"
    """On the runtime's own event loop, in its own thread."""
    THREAD = "thread"
    """In a thread. A handler that hangs cannot be killed, only given up on."""
    PROCESS = "process"
    """In a child process: for CPU work and hard time limits."""
    PROGRAM = "program"
    """As a program of any kind (`jobwire.worker.programs`)."""


class Handler(Generic[P, R]):
    """A function that runs jobs of one type. Calling it calls the function, with no queue involved."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        type: str,  # noqa: A002 (the contract's word)
        queue: str = "",
        timeout_seconds: float | None = None,
        runner: Runner | None = None,
    ) -> None:
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.type = type
        self.queue = queue
        self.timeout_seconds = timeout_seconds
        self.runner = runner or (Runner.ASYNC if self.is_async else Runner.THREAD)
        self._refuse_misfit()
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Handler {self.type!r} ({self.runner})>"

    @functools.cached_property
    def arguments(self) -> Arguments:
        """How a payload becomes arguments. Made at first use, when all names of the annotations exist."""
        return Arguments.of(self.function)

    def _refuse_misfit(self) -> None:
        if not 1 <= len(self.type) <= 200:
            raise ValueError(f"A job type has 1 to 200 characters, not {len(self.type)}: {self.type[:40]!r}.")
        if self.runner is Runner.ASYNC and not self.is_async:
            raise TypeError(f"Handler {self.type!r} is a plain def: run it as 'thread' or 'process', or make it async.")
        if self.runner is Runner.THREAD and self.is_async:
            raise TypeError(f"Handler {self.type!r} is async: run it as 'async' or 'process', or make it a plain def.")
        if self.timeout_seconds is not None and self.timeout_seconds <= 0:
            raise ValueError(f"Handler {self.type!r}: its timeout must be more than 0.")
