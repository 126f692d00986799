"""Runs jobs of the type "conformance" with the worker runtime of the client package; see README.md."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jobwire import App, Fail, JobContext, Payload, Retry, Snooze

app = App("conformance")
Order = Mapping[str, Any]
"""The payload of a job."""


@app.job("conformance")
async def conformance(ctx: JobContext, payload: Payload) -> Payload:
    """Do what the payload says. A job that has to stop is cancelled at the `await` it has come to."""
    try:
        order = json.loads(payload.data)
        action = ACTIONS[order["do"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Fail(f"there is no such thing to do: {error!r}", type="BadPayload") from error
    result = await action(ctx, order)
    return Payload(json.dumps(result).encode(), "application/json")  # null is a result too


class Boom(Exception):
    """Any exception is retried as the job's policy says; its name is the type of the error."""


async def echo(_: JobContext, order: Order) -> object:
    return order["value"]


async def fail(_: JobContext, __: Order) -> object:
    raise Boom("failed, as asked")


async def fail_for_good(_: JobContext, __: Order) -> object:
    raise Fail("failed for good, as asked", type="Boom")


async def sleep(_: JobContext, order: Order) -> object:
    await asyncio.sleep(order["seconds"])
    return {"slept": order["seconds"]}


async def progress(ctx: JobContext, order: Order) -> object:
    steps = order["steps"]
    for step in range(1, steps + 1):
        ctx.progress(step, total=steps, message=f"step {step} of {steps}")
        await asyncio.sleep(0.1)
    return {"steps": steps}


async def release(ctx: JobContext, _: Order) -> object:
    if ctx.fence == 1:
        raise Snooze("1ms")
    return {"fence": ctx.fence}


async def retry_after(ctx: JobContext, order: Order) -> object:
    if ctx.attempt == 1:
        raise Retry("later, as asked", after=order["seconds"])
    return {"attempt": ctx.attempt}


async def checkpoint(ctx: JobContext, _: Order) -> object:
    if ctx.attempt > 1:
        return ctx.last_checkpoint or None
    ctx.checkpoint({"i": 7})
    raise Boom("the next attempt goes on from the checkpoint")


async def follow_up(ctx: JobContext, order: Order) -> object:
    ctx.follow_up(order["type"], order["value"], queue=ctx.queue)
    return None


async def big(_: JobContext, order: Order) -> object:
    return "x" * order["bytes"]


ACTIONS: Mapping[str, Callable[[JobContext, Order], Awaitable[object]]] = {
    action.__name__: action
    for action in (echo, fail, fail_for_good, sleep, progress, release, retry_after, checkpoint, follow_up, big)
}


if __name__ == "__main__":
    app.run(
        slots=int(os.environ.get("JOBWIRE_SLOTS") or 8),
        queues=[os.environ.get("JOBWIRE_QUEUE") or "default"],
        worker_id=os.environ.get("JOBWIRE_WORKER_ID", ""),
        grace="2s",
    )
