"""Handlers alone: called as a worker calls them, with no engine and no queue."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jobwire._packing import Packing, result_type_of
from jobwire.codecs import decode, encode
from jobwire.durations import Duration, parse_duration
from jobwire.payload import Payload
from jobwire.worker.attempt import Attempt, Cause
from jobwire.worker.clock import SystemClock
from jobwire.worker.context import JobContext, current_context
from jobwire.worker.handler import Handler
from jobwire.worker.steering import Steering
from jobwire.worker.transport import Assignment

__all__ = ["ProgressCall", "RecordingContext", "acall", "call", "context"]


class ProgressCall(NamedTuple):
    """One call of `ctx.progress`."""

    current: float
    total: float | None = None
    message: str | None = None


class RecordingContext(JobContext):
    """A context that keeps what its handler says."""

    __slots__ = ("checkpoints", "progress_calls")

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt, SystemClock())
        self.progress_calls: list[ProgressCall] = []
        self.checkpoints: list[Any] = []
        """What was saved, as the next attempt would read it."""

    def progress(self, current: float, total: float | None = None, message: str | None = None) -> None:
        """See `JobContext.progress`."""
        super().progress(current, total, message)
        self.progress_calls.append(ProgressCall(current, total, message))

    def checkpoint(self, value: object) -> None:
        """See `JobContext.checkpoint`."""
        super().checkpoint(value)
        self.checkpoints.append(decode(encode(value)))

    @property
    def follow_ups(self) -> list[tuple[str, Any]]:
        """Type and payload of each job that `ctx.follow_up` asked for."""
        specs = [request.spec for request in self._attempt.follow_ups]
        return [(spec.type, decode(_payload(spec)) if spec.HasField("payload") else None) for spec in specs]

    def ask_to_stop(self, reason: str = "") -> None:
        """Cancel the job: from now on `ctx.cancelled` is true and `ctx.check()` raises."""
        self._attempt.cause, self._attempt.reason = Cause.CANCEL, reason


def _payload(spec: Any) -> Payload:
    sent = spec.payload
    return Payload(sent.text.encode() if sent.HasField("text") else sent.data, sent.content_type)


def context(  # noqa: PLR0913 (all by name)
    *,
    attempt: int = 1,
    max_attempts: int = 3,
    job_id: str = "job-under-test",
    type: str = "type-under-test",  # noqa: A002 (the contract's word)
    queue: str = "default",
    fence: int = 1,
    labels: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    checkpoint: object = None,
    lost_leases: int = 0,
    timeout: Duration | None = None,
) -> RecordingContext:
    """Make the context of an attempt. `checkpoint`: what an earlier attempt saved; None = nothing."""
    seconds = None if timeout is None else parse_duration(timeout, name="timeout").total_seconds()
    assignment = Assignment(
        token=b"", job_id=job_id, queue=queue, type=type, attempt=attempt, max_attempts=max_attempts, fence=fence,
        payload=None, headers=headers or {}, lease_seconds=math.inf, timeout_seconds=seconds, labels=labels or {},
        checkpoint=encode(checkpoint), lost_leases=lost_leases,
    )  # fmt: skip
    made = Attempt(assignment)
    if seconds is not None:
        made.deadline = SystemClock().monotonic() + seconds
    return RecordingContext(made)


def call(handler: Handler[..., Any], ctx: JobContext | None = None, /, *args: Any, **kwargs: Any) -> Any:
    """Call a handler as a worker would: arguments and result go through their encoding, so that what JSON makes of them
    is what is tested. An async handler runs on an event loop of its own: in async tests await `acall`.

    Returns the result as a client would read it (as the annotated type, if there is one), or the Snooze, Retry, Fail or
    Cancel that the handler returned. What the handler raises is raised. Raises TypeError when the function could not be
    called so, PayloadMismatch when the arguments do not fit its annotations, NotEncodable when they or the result
    cannot travel.
    """
    if not handler.is_async:
        args, kwargs = _prepared(handler, ctx, args, kwargs)
        reset = current_context.set(ctx or context(type=handler.type))
        try:
            return _returned(handler, handler.function(*args, **kwargs))
        finally:
            current_context.reset(reset)
    return asyncio.run(acall(handler, ctx, *args, **kwargs))


async def acall(handler: Handler[..., Any], ctx: JobContext | None = None, /, *args: Any, **kwargs: Any) -> Any:
    """As `call`, for async handlers, on the event loop of the test."""
    args, kwargs = _prepared(handler, ctx, args, kwargs)
    reset = current_context.set(ctx or context(type=handler.type))
    try:
        return _returned(handler, await handler.function(*args, **kwargs))
    finally:
        current_context.reset(reset)


def _prepared(
    handler: Handler[..., Any], ctx: JobContext | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments as they are after their way through a payload."""
    arguments = handler.arguments
    by_place, by_name = arguments.bind(Packing(handler.function, arguments).payload(args, kwargs))
    first = (ctx or context(type=handler.type),) if arguments.wants_context else ()
    return (*first, *by_place), dict(by_name)


def _returned(handler: Handler[..., Any], value: Any) -> Any:
    if isinstance(value, Steering):
        return value
    wanted = result_type_of(handler.function)
    return decode(encode(value)) if wanted is None else decode(encode(value), wanted)
