"""What a handler does, and what is reported of it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

import pytest

from jobwire.app import App, Cancel, Fail, JobContext, Retry, Snooze, current_job
from jobwire.payload import Payload
from jobwire.worker.steering import Steering
from jobwire.worker.transport import Failure, Outcome, Release, Stopped, Success
from tests.worker.support import working

pytestmark = pytest.mark.asyncio


async def outcome_of(function: Any, payload: bytes | Payload | None = None, **facts: Any) -> Outcome:
    app = App("test")
    app.job("it")(function)
    async with working(app) as worker:
        return await worker.server.outcome(worker.server.offer("it", payload, **facts))


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, None),
        ({"a": [1, None]}, Payload(b'{"a":[1,null]}', "application/json", is_text=True)),
        ("Grüße", Payload('"Grüße"'.encode(), "application/json", is_text=True)),
        (b"\x00", Payload(b"\x00", "application/octet-stream")),
        (Payload(b"GIF", "image/gif"), Payload(b"GIF", "image/gif")),
    ],
)
async def test_what_a_handler_returns_is_its_result(value: object, result: Payload | None) -> None:
    async def coroutine() -> object:
        return value

    assert await outcome_of(lambda: value) == Success(result)
    assert await outcome_of(coroutine) == Success(result)


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        (Fail("no such user"), Failure("Fail", "no such user", retryable=False)),
        (Fail("gone", type="UserGone"), Failure("UserGone", "gone", retryable=False)),
        (Retry("busy", after="5m"), Failure("Retry", "busy", retry_delay_seconds=300.0)),
        (Retry(), Failure("Retry")),
        (Snooze(2.5), Release(2.5)),
        (Cancel("not wanted"), Stopped("not wanted")),
    ],
)
@pytest.mark.parametrize("how", ["returned", "raised"])
@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_handler_steers_its_job(word: Steering, outcome: Outcome, how: str, kind: str) -> None:
    def plain() -> Steering:
        if how == "raised":
            raise word
        return word

    async def coroutine() -> Steering:
        return plain()

    assert await outcome_of(plain if kind == "plain" else coroutine) == outcome


async def test_a_snooze_without_a_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Snooze(0)


async def test_an_exception_is_kept_with_type_message_and_stack() -> None:
    def handler() -> None:
        raise KeyError("colour")

    failure = await outcome_of(handler)
    assert isinstance(failure, Failure)
    assert (failure.error_type, failure.message, failure.retryable) == ("KeyError", "'colour'", True)
    assert "in handler" in failure.detail
    assert failure.detail.rstrip().endswith("KeyError: 'colour'")
    assert "invoke.py" not in failure.detail


async def test_an_exception_of_an_application_is_named_with_its_module() -> None:
    class SmtpDown(Exception): ...

    def handler() -> None:
        raise SmtpDown

    failure = await outcome_of(handler)
    assert isinstance(failure, Failure)
    assert failure.error_type.startswith(f"{__name__}.")
    assert failure.error_type.endswith("SmtpDown")


async def test_what_is_kept_of_an_exception_is_bounded_and_free_of_nuls() -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("nul \x00, surrogate \ud800, " + "ü" * 100_000)

    failure = await outcome_of(lambda: deep(500))
    assert isinstance(failure, Failure)
    assert len(failure.message.encode()) <= 1024
    assert 1000 < len(failure.detail.encode()) <= 4096
    assert "\x00" not in failure.message + failure.detail
    assert failure.message.startswith("nul \\x00, surrogate \\ud800")


async def test_an_exception_without_a_text_of_its_own_is_still_a_failure() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    def handler() -> None:
        raise Mute

    failure = await outcome_of(handler)
    assert isinstance(failure, Failure)
    assert failure.error_type.endswith("Mute")


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
async def test_no_exception_of_a_handler_reaches_the_worker(error: BaseException, kind: str) -> None:
    def plain() -> None:
        raise error

    async def coroutine() -> None:
        raise error

    app = App("test")
    app.job("bad")(plain if kind == "plain" else coroutine)
    app.job("good")(lambda: 1)
    app.job("good.async")(_one)
    async with working(app, slots=1) as worker:
        failure = await worker.server.outcome(worker.server.offer("bad"))
        assert isinstance(failure, Failure)
        assert failure.error_type.endswith(type(error).__name__)
        for kind_ in ("good", "good.async"):
            assert isinstance(await worker.server.outcome(worker.server.offer(kind_)), Success)
        assert worker.runtime.healthy


async def _one() -> int:
    return 1


async def test_a_payload_that_does_not_fit_never_reaches_the_handler_and_is_not_retried() -> None:
    called = []

    def handler(name: str) -> None:
        called.append(name)

    failure = await outcome_of(handler, b'{"nam": "Ada"}')
    assert isinstance(failure, Failure)
    assert (failure.error_type, failure.retryable) == ("PAYLOAD_MISMATCH", False)
    assert not called


async def test_a_result_that_is_no_json_fails_the_job_for_good() -> None:
    failure = await outcome_of(lambda: {"file": sys.stdout})
    assert isinstance(failure, Failure)
    assert (failure.error_type, failure.retryable) == ("RESULT_UNFIT", False)


async def test_a_context_tells_what_the_handler_may_know() -> None:
    def handler(ctx: JobContext, name: str) -> list[object]:
        same = current_job()
        ctx.check()
        remaining = ctx.remaining_seconds
        return [
            ctx.job_id, ctx.type, ctx.queue, ctx.attempt, ctx.max_attempts, ctx.fence, dict(ctx.headers), name,
            ctx.cancelled, same.job_id, remaining is not None and 0 < remaining <= 60,
        ]  # fmt: skip

    outcome = await outcome_of(handler, b'"Ada"', headers={"traceparent": "x"}, attempt=2, timeout_seconds=60.0)
    assert isinstance(outcome, Success)
    assert outcome.result is not None
    assert outcome.result.data == (b'["job-1","it","default",2,20,10,{"traceparent":"x"},"Ada",false,"job-1",true]')


async def test_outside_of_a_job_the_context_is_a_quiet_one() -> None:
    context = current_job()
    context.check()
    context.progress(50)
    assert (context.job_id, context.cancelled, context.remaining_seconds) == ("", False, None)


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_context_variables_do_not_leak_from_one_job_to_the_next(kind: str) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")

    def plain(name: str) -> str:
        seen = request.get()
        request.set(name)
        return seen

    async def coroutine(name: str) -> str:
        return plain(name)

    app = App("test")
    app.job("it")(plain if kind == "plain" else coroutine)
    async with working(app, slots=1) as worker:
        for token in worker.server.offer_many("it", 3, b'"mine"'):
            assert await worker.server.outcome(token) == Success(Payload(b'"none"', "application/json", is_text=True))


async def test_a_type_without_a_handler_fails_with_a_sentence() -> None:
    app = App("test")
    app.job("known")(lambda: None)
    async with working(app) as worker:
        failure = await worker.server.outcome(worker.server.offer("unknown"))
    assert isinstance(failure, Failure)
    assert failure.error_type == "UNKNOWN_TYPE"
