"""Handlers alone: no engine, but the encoding of arguments and results, and a context that remembers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pytest

from jobwire import App, Cancel, Fail, JobContext, Snooze
from jobwire.errors import NotEncodable
from jobwire.testing import ProgressCall, acall, call, context
from jobwire.worker.arguments import PayloadMismatch
from jobwire.worker.context import current_job
from jobwire.worker.steering import Cancelled
from tests.testing import shop

app = App("alone")


@dataclass(frozen=True)
class Order:
    number: int
    due: date


@app.job("train")
def train(ctx: JobContext, dataset: str, *, rounds: int = 3) -> dict[str, bool]:
    start = ctx.last_checkpoint.get("round", 0)
    for step in range(start, rounds):
        ctx.check()
        ctx.progress(step + 1, total=rounds, message=f"round {step + 1} of {dataset}")
        ctx.checkpoint({"round": step + 1})
    ctx.follow_up("report", dataset)
    return {"ok": True}


@app.job("due")
def due(order: Order) -> Order:
    assert isinstance(order.due, date)
    return order


def test_progress_checkpoints_and_follow_ups_are_remembered() -> None:
    ctx = context(attempt=3)

    assert call(train, ctx, dataset="s") == {"ok": True}

    assert ctx.attempt == 3
    assert ctx.progress_calls[-1] == ProgressCall(3, 3, "round 3 of s")
    assert ctx.checkpoints == [{"round": 1}, {"round": 2}, {"round": 3}]
    assert ctx.follow_ups == [("report", "s")]


def test_an_attempt_goes_on_from_a_checkpoint() -> None:
    ctx = context(attempt=2, checkpoint={"round": 2})
    call(train, ctx, "s")
    assert [each.current for each in ctx.progress_calls] == [3]


def test_a_handler_that_is_asked_to_stop_hears_it() -> None:
    ctx = context()
    ctx.ask_to_stop("enough")
    with pytest.raises(Cancelled, match="enough"):
        call(train, ctx, "s")


def test_arguments_and_results_take_the_way_through_json() -> None:
    order = Order(7, date(2026, 1, 2))
    assert call(due, None, order) == order
    assert call(shop.send_email, None, "ada", html=True) == shop.Receipt("ada", date(2026, 1, 2))


def test_arguments_that_do_not_fit_never_reach_the_handler() -> None:
    with pytest.raises(TypeError, match="dataset"):
        call(train, None, rounds=1)
    with pytest.raises(PayloadMismatch, match="dataset"):
        call(train, None, dataset=7)
    with pytest.raises(NotEncodable):
        call(train, None, dataset=object())


def test_steering_is_returned_or_raised_as_the_handler_does_it() -> None:
    assert isinstance(call(shop.enough), Cancel)
    assert isinstance(call(shop.later, context()), Snooze)
    with pytest.raises(Fail, match="no such user"):
        call(shop.hopeless)


def test_a_helper_deeper_down_finds_the_same_context() -> None:
    deep = App("deep")

    @deep.job("deep")
    def handler() -> str:
        current_job().progress(50)
        return current_job().job_id

    ctx = context(job_id="job-7")
    assert call(handler, ctx) == "job-7"
    assert ctx.progress_calls == [ProgressCall(50)]
    assert current_job().job_id == ""


def test_an_async_handler_is_called_from_a_plain_test() -> None:
    assert call(shop.count, None, [1, 2]) == 3


@pytest.mark.asyncio
async def test_an_async_handler_is_awaited_in_an_async_test() -> None:
    assert await acall(shop.count, None, [1, 2]) == 3
