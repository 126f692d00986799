"""What a type checker makes of the package. Never run: `test_typing` has mypy read it.

Each `assert_type` must hold, and each line with a `type: ignore` must be an error of just that kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_type

from jobwire import App, Client, Fail, JobContext, JobHandle, Snooze, decode
from jobwire.worker.handler import Handler


@dataclass
class Receipt:
    message_id: str


app = App("shop")


@app.job("email.send", queue="mail", timeout="30s")
async def send_email(to: str, subject: str, *, html: bool = False) -> Receipt:
    return Receipt(f"{to}{subject}{html}")


@app.job
def thumbnail(path: str, width: int = 200) -> str:
    return f"{path}{width}"


@app.job("train", runner="process")
def train(ctx: JobContext, dataset: str) -> dict[str, int] | Snooze:
    place = ctx.last_checkpoint_as(Receipt)
    assert_type(place, Receipt | None)
    assert_type(ctx.deadline, datetime | None)
    ctx.checkpoint({"i": ctx.last_checkpoint.get("i", 0) + 1})
    ctx.follow_up(thumbnail, "a.png", 64, queue="slow", delay="5m")
    ctx.follow_up("tidy", key="once")
    ctx.follow_up("tidy", qeue="slow")  # type: ignore[call-arg]
    ctx.follow_up("tidy", delay=None, priority="high")  # type: ignore[arg-type]
    ctx.follow_up(3)  # type: ignore[arg-type]
    if not dataset:
        raise Fail("nothing to learn")
    return Snooze("5m") if ctx.cancelled else {"ok": 1}


async def decorated_functions_keep_their_types(ctx: JobContext) -> None:
    assert_type(thumbnail("a.png"), str)
    assert_type(await send_email("a@b.c", "hi", html=True), Receipt)
    assert_type(train(ctx, "s"), dict[str, int] | Snooze)
    thumbnail(3)  # type: ignore[arg-type]
    thumbnail("a.png", widht=3)  # type: ignore[call-arg]
    await send_email("a@b.c")  # type: ignore[call-arg]
    train("s")  # type: ignore[call-arg, arg-type]


def handlers_have_the_types_of_their_functions() -> None:
    def plain(a: int) -> str:
        return str(a)

    assert_type(app.job(plain)(1), str)
    assert_type(app.job("named")(plain)(1), str)
    handler: Handler[[int], str] = app.job("kept")(plain)
    wrong: Handler[[str], str] = app.job("wrong")(plain)  # type: ignore[arg-type]
    app.job("typo", runner="proces")(plain)  # type: ignore[call-overload]
    assert_type(handler.type, str)
    del wrong


def results_have_the_type_that_was_asked_for(client: Client) -> None:
    job = client.submit("email.send", {"to": "a@b.c"}, queue="mail")
    assert_type(job, JobHandle[Any])
    assert_type(job.result(type=Receipt), Receipt)
    assert_type(decode(None, Receipt), Receipt)
    client.submit("email.send", queue=3)  # type: ignore[arg-type]
