"""A worker as a process: signals, the last job, and what it tells. The server is a scripted one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from jobwire.app import App, Retry, Snooze
from jobwire.errors import ArgumentInvalid, JobwireError
from jobwire.payload import Payload
from jobwire.worker import telling
from jobwire.worker.observed import Ended
from jobwire.worker.process import Ears, WorkerSettings, check_handlers, work
from jobwire.worker.telling import Lines, document_of, line_for_people, line_for_pipes
from jobwire.worker.transport import (
    AckCode,
    Assignment,
    Failure,
    LeaseState,
    OutcomeReport,
    Release,
    Stopped,
    Subscription,
    Success,
    Welcome,
)
from tests.helpers.clock import ManualClock
from tests.helpers.scripted_transport import ScriptedTransport
from tests.worker.support import Gate, settled


class Process:
    """A worker that runs, and what it told."""

    def __init__(self, server: ScriptedTransport, clock: ManualClock) -> None:
        self.server = server
        self.clock = clock
        self.ready = asyncio.Event()
        self.ended: list[Ended] = []
        self.task: asyncio.Task[None]


@asynccontextmanager
async def process(app: App, server: ScriptedTransport | None = None, **settings: Any) -> AsyncIterator[Process]:
    """Be a worker until the block ends."""
    running = Process(server or ScriptedTransport(), ManualClock())
    ears = Ears(on_ready=lambda _: running.ready.set(), on_end=running.ended.append)
    working = work(app.handlers, running.server, WorkerSettings(**settings), ears=ears, clock=running.clock)
    running.task = asyncio.ensure_future(working)
    try:
        await running.ready.wait()
        yield running
    finally:
        running.task.cancel()
        await asyncio.wait([running.task])


def interrupt(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def quick() -> App:
    app = App("test")
    app.job("quick")(lambda: 1)
    return app


# --- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_lets_what_runs_finish_and_takes_nothing_new(number: signal.Signals) -> None:
    app = App("test")
    with Gate() as gate:
        app.job("wait")(gate.wait)
        async with process(app, slots=1) as worker:
            running, waiting = worker.server.offer_many("wait", 2)
            await gate.arrived()
            interrupt(number)
            await worker.server.until(lambda: worker.server.windows[-1] == 0)
            assert not worker.task.done()
            gate.open()
            await worker.task
            assert isinstance(worker.server.outcomes[running], Success)
            assert waiting not in worker.server.outcomes
            assert worker.server.closed


@pytest.mark.asyncio
async def test_the_grace_ends_and_what_still_runs_is_given_back() -> None:
    app = App("test")

    @app.job("sleep")
    async def sleep() -> None:
        await asyncio.Event().wait()

    async with process(app, grace_seconds=3.0) as worker:
        token = worker.server.offer("sleep")
        await settled()
        interrupt()
        await worker.server.until(lambda: worker.server.windows[-1] == 0)
        await settled()
        worker.clock.advance(3.0)
        await worker.task
        assert isinstance(worker.server.outcomes[token], Release)


@pytest.mark.asyncio
async def test_the_second_signal_ends_the_grace() -> None:
    app = App("test")

    @app.job("sleep")
    async def sleep() -> None:
        await asyncio.Event().wait()

    async with process(app, grace_seconds=3600.0) as worker:
        token = worker.server.offer("sleep")
        await settled()
        interrupt()
        await worker.server.until(lambda: worker.server.windows[-1] == 0)
        interrupt()
        await worker.task
        assert isinstance(worker.server.outcomes[token], Release)


@pytest.mark.asyncio
async def test_a_worker_that_still_looks_for_its_server_can_be_ended_too() -> None:
    class Absent(ScriptedTransport):
        opened = asyncio.Event()

        async def open(self, *_: Any) -> Welcome:
            self.opened.set()
            await asyncio.Event().wait()
            raise AssertionError

    server = Absent()
    working = asyncio.ensure_future(work(quick().handlers, server, WorkerSettings()))
    await server.opened.wait()
    interrupt()
    await working
    assert server.closed


@pytest.mark.asyncio
async def test_the_signals_are_as_before_when_the_worker_is_over() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with process(quick(), max_jobs=1) as worker:
        worker.server.offer("quick")
        await worker.task
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.asyncio
async def test_a_server_that_will_not_have_the_worker_any_more_ends_it_with_its_reason() -> None:
    async with process(quick()) as worker:
        assert worker.server.inbox is not None
        worker.server.inbox.refuse("Another process has this name.")
        with pytest.raises(JobwireError, match="Another process has this name") as caught:
            await worker.task
        assert caught.value.code == "WORKER_REFUSED"


@pytest.mark.asyncio
async def test_a_worker_in_another_thread_hears_no_signals_and_works_all_the_same() -> None:
    server_made: list[ScriptedTransport] = []

    async def be_a_worker() -> None:
        server = ScriptedTransport()
        server_made.append(server)
        server.offer_many("quick", 3)
        await work(quick().handlers, server, WorkerSettings(max_jobs=3))

    await asyncio.to_thread(lambda: asyncio.run(be_a_worker()))
    assert len(server_made[0].outcomes) == 3


# --- so many jobs and no more ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(("slots", "prefetch"), [(1, 0), (2, 0), (4, 8), (16, 0)])
async def test_exactly_so_many_jobs_are_begun(slots: int, prefetch: int) -> None:
    app = App("test")
    begun: list[int] = []

    @app.job("count")
    def count(n: int) -> None:
        begun.append(n)

    async with process(app, slots=slots, prefetch=prefetch, max_jobs=5) as worker:
        for n in range(12):
            worker.server.offer("count", str(n).encode())
        await worker.task
        assert begun == [0, 1, 2, 3, 4]
        assert len(worker.server.outcomes) == 5


@pytest.mark.asyncio
async def test_failures_and_snoozes_count_and_what_is_reported_again_counts_once() -> None:
    app = App("test")
    app.job("fail")(lambda: Retry("later"))
    app.job("snooze")(lambda: Snooze("1m"))
    app.job("quick")(lambda: 1)
    server = ScriptedTransport()
    refused: list[OutcomeReport] = []

    def once_more(report: OutcomeReport) -> AckCode:
        refused.append(report)
        return AckCode.RETRY if len(refused) == 1 else AckCode.RECORDED

    server.answer = once_more
    async with process(app, server, slots=1, max_jobs=3) as worker:
        for kind in ("fail", "snooze", "quick", "quick"):
            server.offer(kind)
        while not worker.task.done():
            worker.clock.advance(1.0)
            await settled()
        await worker.task
        assert [type(outcome) for outcome in server.outcomes.values()] == [Failure, Release, Success]


# --- what it tells --------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_each_job_is_told_once_when_its_end_is_recorded() -> None:
    app = quick()
    app.job("fail")(lambda: Retry("later"))
    with Gate() as gate:
        app.job("wait")(gate.wait)
        async with process(app) as worker:
            good, bad, lost = (worker.server.offer(kind) for kind in ("quick", "fail", "wait"))
            await gate.arrived()
            await worker.server.outcome(good)
            await worker.server.outcome(bad)
            worker.clock.advance(2.5)
            worker.server.revoke(lost)
            await settled()
            told = {ended.assignment.token: (ended.outcome, ended.seconds) for ended in worker.ended}
            assert len(worker.ended) == 3
            assert told[good] == (worker.server.outcomes[good], 0.0)
            assert told[bad] == (worker.server.outcomes[bad], 0.0)
            assert told[lost] == (None, 2.5)


@pytest.mark.asyncio
async def test_a_lease_that_the_server_does_not_know_any_more_is_told_as_lost() -> None:
    app = App("test")
    with Gate() as gate:
        app.job("wait")(gate.wait)
        async with process(app) as worker:
            first, second, third = worker.server.offer_many("wait", 3)
            await gate.arrived(3)
            worker.server.forget(first)
            worker.clock.advance(10.0)  # the next heartbeat
            await worker.server.until(lambda: bool(worker.server.updates))
            await settled()
            assert worker.server.inbox is not None
            worker.server.inbox.renewed(
                worker.server.welcome,
                [LeaseState(second, False, False, 0.0), LeaseState(third, True, False, 30.0)],
            )
            assert [(ended.assignment.token, ended.outcome) for ended in worker.ended] == [
                (first, None),
                (second, None),
            ]


NOW = datetime(2026, 11, 21, 12, 31, 4, 120_000, tzinfo=UTC)


def ended(outcome: Any) -> Ended:
    assignment = Assignment(
        token=1, job_id="job-1", queue="mail", type="email.send", attempt=2, max_attempts=5, fence=7, payload=None,
        headers={}, lease_seconds=30.0, timeout_seconds=None,
    )  # fmt: skip
    return Ended(assignment, outcome, 0.31)


ENDS = [
    (Success(), "✓ completed", "COMPLETED type=email.send attempt=2/5 duration=310ms"),
    (
        Success(Payload(bytes(18_000))),
        "✓ completed",
        "COMPLETED type=email.send attempt=2/5 duration=310ms bytes=18000",
    ),
    (
        Failure("ValueError", 'no\n"luck"'),
        "✕ failed",
        'FAILED type=email.send attempt=2/5 duration=310ms error="ValueError: no \\"luck\\""',
    ),
    (Failure("EXIT_3"), "✕ failed", 'FAILED type=email.send attempt=2/5 duration=310ms error="EXIT_3"'),
    (Release(60.0), "◷ snoozed", 'SNOOZED type=email.send attempt=2/5 duration=310ms note="for 1m00s"'),
    (Release(reason="going"), "↺ released", 'RELEASED type=email.send attempt=2/5 duration=310ms note="going"'),
    (Stopped("asked"), "⊘ stopped", 'STOPPED type=email.send attempt=2/5 duration=310ms note="asked"'),
    (Stopped(), "⊘ stopped", "STOPPED type=email.send attempt=2/5 duration=310ms"),
    (
        None,
        "⌀ lost",
        'LOST type=email.send attempt=2/5 duration=310ms note="its lease is over: another worker may have it"',
    ),
]


@pytest.mark.parametrize(("outcome", "badge", "line"), ENDS)
def test_an_end_is_a_line_with_a_symbol_and_a_word(outcome: Any, badge: str, line: str) -> None:
    assert line_for_pipes(ended(outcome), NOW) == f"2026-11-21T12:31:04.120Z job-1 {line}"
    shown = line_for_people(ended(outcome), NOW, coloured=False)
    assert badge in shown
    assert "job-1  email.send  attempt 2/5  310ms" in shown
    assert "\n" not in shown
    painted = line_for_people(ended(outcome), NOW, coloured=True)
    assert painted.replace("\x1b[0m", "").count("\x1b[") == 1
    assert document_of(ended(outcome))["outcome"] == line.split(maxsplit=1)[0]


def test_an_end_as_an_object_has_the_facts_and_the_error() -> None:
    document = document_of(ended(Failure("ValueError", "no", retryable=False)))
    assert json.loads(json.dumps(document)) == {
        "job_id": "job-1", "type": "email.send", "queue": "mail", "attempt": 2, "max_attempts": 5, "outcome": "FAILED",
        "seconds": 0.31, "error": {"type": "ValueError", "message": "no", "retryable": False},
    }  # fmt: skip
    assert document_of(ended(Success()))["error"] is None


class Slow(io.StringIO):
    """A reader that pauses."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        self.begun.set()
        assert self.go_on.wait(20)
        return super().write(text)


def test_whoever_writes_lines_never_waits_and_what_nobody_reads_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(telling, "MAX_WAITING_LINES", 3)
    stream = Slow()
    lines = Lines(stream)
    lines.write("0")
    assert stream.begun.wait(20)
    for number in range(1, 10):
        lines.write(str(number))
    stream.go_on.set()
    lines.close()
    assert stream.getvalue() == "0\n1\n2\n3\n"
    assert [record.message for record in caplog.records] == ["6 lines were not written: nobody read them in time."]


def test_a_reader_who_went_away_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    lines = Lines(Gone())
    for _ in range(3):
        lines.write("x")
    lines.close()
    assert caplog.records == []


# --- what it refuses to begin with ----------------------------------------------------------------------------------


def empty() -> App:
    return App("empty")


def unfit() -> App:
    app = App("unfit")

    @app.job("t")
    def handler(x: io.StringIO, y: int) -> None: ...

    return app


@pytest.mark.parametrize(
    ("make", "text"), [(empty, "no handlers"), (unfit, "handler of 't' cannot be used: Parameter 'x'")]
)
def test_handlers_that_could_never_run_are_refused_before_there_is_a_job(make: Callable[[], App], text: str) -> None:
    with pytest.raises(ArgumentInvalid, match=text):
        check_handlers(make().handlers)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "Handlers that run in child processes .apart. need app_path"),
        ({"slots": 0}, "at least 1 slot"),
        ({"slots": 10_000, "prefetch": 1}, "the most is 10000"),
        ({"max_jobs_per_child": 0}, "at least 1 job"),
    ],
)
async def test_settings_that_contradict_each_other_are_refused_before_anybody_is_called(
    settings: dict[str, Any], text: str
) -> None:
    app = App("test")
    app.job("apart", runner="process")(interrupt)
    server = ScriptedTransport()
    with pytest.raises(ArgumentInvalid, match=text):
        await work(app.handlers, server, WorkerSettings(**settings))
    assert server.hello is None


@pytest.mark.asyncio
async def test_the_server_is_told_what_the_worker_wants() -> None:
    queues = (Subscription("mail", 3), Subscription("*"))
    async with process(quick(), queues=queues, worker_id="w-1", lease_seconds=60.0, slots=2, prefetch=3) as worker:
        hello = worker.server.hello
        assert hello is not None
        assert (hello.worker_id, hello.queues, hello.lease_seconds, hello.max_in_flight) == ("w-1", queues, 60.0, 5)
        assert hello.types == ("quick",)


@pytest.mark.asyncio
async def test_without_a_name_each_worker_makes_one_of_its_own() -> None:
    names = set()
    for _ in range(2):
        async with process(quick()) as worker:
            assert worker.server.hello is not None
            names.add(worker.server.hello.worker_id)
    assert len(names) == 2
