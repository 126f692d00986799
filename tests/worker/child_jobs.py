"""Handlers that the tests run in child processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jobwire.app import App, JobContext, Snooze
from jobwire.payload import Payload

app = App("children")


@app.job("pid", runner="process")
def pid() -> int:
    return os.getpid()


@app.job("add", runner="process")
def add(a: int, b: int) -> int:
    return a + b


@app.job("add.async", runner="process")
async def add_async(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@app.job("echo", runner="process")
def echo(payload: Payload) -> Payload:
    return payload


@app.job("snooze", runner="process")
def snooze() -> Snooze:
    return Snooze("5m")


@app.job("raise", runner="process")
def fail() -> None:
    raise KeyError("colour")


@app.job("print", runner="process")
def talk() -> list[str]:
    print("this must not disturb the pipe")
    subprocess.run([sys.executable, "-c", "print('nor this')"], check=True)
    return [sys.stdin.read(), "fine"]


@app.job("facts", runner="process")
def facts(ctx: JobContext) -> list[object]:
    remaining = ctx.remaining_seconds
    return [ctx.job_id, ctx.attempt, ctx.fence, dict(ctx.headers), remaining is not None and 0 < remaining <= 60]


@app.job("inheritance", runner="process")
def inheritance() -> dict[str, object]:
    files = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            files.append(os.readlink(f"/proc/self/fd/{number}"))
    return {"files": files, "names": sorted(name for name in os.environ if name.startswith("JOBWIRE_"))}


@app.job("exit", runner="process")
def leave(code: int) -> None:
    os._exit(code)


@app.job("crash", runner="process")
def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@contextlib.contextmanager
def traced(path: str) -> Iterator[None]:
    """Leave a note of the beginning, and one of an orderly end."""
    note = Path(path)
    note.with_suffix(".pid").write_text(str(os.getpid()))
    note.with_suffix(".began").touch()
    try:
        yield
    finally:
        note.with_suffix(".ended").touch()


@app.job("sleep", runner="process")
def sleep(path: str) -> None:
    with traced(path):
        time.sleep(3600)


@app.job("sleep.async", runner="process")
async def sleep_async(path: str) -> None:
    with traced(path):
        await asyncio.sleep(3600)


@app.job("check", runner="process")
def check(ctx: JobContext, path: str) -> None:
    with traced(path):
        while True:
            ctx.check()
            time.sleep(0.001)


@app.job("stubborn", runner="process")
def stubborn(path: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with traced(path):
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(3600)


@app.job("spin", runner="process")
def spin(path: str) -> None:
    """Write as fast as can be, for ever."""
    with traced(path), Path(path).open("ab", buffering=0) as file:
        while True:
            file.write(b".")


@app.job("hold_gil", runner="process")
def hold_gil(path: str) -> None:
    """Never let another thread of this process have the interpreter."""
    sys.setswitchinterval(3600)
    with traced(path):
        while True:
            pass


@app.job("progress", runner="process")
def progress(ctx: JobContext, path: str) -> None:
    for step in range(1000):
        ctx.progress(step, 1000, f"step {step}")
    ctx.progress(1000, 1000, "all")
    check.function(ctx, path)


@app.job("brood", runner="process")
def brood(path: str) -> None:
    """Start a grandchild, and wait for it."""
    code = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(3600)"
    with traced(path):
        subprocess.run([sys.executable, "-c", code, path + ".grandchild"], check=False)
