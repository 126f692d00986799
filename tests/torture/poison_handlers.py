"""Handlers that end the process they run in, and some that do no harm."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from jobwire.app import App, JobContext

STEP_BYTES: Final = 32 << 20
MOST_BYTES: Final = 1 << 30
"""No machine is brought down, whatever becomes of the bound."""

app = App("poison")
remote_app = App("remote")


@app.job("exit", runner="process")
def exit_child() -> None:
    """End the child."""
    os._exit(3)


@app.job("abort", runner="process")
def abort_child() -> None:
    """Crash the child, as a library in C does."""
    os.abort()


@app.job("eat", runner="process")
def eat() -> int:
    """Take memory until somebody ends this."""
    taken = []
    while len(taken) * STEP_BYTES < MOST_BYTES:
        taken.append(os.urandom(STEP_BYTES))
    return len(taken)


@app.job("exit-thread")
def exit_worker_from_thread() -> None:
    """End the whole worker (or only a child, when it is run apart)."""
    os._exit(4)


@app.job("exit-async")
async def exit_worker() -> None:
    """The same, from the runtime's loop."""
    os._exit(5)


@app.job("bystander")
async def stand_by(ms: int) -> str:
    """Do no harm."""
    await asyncio.sleep(ms / 1000)
    return "unharmed"


@app.job("long")
async def wait_for_file(context: JobContext, path: str) -> int:
    """Wait until there is a file; return the number of the attempt."""
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240 - a look at a local file
        await asyncio.sleep(0.05)
    return context.attempt


remote_app.job("remote-long")(wait_for_file.function)
