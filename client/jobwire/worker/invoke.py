"""Calling a handler, and telling what came of it. Nothing a handler does escapes from here."""

from __future__ import annotations

import asyncio
import traceback
from types import TracebackType
from typing import Any

from jobwire.codecs import encode
from jobwire.errors import NotEncodable
from jobwire.payload import MAX_PAYLOAD_BYTES
from jobwire.worker.arguments import PayloadMismatch
from jobwire.worker.clock import Clock
from jobwire.worker.context import JobContext, current_context
from jobwire.worker.run import Run
from jobwire.worker.steering import Cancel, Cancelled, Fail, Retry, Snooze, Steering
from jobwire.worker.text import bounded
from jobwire.worker.transport import Failure, Outcome, Release, Stopped, Success

MAX_TYPE_BYTES = 200
MAX_MESSAGE_BYTES = 1024
MAX_DETAIL_BYTES = 4096
_MAX_FRAMES = 64

SUCCESS = Success()


def invoke(run: Run, clock: Clock) -> Outcome:
    """Run a plain handler in this thread."""
    if run.cause is not None:
        return Stopped(run.reason)
    try:
        handler = run.handler
        args, kwargs = handler.arguments.bind(run.assignment.payload)
        context = JobContext(run, clock)
        current_context.set(context)
        if handler.arguments.wants_context:
            return _outcome_of(run, handler.function(context, *args, **kwargs))
        return _outcome_of(run, handler.function(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 (whatever a handler raises is its outcome, SystemExit included)
        return outcome_of_error(run, error)


async def invoke_async(run: Run, clock: Clock) -> Outcome:
    """Run an async handler on this loop."""
    if run.cause is not None:
        return Stopped(run.reason)
    try:
        handler = run.handler
        args, kwargs = handler.arguments.bind(run.assignment.payload)
        context = JobContext(run, clock)
        current_context.set(context)
        if handler.arguments.wants_context:
            return _outcome_of(run, await handler.function(context, *args, **kwargs))
        return _outcome_of(run, await handler.function(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 (see above; a cancelled handler is an outcome, too)
        return outcome_of_error(run, error)


def _outcome_of(run: Run, value: Any) -> Outcome:
    if value is None:
        return Success(None, tuple(run.follow_ups)) if run.follow_ups else SUCCESS
    if isinstance(value, Steering):
        return _steered(value)
    try:
        result = encode(value)
    except NotEncodable as error:
        return _unfit(f"The handler returned a {type(value).__name__} that cannot be kept as a result. {error}")
    if result is not None and len(result.data) > MAX_PAYLOAD_BYTES:
        return _unfit(
            f"The handler returned {len(result.data)} bytes; the most is {MAX_PAYLOAD_BYTES}. Keep large results "
            "elsewhere, and return where."
        )
    return Success(result, tuple(run.follow_ups))


def _unfit(text: str) -> Failure:
    """The work is done: running it again would end the same way."""
    return Failure("RESULT_UNFIT", bounded(text, MAX_MESSAGE_BYTES), retryable=False)


def outcome_of_error(run: Run, error: BaseException) -> Outcome:
    """Tell what an exception of a handler means for its job."""
    if isinstance(error, Steering):
        return _steered(error)
    if isinstance(error, (Cancelled, asyncio.CancelledError)) and run.cause is not None:
        return Stopped(run.reason)
    if isinstance(error, PayloadMismatch):
        return Failure("PAYLOAD_MISMATCH", bounded(str(error), MAX_MESSAGE_BYTES), retryable=False)
    return failure_of(error)


def failure_of(error: BaseException) -> Failure:
    """Keep what helps to find the fault: type, message (1 KiB), and the end of the stack (4 KiB)."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
        detail = "".join(traceback.format_exception(kind, error, _without_us(error), limit=-_MAX_FRAMES))
    except Exception as second:  # noqa: BLE001 (an exception whose own text cannot be made is still a failure)
        message, detail = f"The error's own text cannot be made: {type(second).__name__}.", ""
    return Failure(
        error_type=bounded(name, MAX_TYPE_BYTES),
        message=bounded(message, MAX_MESSAGE_BYTES),
        detail=bounded(detail, MAX_DETAIL_BYTES, keep_end=True),
    )


def _without_us(error: BaseException) -> TracebackType | None:
    """The stack from the handler's own frame on."""
    stack = error.__traceback__
    while stack is not None and stack.tb_frame.f_globals.get("__name__") == __name__:
        stack = stack.tb_next
    return stack


def _steered(word: Steering) -> Outcome:
    match word:
        case Fail(message=message, type=kind):
            text = bounded(message, MAX_MESSAGE_BYTES)
            return Failure(bounded(kind, MAX_TYPE_BYTES), text, retryable=False)
        case Retry(reason=reason, after_seconds=after):
            return Failure("Retry", bounded(reason, MAX_MESSAGE_BYTES), retry_delay_seconds=after)
        case Snooze(delay_seconds=delay):
            return Release(delay)
        case Cancel(reason=reason):
            return Stopped(bounded(reason, MAX_MESSAGE_BYTES))
        case _:
            return failure_of(word)
