"""Job types for trying things out: hello, echo, sleep, fail."""

from __future__ import annotations

import asyncio

from jobwire.app import App, JobContext
from jobwire.payload import Payload

_STEP_SECONDS = 0.1


class FailedOnPurpose(Exception):
    """What the type `fail` raises."""


def builtin_app() -> App:
    """Return an app with the built-in types."""
    app = App("builtin")
    app.job("hello")(hello)
    app.job("echo")(echo)
    app.job("sleep")(sleep)
    app.job("fail")(fail)
    return app


async def hello(name: str = "world") -> str:
    """Greet the name in the payload: `"Ada"` or `{"name": "Ada"}`."""
    return f"Hello, {name}!"


async def echo(payload: Payload) -> Payload | None:
    """Return the payload byte for byte, with its media type; nothing for nothing."""
    return payload if payload.data or payload.content_type else None


async def sleep(ctx: JobContext, seconds: float = 1.0) -> dict[str, float]:
    """Sleep for the seconds in the payload (`5` or `{"seconds": 5}`), and report progress on the way."""
    wanted = float(seconds)
    slept = 0.0
    while slept < wanted:
        step = min(_STEP_SECONDS, wanted - slept)
        await asyncio.sleep(step)
        slept += step
        ctx.progress(slept, wanted, f"slept {slept:.1f} of {wanted:g} s")
    return {"slept": wanted}


async def fail(ctx: JobContext, message: str = "failed on purpose", times: int | None = None) -> str:
    """Raise an error with the message in the payload; with `{"times": 2}` only in the first two attempts."""
    if times is not None and ctx.attempt > times:
        return f"done at attempt {ctx.attempt}"
    raise FailedOnPurpose(message)
