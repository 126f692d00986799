"""Handlers that remote workers of the campaigns run. Each says its fence as its progress, writes what it does into the
effect log, and returns its fence.

Payload: {"n": number of the job, "ms": how long a run takes, "failures": attempts that fail first}.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Final

from jobwire.app import App, JobContext
from tests.helpers.history import Moment, write_effect
from tests.torture.handlers import EFFECTS_VARIABLE

SLICES: Final = 4

app = App("wire")


def _write(context: JobContext, moment: Moment) -> None:
    write_effect(os.environ[EFFECTS_VARIABLE], context.job_id, context.attempt, context.fence, moment)


@app.job("wire-async")
async def run_async(context: JobContext, n: int, ms: int = 0, failures: int = 0) -> dict[str, Any]:
    """Run on the runtime's loop."""
    _write(context, Moment.START)
    for part in range(SLICES):
        context.progress(part, SLICES, f"fence {context.fence}")
        await asyncio.sleep(ms / 1000 / SLICES)
    if context.attempt <= failures:
        raise ValueError(f"as ordered, under fence {context.fence}")
    _write(context, Moment.END)
    return {"fence": context.fence, "n": n}


@app.job("wire-thread")
def run_in_thread(context: JobContext, n: int, ms: int = 0, failures: int = 0) -> dict[str, Any]:
    """Run in a thread, and hear nothing meanwhile."""
    _write(context, Moment.START)
    for part in range(SLICES):
        context.progress(part, SLICES, f"fence {context.fence}")
        time.sleep(ms / 1000 / SLICES)
    if context.attempt <= failures:
        raise ValueError(f"as ordered, under fence {context.fence}")
    _write(context, Moment.END)
    return {"fence": context.fence, "n": n}
