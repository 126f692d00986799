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
from types import FrameType

from jobwire.app import App, JobContext, Snooze
from jobwire.payload import Payload

app = App("children")
hoard: list[bytes] = []


@app.job("pid", runner="process")
def pid() -> int:
    return os.getpid()


@app.job("pid.async")
async def pid_async() -> int:
    return os.getpid()


@app.job("exit.async")
async def exit_async() -> None:
    os._exit(9)


@app.job("pid.thread")
def pid_thread() -> int:
    return os.getpid()


@app.job("grow", runner="process")
def grow(mebibytes: int, seconds: float) -> int:
    hoard.append(b"x" * (mebibytes << 20))
    time.sleep(seconds)
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


@app.job("facts.more", runner="process")
def more_facts(ctx: JobContext) -> list[object]:
    return [dict(ctx.labels), ctx.lost_leases, ctx.last_checkpoint, ctx.deadline is not None]


@app.job("chain", runner="process")
def chain(ctx: JobContext, count: int) -> str:
    for number in range(count):
        ctx.follow_up("next", number)
    return "chained"


@app.job("inheritance", runner="process")
def inheritance() -> dict[str, object]:
    files = []
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            files.append(str(number.readlink()))
    return {"files": files, "names": sorted(name for name in os.environ if name.startswith("JOBWIRE_"))}


@app.job("exit", runner="process")
def leave(code: int) -> None:
    os._exit(code)


@app.job("crash", runner="process")
def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@contextlib.contextmanager
def traced(notes: str) -> Iterator[None]:
    """Write a line at the beginning, and one at an orderly end."""
    try:
        note(notes, "began", os.getpid())
        yield
    finally:
        note(notes, "ended", os.getpid())


def note(notes: str, word: str, pid: int) -> None:
    """Write one line to a named pipe."""
    with Path(notes).open("w") as pipe:
        pipe.write(f"{word} {pid}\n")


@app.job("sleep", runner="process")
def sleep(notes: str) -> None:
    with traced(notes):
        time.sleep(3600)


@app.job("sleep_async", runner="process")
async def sleep_async(notes: str) -> None:
    with traced(notes):
        await asyncio.sleep(3600)


@app.job("check", runner="process")
def check(ctx: JobContext, notes: str) -> None:
    with traced(notes):
        while True:
            ctx.check()
            time.sleep(0.001)


@app.job("tidy", runner="process")
def tidy(ctx: JobContext, notes: str) -> None:
    """Obey the first word, and be cleaning up when the signal comes."""
    terminate, signalled = signal.getsignal(signal.SIGTERM), []

    def notice(number: int, frame: FrameType | None) -> None:
        signalled.append(number)
        assert callable(terminate)
        terminate(number, frame)

    signal.signal(signal.SIGTERM, notice)
    with traced(notes):
        try:
            check.function(ctx, os.devnull)
        finally:
            while not signalled:
                time.sleep(0.001)


@app.job("stubborn", runner="process")
def stubborn(notes: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with traced(notes):
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(3600)


@app.job("spin", runner="process")
def spin(notes: str) -> None:
    """Write as fast as can be, for ever."""
    with Path(notes + ".effect").open("ab", buffering=0) as file:
        file.write(b".")
        with traced(notes):
            while True:
                file.write(b".")


@app.job("hold_gil", runner="process")
def hold_gil(notes: str) -> None:
    """Never let another thread of this process have the interpreter."""
    sys.setswitchinterval(3600)
    with traced(notes):
        while True:
            pass


@app.job("progress", runner="process")
def progress(ctx: JobContext, notes: str) -> None:
    for step in range(1000):
        ctx.progress(step, 1000, f"step {step}")
    ctx.progress(1000, 1000, "all")
    check.function(ctx, notes)


@app.job("brood", runner="process")
def brood(notes: str) -> None:
    """Start a grandchild, and wait for it."""
    code = "import time; time.sleep(3600)"
    with traced(notes), subprocess.Popen([sys.executable, "-c", code]) as grandchild:
        note(notes, "grandchild", grandchild.pid)
        grandchild.wait()
