"""What type checkers make of the package. Never run: `test_typing` has mypy and pyright read it.

Each `assert_type` must hold, and each line with a `type: ignore` must be an error, for mypy of just that kind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_type

from jobwire import App, AsyncClient, AsyncJobHandle, Client, Fail, JobContext, JobHandle, Retry, Snooze, decode
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


@app.job
async def tidy(ctx: JobContext, *, deep: bool = False) -> None:
    ctx.progress(100 if deep else 50)


@app.job("resize", runner="process")
async def resize(ctx: JobContext, path: str, width: int = 200) -> Receipt | Snooze | Retry:
    return Receipt(f"{path}{width}{ctx.job_id}")


@app.job("nothing")
def nothing() -> None: ...


def a_submit_is_checked_like_a_call() -> None:
    send_email.submit("a@b.c", "hi", html=True)
    send_email.submit(to="a@b.c", subject="hi")
    send_email.submit("a@b.c", "hi", html=3)  # type: ignore[arg-type]
    send_email.submit(5, "hi")  # type: ignore[arg-type]
    send_email.submit("a@b.c")  # type: ignore[call-arg]
    send_email.submit("a@b.c", "hi", True)  # type: ignore[call-arg]
    send_email.options(key="k").submit("a@b.c", subject=None)  # type: ignore[arg-type]
    thumbnail.submit("a.png", width="wide")  # type: ignore[arg-type]
    thumbnail.run("a.png", 64, 64)  # type: ignore[call-arg]
    nothing.submit(1)  # type: ignore[call-arg]


def the_context_is_not_for_submitters_to_give(ctx: JobContext) -> None:
    train.submit("s")
    tidy.submit(deep=True)
    train.submit(ctx, "s")  # type: ignore[call-arg, arg-type]
    tidy.submit(ctx)  # type: ignore[call-arg, arg-type]
    train.submit()  # type: ignore[call-arg]


async def handles_and_values_have_the_types_of_results() -> None:
    assert_type(send_email.submit("a@b.c", "hi"), JobHandle[Receipt])
    assert_type(await send_email.asubmit("a@b.c", "hi"), AsyncJobHandle[Receipt])
    assert_type(send_email.submit("a@b.c", "hi").result(), Receipt)
    assert_type(send_email.run("a@b.c", "hi"), Receipt)
    assert_type(await send_email.arun("a@b.c", "hi"), Receipt)
    assert_type(thumbnail.submit("a.png"), JobHandle[str])
    assert_type(thumbnail.options(delay="1h", priority=9).submit("a.png", width=64), JobHandle[str])
    assert_type(await thumbnail.options(wait="20s").arun("a.png"), str)
    assert_type(nothing.submit(), JobHandle[None])
    assert_type(tidy.submit(), JobHandle[None])
    assert_type(train.submit("s"), JobHandle[dict[str, int]])
    assert_type(resize.submit("a.png", 64), JobHandle[Receipt])
    assert_type(await resize.arun("a.png"), Receipt)
    thumbnail.options(qeue="slow")  # type: ignore[call-arg]
    thumbnail.options(priority="high")  # type: ignore[arg-type]


def map_gives_the_first_argument_item_by_item() -> None:
    assert_type(thumbnail.map(["a.png", "b.png"], width=64), Iterator[str])
    assert_type(send_email.amap(["a@b.c"], "hi", html=True), AsyncIterator[Receipt])
    assert_type(resize.map(["a.png"], 64), Iterator[Receipt])
    thumbnail.map([1, 2])  # pyright: ignore[reportArgumentType]  # mypy does not see this one
    thumbnail.map(["a.png"], widht=64)  # type: ignore[call-arg]
    send_email.map(["a@b.c"])  # type: ignore[call-arg]


async def apps_hand_out_their_clients() -> None:
    assert_type(app.client, Client)
    assert_type(app.async_client, AsyncClient)
    app.bind(Client("jobs:7780"))
    app.bind(AsyncClient("jobs:7780"))
    app.bind("jobs:7780")  # type: ignore[arg-type]
    with app.connect("jobs:7780", deadline="3s") as client:
        assert_type(client, Client)
    async with app.connect(tls=True) as aio:
        assert_type(aio, AsyncClient)


def completed(client: Client, handles: list[JobHandle[Receipt]]) -> None:
    assert_type(client.as_completed(handles), Iterator[JobHandle[Receipt]])


def handlers_have_the_types_of_their_functions() -> None:
    def plain(a: int) -> str:
        return str(a)

    assert_type(app.job(plain)(1), str)
    assert_type(app.job("named")(plain)(1), str)
    handler: Handler[[int], str] = app.job("kept")(plain)
    wrong: Handler[[str], str] = handler  # type: ignore[assignment]
    app.job("typo", runner="proces")(plain)  # type: ignore[call-overload]
    assert_type(handler.type, str)
    del wrong


def results_have_the_type_that_was_asked_for(client: Client) -> None:
    job = client.submit("email.send", {"to": "a@b.c"}, queue="mail")
    assert_type(job, JobHandle[Any])
    assert_type(job.result(type=Receipt), Receipt)
    assert_type(decode(None, Receipt), Receipt)
    client.submit("email.send", queue=3)  # type: ignore[arg-type]
