"""What a handler can find out, leave for the next attempt, and start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobwire.app import App, Cancel, JobContext, Snooze
from jobwire.errors import ArgumentInvalid, BatchTooLarge, NotDecodable, NotEncodable, PayloadTooLarge
from jobwire.payload import Payload
from jobwire.v1.job_service_pb2 import SubmitJobRequest
from jobwire.worker.attempt import Attempt
from jobwire.worker.transport import Assignment, Failure, Outcome, Release, Stopped, Success
from tests.helpers.clock import START_US, ManualClock
from tests.worker.support import working

MEBIBYTE = 1 << 20
START = datetime.fromtimestamp(START_US / 1e6, UTC)


def attempt_of(**facts: Any) -> Attempt:
    plain: dict[str, Any] = {
        "token": 1, "job_id": "j", "queue": "q", "type": "t", "attempt": 1, "max_attempts": 5, "fence": 7,
        "payload": None, "headers": {}, "lease_seconds": 30.0, "timeout_seconds": None,
    }  # fmt: skip
    return Attempt(Assignment(**{**plain, **facts}))


def context_of(attempt: Attempt | None = None, **facts: Any) -> JobContext:
    return JobContext(attempt or attempt_of(**facts), ManualClock())


def as_json(text: str) -> Payload:
    return Payload(text.encode(), "application/json", is_text=True)


@dataclass
class Place:
    file: str
    line: int


# --- facts ----------------------------------------------------------------------------------------------------------


def test_labels_and_lost_leases_are_there_to_be_read() -> None:
    ctx = context_of(labels={"customer": "42"}, lost_leases=2)
    assert (ctx.labels, ctx.lost_leases) == ({"customer": "42"}, 2)
    assert (context_of().labels, context_of().lost_leases) == ({}, 0)


def test_the_deadline_is_a_time_of_this_machine_and_absent_without_a_bound() -> None:
    clock, attempt = ManualClock(), attempt_of()
    ctx = JobContext(attempt, clock)
    assert ctx.deadline is None

    attempt.deadline = 90.0
    clock.advance(30)

    assert ctx.remaining_seconds == 60
    assert ctx.deadline == START + timedelta(seconds=90)


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "saved"),
    [
        ({"i": 3}, as_json('{"i":3}')),
        (None, as_json("null")),
        (Place("a", 1), as_json('{"file":"a","line":1}')),
        (b"\x00", Payload(b"\x00", "application/octet-stream")),
        (Payload(b"a: 1", "application/yaml"), Payload(b"a: 1", "application/yaml")),
    ],
)
def test_a_checkpoint_may_be_any_value_that_a_payload_may_be(value: object, saved: Payload) -> None:
    attempt = attempt_of()
    context_of(attempt).checkpoint(value)
    assert attempt.checkpoint == saved


def test_only_the_newest_checkpoint_is_left_to_be_sent_and_whoever_sends_is_told_of_each() -> None:
    attempt = attempt_of()
    told: list[Attempt] = []
    attempt.on_progress = told.append
    ctx = context_of(attempt)

    ctx.checkpoint(1)
    ctx.checkpoint(2)

    assert told == [attempt, attempt]
    assert attempt.unsaved() == as_json("2")


def test_a_checkpoint_that_cannot_be_kept_is_refused_and_the_one_before_it_stays() -> None:
    attempt = attempt_of()
    ctx = context_of(attempt)
    ctx.checkpoint("good")

    with pytest.raises(PayloadTooLarge, match="checkpoint has 1048577 bytes; the most is 1048576"):
        ctx.checkpoint(bytes(MEBIBYTE + 1))
    with pytest.raises(NotEncodable):
        ctx.checkpoint(object())

    assert attempt.checkpoint == as_json('"good"')


def test_the_first_attempt_finds_an_empty_checkpoint_that_get_can_be_called_on() -> None:
    ctx = context_of()
    assert ctx.last_checkpoint.get("i", 0) == 0
    assert ctx.last_checkpoint_as(Place) is None


def test_a_later_attempt_finds_what_the_one_before_left() -> None:
    ctx = context_of(checkpoint=as_json('{"file":"a","line":3}'))
    assert ctx.last_checkpoint == {"file": "a", "line": 3}
    assert ctx.last_checkpoint_as(Place) == Place("a", 3)
    assert context_of(checkpoint=Payload(b"\x00", "application/octet-stream")).last_checkpoint == b"\x00"


def test_a_checkpoint_of_another_shape_is_no_silent_start_from_scratch() -> None:
    with pytest.raises(NotDecodable, match="line"):
        _ = context_of(checkpoint=as_json('{"file":"a","line":"x"}')).last_checkpoint_as(Place)


# --- follow-ups -----------------------------------------------------------------------------------------------------


def spec_of(request: SubmitJobRequest) -> tuple[str, str, str]:
    return request.spec.type, request.spec.queue, request.spec.payload.text


def test_a_follow_up_is_a_job_as_a_client_would_submit_it() -> None:
    attempt = attempt_of()

    context_of(attempt).follow_up(
        "invoice", {"order": 42}, queue="billing", delay="10m", priority=7, labels={"a": "b"}, key="invoice-42"
    )

    (request,) = attempt.follow_ups
    assert spec_of(request) == ("invoice", "billing", '{"order":42}')
    assert request.spec.schedule_time.ToDatetime(UTC) == START + timedelta(minutes=10)
    assert (request.spec.priority, request.spec.labels, request.request_id) == (7, {"a": "b"}, "invoice-42")


def test_a_handler_can_be_named_by_itself_and_brings_its_queue_and_several_values_are_its_arguments() -> None:
    app = App("shop")

    @app.job("thumbnail", queue="images")
    def thumbnail(path: str, width: int) -> None: ...

    attempt = attempt_of()
    ctx = context_of(attempt)
    ctx.follow_up(thumbnail, "a.png", 64)
    ctx.follow_up(thumbnail, {"path": "b.png", "width": 32}, queue="slow")
    ctx.follow_up("tidy")

    assert [spec_of(each) for each in attempt.follow_ups] == [
        ("thumbnail", "images", '["a.png",64]'), ("thumbnail", "slow", '{"path":"b.png","width":32}'), ("tidy", "", ""),
    ]  # fmt: skip
    assert not attempt.follow_ups[2].spec.HasField("payload")
    assert [each.request_id for each in attempt.follow_ups] == ["", "", ""]


def too_many(ctx: JobContext) -> None:
    for _ in range(1001):
        ctx.follow_up("t")


def too_much(ctx: JobContext) -> None:
    for _ in range(4):
        ctx.follow_up("t", bytes(MEBIBYTE))


@pytest.mark.parametrize(
    ("ask", "error", "text", "kept"),
    [
        (
            lambda ctx: ctx.follow_up("big", bytes(MEBIBYTE + 1)),
            PayloadTooLarge,
            "follow-up 'big' has 1048577 bytes",
            0,
        ),
        (lambda ctx: ctx.follow_up("t", 1, qeue="x"), ArgumentInvalid, "no option 'qeue'", 0),
        (lambda ctx: ctx.follow_up("t", object()), NotEncodable, "JSON", 0),
        (too_many, BatchTooLarge, "at most 1000 follow-ups", 1000),
        (too_much, PayloadTooLarge, "bytes together; the most is", 2),
    ],
)
def test_a_follow_up_that_no_server_would_take_is_refused_at_once(
    ask: Callable[[JobContext], None], error: type[Exception], text: str, kept: int
) -> None:
    attempt = attempt_of()
    with pytest.raises(error, match=text):
        ask(context_of(attempt))
    assert len(attempt.follow_ups) == kept


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("result", [None, "done"])
async def test_success_takes_the_follow_ups_along(kind: str, result: str | None) -> None:
    def plain(ctx: JobContext) -> str | None:
        ctx.follow_up("next", 1)
        return result

    async def coroutine(ctx: JobContext) -> str | None:
        return plain(ctx)

    outcome = await outcome_of(plain if kind == "plain" else coroutine)

    assert isinstance(outcome, Success)
    assert outcome.result == (None if result is None else as_json('"done"'))
    assert [spec_of(each) for each in outcome.follow_ups] == [("next", "", "1")]


@pytest.mark.asyncio
@pytest.mark.parametrize("end", [ValueError("no"), "Snooze", "Cancel"])
async def test_whoever_does_not_succeed_starts_nothing(end: Any) -> None:
    def handler(ctx: JobContext) -> object:
        ctx.follow_up("next", 1)
        if isinstance(end, Exception):
            raise end
        return Snooze("1m") if end == "Snooze" else Cancel("no")

    assert isinstance(await outcome_of(handler), Failure | Release | Stopped)


async def outcome_of(function: Any) -> Outcome:
    app = App("test")
    app.job("it")(function)
    async with working(app) as worker:
        return await worker.server.outcome(worker.server.offer("it"))
