"""Handlers that the tests of `jobwire work` run in real worker processes."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from jobwire.app import App, JobContext

app = App("work")


@app.job("add")
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@app.job("fail")
def fail() -> None:
    """Fail."""
    raise ValueError("no luck")


@app.job("pid", runner="process")
def pid() -> int:
    """Tell the child's number."""
    return os.getpid()


@app.job("grow", runner="process")
def grow() -> None:
    """Take much memory, and keep it."""
    taken = b"x" * (200 << 20)
    threading.Event().wait(len(taken))


@app.job("chain")
def chain(ctx: JobContext, count: int) -> int:
    """Have some jobs follow."""
    for number in range(count):
        ctx.follow_up(add, number, 1, labels={"chain": ctx.job_id})
    return count


@app.job("wait")
async def wait(ctx: JobContext, notes: str, go: str) -> str:
    """Say what was left by an earlier attempt, leave something, and wait for a line."""
    found = ctx.last_checkpoint.get("place", "nothing")
    ctx.checkpoint({"place": f"left by attempt {ctx.attempt}"})
    await asyncio.to_thread(_note, notes, f"began {found}")
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()
    pipe = os.open(go, os.O_RDWR | os.O_NONBLOCK)
    loop.add_reader(pipe, lambda: line.done() or line.set_result(os.read(pipe, 100).decode()))
    try:
        return (await line).strip()
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)


def _note(path: str, line: str) -> None:
    with Path(path).open("w") as notes:
        notes.write(line + "\n")


if __name__ == "__main__":
    app.run(slots=2, queues={"default": 2, "other": 1}, max_jobs=3)
