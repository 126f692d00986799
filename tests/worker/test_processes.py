"""Handlers in child processes: real processes, real signals."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
import termios
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobwire.payload import Payload
from jobwire.worker.runtime import WorkerRuntime
from jobwire.worker.transport import Failure, Outcome, Release, Stopped, Success
from tests.helpers.clock import ManualClock
from tests.helpers.scripted_transport import ScriptedTransport
from tests.worker.child_jobs import app
from tests.worker.support import Notes, Worker, ended, settled, until, working

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc and at parent-death signals"),
]

APP = "tests.worker.child_jobs:app"


@asynccontextmanager
async def children(**options: Any) -> AsyncIterator[Worker]:
    """A worker for the handlers of `child_jobs`; no process of it is left at the end."""
    before = set(psutil.Process().children(recursive=True))
    async with working(app, app_path=APP, **options) as worker:
        yield worker
    assert set(psutil.Process().children(recursive=True)) <= before


def decoded(outcome: Outcome) -> Any:
    assert isinstance(outcome, Success), outcome
    assert outcome.result is not None
    return json.loads(outcome.result.data)


def text(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    notes = Notes(tmp_path / "notes")
    yield notes
    notes.close()


async def begun(worker: Worker, notes: Notes, kind: str, **facts: Any) -> tuple[int, int]:
    """Start a job that leaves notes; returns its token and the child's process id."""
    token = worker.server.offer(kind, text(str(notes.path)), **facts)
    word, pid = await notes.line()
    assert word == "began"
    return token, int(pid)


@asynccontextmanager
async def doomed(kind: str, notes: Notes) -> AsyncIterator[psutil.Popen]:
    """A worker process that runs one such job."""
    command = [sys.executable, "-m", "tests.worker.doomed_worker", kind, str(notes.path)]
    worker = psutil.Popen(command, start_new_session=True)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


async def test_a_handler_runs_in_another_process_which_is_used_again() -> None:
    async with children(slots=1) as worker:
        pids = {decoded(await worker.server.outcome(worker.server.offer("pid"))) for _ in range(5)}
        assert len(pids) == 1
        assert os.getpid() not in pids


async def test_there_are_never_more_children_than_slots() -> None:
    async with children(slots=2) as worker:
        tokens = worker.server.offer_many("pid", 50)
        assert len({decoded(await worker.server.outcome(token)) for token in tokens}) <= 2


@pytest.mark.parametrize(
    ("kind", "payload", "result"),
    [
        ("add", text({"a": 1, "b": 2}), 3),
        ("add.async", text([1, 2]), 3),
        ("print", None, ["", "fine"]),
    ],
)
async def test_arguments_and_results_cross_the_pipe(kind: str, payload: bytes | None, result: object) -> None:
    async with children() as worker:
        assert decoded(await worker.server.outcome(worker.server.offer(kind, payload))) == result


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
async def test_payloads_cross_the_pipe_untouched(size: int) -> None:
    payload = Payload(os.urandom(size), "image/gif", "gzip")
    async with children() as worker:
        assert await worker.server.outcome(worker.server.offer("echo", payload)) == Success(payload)


async def test_a_child_knows_the_job_and_its_deadline() -> None:
    async with children() as worker:
        token = worker.server.offer("facts", headers={"a": "b"}, attempt=3, timeout_seconds=60.0)
        assert decoded(await worker.server.outcome(token)) == ["job-1", 3, 10, {"a": "b"}, True]


async def test_a_child_knows_what_earlier_attempts_left() -> None:
    async with children() as worker:
        checkpoint = Payload(b'{"i":3}', "application/json")
        token = worker.server.offer("facts.more", labels={"a": "b"}, lost_leases=2, checkpoint=checkpoint)
        assert decoded(await worker.server.outcome(token)) == [{"a": "b"}, 2, {"i": 3}, False]


async def test_follow_ups_cross_the_pipe_with_the_result() -> None:
    async with children() as worker:
        outcome = await worker.server.outcome(worker.server.offer("chain", b"1000"))
        assert isinstance(outcome, Success)
        assert decoded(outcome) == "chained"
        assert [each.spec.payload.text for each in outcome.follow_ups] == [str(number) for number in range(1000)]


async def test_errors_and_steering_cross_the_pipe() -> None:
    async with children() as worker:
        failure = await worker.server.outcome(worker.server.offer("raise"))
        assert isinstance(failure, Failure)
        assert (failure.error_type, failure.message) == ("KeyError", "'colour'")
        assert "in fail" in failure.detail
        assert await worker.server.outcome(worker.server.offer("snooze")) == Release(300.0)
        mismatch = await worker.server.outcome(worker.server.offer("add", b"[1]"))
        assert isinstance(mismatch, Failure)
        assert mismatch.error_type == "PAYLOAD_MISMATCH"


async def test_a_child_inherits_neither_files_nor_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWIRE_TOKEN", "secret")
    for name, value in (("ADDRESS", "localhost:1"), ("TLS_CA", "ca.pem"), ("CONTEXTS", os.devnull)):
        monkeypatch.setenv(f"JOBWIRE_{name}", value)  # a client in a handler finds its server as the worker does
    with (tmp_path / "jobs.db.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        async with children() as worker:
            found = decoded(await worker.server.outcome(worker.server.offer("inheritance")))
    assert sorted(found["names"]) == ["JOBWIRE_ADDRESS", "JOBWIRE_CONTEXTS", "JOBWIRE_TLS_CA"]
    assert found["files"]
    assert not [file for file in found["files"] if str(tmp_path) in file]


@pytest.mark.parametrize(("kind", "payload"), [("exit", b"[7]"), ("exit", b"[0]"), ("crash", None)])
async def test_a_child_that_dies_abandons_its_job_and_is_replaced(kind: str, payload: bytes | None) -> None:
    async with children(slots=1) as worker:
        token = worker.server.offer(kind, payload)
        await worker.server.until(lambda: token in worker.server.abandoned)
        assert token not in worker.server.outcomes
        assert decoded(await worker.server.outcome(worker.server.offer("add", b"[1, 2]"))) == 3


@pytest.mark.parametrize("when", ["before it got the job", "before it read the job"])
async def test_a_child_that_died_before_it_began_costs_no_job_anything(when: str) -> None:
    async with children(slots=1) as worker:
        pid = decoded(await worker.server.outcome(worker.server.offer("pid")))
        if when == "before it got the job":
            os.kill(pid, signal.SIGKILL)
            await ended(pid)
            token = worker.server.offer("pid")
        else:
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: stands_still(pid))
            token = worker.server.offer("pid")
            await until(lambda: bytes_in_pipes_to(pid) > 0)
            os.kill(pid, signal.SIGKILL)
        assert decoded(await worker.server.outcome(token)) != pid
        assert worker.server.abandoned == []


def stands_still(pid: int) -> bool:
    """Whether every thread of this process is stopped."""
    states = [task.read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def bytes_in_pipes_to(pid: int) -> int:
    """How much this process has not read yet."""
    total = 0
    for number in Path(f"/proc/{pid}/fd").iterdir():
        if "pipe:" in str(number.readlink()):
            try:
                pipe = os.open(number, os.O_RDONLY | os.O_NONBLOCK)
            except OSError:
                continue
            waiting = array("i", [0])
            fcntl.ioctl(pipe, termios.FIONREAD, waiting)
            os.close(pipe)
            total += waiting[0]
    return total


@pytest.mark.parametrize("kind", ["sleep", "sleep_async", "check", "tidy"])
async def test_a_child_that_takes_too_long_is_asked_first(notes: Notes, kind: str) -> None:
    clock = ManualClock()
    async with children(clock=clock) as worker:
        token, pid = await begun(worker, notes, kind, timeout_seconds=5.0)
        await until(lambda: clock.seconds_to_next() == 5.0)  # the worker knows that the handler has begun
        clock.advance(5.1)
        failure = await worker.server.outcome(token)
        assert isinstance(failure, Failure)
        assert failure.error_type == "TIMEOUT"
        await ended(pid)
        assert await notes.line() == ["ended", str(pid)], "it could clean up"


@pytest.mark.parametrize("kind", ["stubborn", "hold_gil"])
async def test_a_child_that_does_not_obey_is_killed(notes: Notes, kind: str) -> None:
    clock = ManualClock()
    async with children(clock=clock, slots=1) as worker:
        token, pid = await begun(worker, notes, kind, timeout_seconds=5.0)
        await until(lambda: clock.seconds_to_next() == 5.0)  # the worker knows that the handler has begun
        clock.advance(5.1)
        await settled()
        assert psutil.pid_exists(pid)
        assert token not in worker.server.outcomes
        clock.advance(1.1)
        failure = await worker.server.outcome(token)
        assert isinstance(failure, Failure)
        assert failure.error_type == "TIMEOUT"
        await ended(pid)
        assert worker.runtime.hung == 0
        assert decoded(await worker.server.outcome(worker.server.offer("add", b"[1, 2]"))) == 3


async def test_what_a_killed_child_started_is_killed_with_it(notes: Notes) -> None:
    async with children(slots=1) as worker:
        token, _ = await begun(worker, notes, "brood")
        word, grandchild = await notes.line()
        assert word == "grandchild"
        worker.server.revoke(token)
        await ended(int(grandchild))


@pytest.mark.parametrize("kind", ["check", "sleep_async"])
async def test_a_cancel_order_reaches_a_child(notes: Notes, kind: str) -> None:
    async with children(slots=1) as worker:
        token, pid = await begun(worker, notes, kind)
        worker.server.order_cancel(token, "not wanted")
        assert await worker.server.outcome(token) == Stopped("not wanted")
        assert decoded(await worker.server.outcome(worker.server.offer("pid"))) == pid, "it is used again"


async def test_a_child_whose_lease_is_lost_is_stopped(notes: Notes) -> None:
    async with children(slots=1) as worker:
        token, pid = await begun(worker, notes, "sleep")
        worker.server.order_cancel(token, "not wanted")
        worker.server.revoke(token)
        await ended(pid)
        assert decoded(await worker.server.outcome(worker.server.offer("add", b"[1, 2]"))) == 3
        assert token not in worker.server.outcomes


async def test_progress_of_a_child_is_passed_on(notes: Notes) -> None:
    async with children(slots=1) as worker:
        await begun(worker, notes, "progress")
        await worker.server.until(
            lambda: any(u.progress_message == "all" for sent in worker.server.updates for u in sent)
        )


async def test_a_drain_stops_children_and_gives_their_jobs_back(notes: Notes) -> None:
    clock = ManualClock()
    async with children(slots=3, clock=clock) as worker:
        started = [await begun(worker, notes, kind) for kind in ("sleep", "stubborn", "check")]
        drain = asyncio.create_task(worker.runtime.drain(5))
        await settled()
        clock.advance(5.1)
        await until(lambda: len(worker.server.outcomes) == 2)
        clock.advance(0.6)  # the stubborn one is killed
        await drain
        assert {token: worker.server.outcomes[token] for token, _ in started} == dict.fromkeys(
            [token for token, _ in started], Release(reason="the worker is shutting down")
        )
        for _, pid in started:
            await ended(pid)


async def test_an_app_that_cannot_be_imported_fails_the_job_with_the_reason() -> None:
    async with working(app, app_path="tests.worker.no_such_jobs:app") as worker:
        failure = await worker.server.outcome(worker.server.offer("add", b"[1, 2]"))
    assert isinstance(failure, Failure)
    assert (failure.error_type, failure.retryable) == ("CHILD_NOT_STARTED", True)
    assert "no module 'tests.worker.no_such_jobs'" in failure.message


async def test_process_handlers_need_a_path_to_import_them_from() -> None:
    with pytest.raises(ValueError, match="MODULE:APP"):
        WorkerRuntime(transport=ScriptedTransport(), handlers=app.handlers, slots=1, worker_id="w")


@pytest.mark.parametrize("kind", ["sleep", "sleep_async", "stubborn", "spin", "hold_gil"])
async def test_no_child_outlives_a_worker_that_is_killed(notes: Notes, kind: str) -> None:
    async with doomed(kind, notes) as worker:
        _, pid = await notes.line()
        assert psutil.Process(int(pid)).ppid() == worker.pid
        worker.kill()
        await ended(int(pid))
    if kind == "spin":
        effect = f"{notes.path}.effect"
        size = os.stat(effect).st_size  # noqa: PTH116
        assert size > 0
        assert os.stat(effect).st_size == size  # noqa: PTH116


async def test_no_child_outlives_a_worker_that_is_killed_while_the_child_starts(notes: Notes) -> None:
    async with doomed("sleep", notes) as worker:
        await until(lambda: bool(worker.children()))
        child = worker.children()[0]
        worker.kill()
        await ended(child.pid)


STARTS = int(os.environ.get("CHILD_STARTS", "25"))


@pytest.mark.timeout(600)
async def test_many_children_start_and_none_hangs() -> None:
    async with children(slots=4) as worker:
        tokens = worker.server.offer_many("exit", STARTS, b"[3]")
        await worker.server.until(lambda: len(worker.server.abandoned) == STARTS)
        assert sorted(worker.server.abandoned) == tokens
