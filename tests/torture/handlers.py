"""Handlers of the torture campaigns: each writes what it does into the effect log, and obeys when told to stop.

Payload: {"n": number of the job, "ms": how long a run takes, "failures": attempts that fail first, "snoozes": …}.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Final

from jobwire.app import App, JobContext, Retry, Snooze
from tests.helpers.history import Moment, write_effect

EFFECTS_VARIABLE: Final = "TORTURE_EFFECTS"
SLICE_SECONDS: Final = 0.01

app = App("torture")


def _write(context: JobContext, moment: Moment) -> None:
    write_effect(os.environ[EFFECTS_VARIABLE], context.job_id, context.attempt, context.fence, moment)


@app.job("async")
async def run_async(context: JobContext, n: int, ms: int = 0, failures: int = 0) -> dict[str, Any]:
    """Run on the runtime's loop."""
    _write(context, Moment.START)
    await asyncio.sleep(ms / 1000)
    if context.attempt <= failures:
        raise Retry("as ordered", after="20ms")
    _write(context, Moment.END)
    return {"fence": context.fence, "n": n}


@app.job("thread")
def run_in_thread(context: JobContext, n: int, ms: int = 0, failures: int = 0) -> dict[str, Any]:
    """Run in a thread."""
    _write(context, Moment.START)
    _work(context, ms)
    if context.attempt <= failures:
        raise ValueError("as ordered")
    _write(context, Moment.END)
    return {"fence": context.fence, "n": n}


@app.job("child", runner="process")
def run_in_child(context: JobContext, n: int, ms: int = 0, failures: int = 0) -> dict[str, Any]:
    """Run in a child process, with a line for every slice of its work: a child that lives on is seen."""
    _write(context, Moment.START)
    ends_at = time.monotonic() + ms / 1000
    while time.monotonic() < ends_at:
        time.sleep(SLICE_SECONDS)
        _write(context, Moment.TICK)
    if context.attempt <= failures:
        raise ValueError("as ordered")
    _write(context, Moment.END)
    return {"fence": context.fence, "n": n}


@app.job("snoozy")
async def run_later(context: JobContext, n: int, ms: int = 0) -> dict[str, Any]:
    """Snooze once in a while (by fence, so that it ends), then run."""
    _write(context, Moment.START)
    if context.fence % 3 == 1:
        raise Snooze("30ms")
    await asyncio.sleep(ms / 1000)
    _write(context, Moment.END)
    return {"fence": context.fence, "n": n}


def _work(context: JobContext, ms: int) -> None:
    ends_at = time.monotonic() + ms / 1000
    while time.monotonic() < ends_at:
        context.check()
        time.sleep(SLICE_SECONDS)
