"""A small application to be tested."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date

from jobwire import App, Cancel, Fail, JobContext, Retry, Snooze

app = App("shop")
sent: list[str] = []
"""What the handlers did, in this process. Emptied by the fixture."""


@dataclass(frozen=True)
class Receipt:
    """A result with a type."""

    to: str
    day: date


@app.job("email.send", queue="mail")
def send_email(to: str, subject: str = "hello", *, html: bool = False) -> Receipt:
    sent.append(to)
    return Receipt(to, date(2026, 1, 2))


@app.job("email.count")
async def count(numbers: list[int]) -> int:
    sent.append("counted")
    return sum(numbers)


@app.job("flaky")
def flaky(ctx: JobContext) -> int:
    if ctx.attempt < 3:
        raise ConnectionError(f"attempt {ctx.attempt} found nobody")
    return ctx.attempt


@app.job("hopeless")
def hopeless() -> None:
    raise Fail("no such user")


@app.job("later")
def later(ctx: JobContext) -> str | Snooze:
    if not ctx.last_checkpoint:
        ctx.checkpoint({"asked": True})
        return Snooze("1h")
    return "done"


@app.job("enough")
def enough() -> Cancel:
    return Cancel("not needed any more")


@app.job("order.ship")
def ship(ctx: JobContext, order: int) -> None:
    sent.append(f"ship {order}")
    ctx.follow_up(send_email, f"customer-{order}@example.org")


@app.job("twice")
def twice() -> None:
    raise Retry(after="10s")


@app.job("which.process", runner="process")
def which_process() -> int:
    return os.getpid()
