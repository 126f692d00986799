"""Jobs that any program runs: real programs, real signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobwire.payload import Payload
from jobwire.worker.programs.handler import Program
from jobwire.worker.transport import Failure, Outcome, Release, Stopped, Success
from tests.helpers.clock import ManualClock
from tests.worker.support import Notes, Worker, ended, settled, working

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc, and for what is left of process groups"),
]

MEBIBYTE = 1 << 20


@asynccontextmanager
async def programs(*argv: str, **options: Any) -> AsyncIterator[Worker]:
    """A worker for the type "it"; no process of it is left at the end."""
    before = _descendants()
    async with working({"it": Program(argv, type="it")}, **options) as worker:
        yield worker
    assert _descendants() <= before


def _descendants() -> set[psutil.Process]:
    """Processes below this one, but those that the database of other tests starts when it likes."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name() != "postgres":
                found.add(process)
    return found


async def outcome_of(*argv: str, payload: Payload | bytes | None = None, **facts: Any) -> Outcome:
    async with programs(*argv) as worker:
        return await worker.server.outcome(worker.server.offer("it", payload, **facts))


def sh(script: str, *arguments: str) -> tuple[str, ...]:
    """A shell that the operator named: the worker itself uses none."""
    return ("sh", "-c", script, "sh", *arguments)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def failure(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    notes = Notes(tmp_path / "notes")
    yield notes
    notes.close()


# --- payload and result ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 70_000, MEBIBYTE])
async def test_the_payload_is_on_stdin_and_what_is_printed_is_the_result(size: int) -> None:
    data = b"\xff" + os.urandom(size - 1) if size else b""
    outcome = await outcome_of("cat", payload=Payload(data, "image/gif"))
    assert outcome == Success(Payload(data, "application/octet-stream") if data else None)


@pytest.mark.parametrize(
    ("printed", "media_type"),
    [
        (b'{"a": [1]}\n', "application/json"),
        (b"42\n", "application/json"),
        (b'"text"', "application/json"),
        (b"{broken\n", "text/plain"),
        (b"Gr\xc3\xbc\xc3\x9fe\n", "text/plain"),
        (b"NaN", "text/plain"),
        (b'{"a": Infinity}', "text/plain"),
        (b"1\n2\n", "text/plain"),
        (b"[" * 100_000, "text/plain"),
        (b"\xff\xfe", "application/octet-stream"),
        (b"a\0b", "application/octet-stream"),
    ],
    ids=lambda each: str(each)[:20],
)
async def test_the_media_type_of_a_result_is_what_the_whole_of_it_looks_like(printed: bytes, media_type: str) -> None:
    is_text = media_type != "application/octet-stream"
    assert await outcome_of("cat", payload=printed) == Success(Payload(printed, media_type, is_text=is_text))


async def test_a_program_that_does_not_read_its_payload_is_none_the_worse() -> None:
    assert await outcome_of("true", payload=bytes(MEBIBYTE)) == Success()


async def test_a_program_finds_its_job_in_the_environment_and_nothing_of_ours_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOBWIRE_TOKEN", "secret")
    monkeypatch.setenv("JOBWIRE_ADDRESS", "jobs:7780")
    monkeypatch.delenv("JOBWIRE_CONTEXTS", raising=False)
    code = "import os, json; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('JOBWIRE_')}))"
    clock = ManualClock()
    async with programs(*python(code), clock=clock) as worker:
        token = worker.server.offer(
            "it", attempt=2, timeout_seconds=90.0, checkpoint=Payload(b'{"i": 3}', "application/json")
        )
        outcome = await worker.server.outcome(token)

    assert isinstance(outcome, Success)
    assert outcome.result is not None
    assert json.loads(outcome.result.data) == {
        "JOBWIRE_ADDRESS": "jobs:7780",
        "JOBWIRE_JOB_ID": "job-1",
        "JOBWIRE_TYPE": "it",
        "JOBWIRE_QUEUE": "default",
        "JOBWIRE_ATTEMPT": "2",
        "JOBWIRE_MAX_ATTEMPTS": "20",
        "JOBWIRE_FENCE": "10",
        "JOBWIRE_DEADLINE": "2026-01-01T00:01:30.000Z",
        "JOBWIRE_CHECKPOINT": '{"i": 3}',
    }


async def test_without_a_bound_and_a_checkpoint_there_are_no_variables_of_these_names() -> None:
    assert await outcome_of(*sh("echo ${JOBWIRE_DEADLINE-none} ${JOBWIRE_CHECKPOINT-none}")) == Success(
        Payload(b"none none\n", "text/plain", is_text=True)
    )


@pytest.mark.parametrize("checkpoint", [Payload(bytes(100_000)), Payload(b"\xff"), Payload(b"a\0b")])
async def test_a_checkpoint_that_no_environment_holds_makes_the_program_begin_anew(checkpoint: Payload) -> None:
    outcome = await outcome_of(*sh("echo ${JOBWIRE_CHECKPOINT-none}"), checkpoint=checkpoint)
    assert outcome == Success(Payload(b"none\n", "text/plain", is_text=True))


async def test_a_program_has_no_files_of_ours_but_its_four() -> None:
    code = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int)[:-1])"
    outcome = await outcome_of(*python(code))
    assert isinstance(outcome, Success)
    assert outcome.result is not None
    assert outcome.result.data == b"['0', '1', '2', '3']\n"


async def test_signals_are_as_a_program_expects_them() -> None:
    outcome = await outcome_of("grep", "-E", "SigBlk|SigIgn", "/proc/self/status")
    assert isinstance(outcome, Success)
    assert outcome.result is not None
    masks = dict(line.split(":\t") for line in outcome.result.data.decode().splitlines())
    assert int(masks["SigBlk"], 16) == 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
        assert not int(masks["SigIgn"], 16) & 1 << number - 1, number


# --- how it ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "error_type", "message", "retryable"),
    [
        ("echo one >&2; echo 'two ' >&2; exit 3", "EXIT_3", "exit code 3: two", True),
        ("exit 1", "EXIT_1", "exit code 1", True),
        ("echo busy >&2; exit 75", "Retry", "exit code 75: busy", True),
        ("echo 'no such file' >&2; exit 65", "Fail", "exit code 65: no such file", False),
        ("kill -SEGV $$", "SIGSEGV", "killed by SIGSEGV", True),
        ("kill -KILL $$", "SIGKILL", "killed by SIGKILL", True),
        ("kill -40 $$", "SIGNAL_40", "killed by SIGNAL_40", True),
    ],
)
async def test_the_exit_code_decides(script: str, error_type: str, message: str, retryable: bool) -> None:
    ended = failure(await outcome_of(*sh(script)))
    assert (ended.error_type, ended.message, ended.retryable) == (error_type, message, retryable)


async def test_the_end_of_stderr_is_the_detail_of_a_failure_and_all_of_it_goes_to_ours(
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended = failure(await outcome_of(*sh("seq 10000 >&2; exit 1")))

    assert ended.detail.endswith("\n9999\n10000\n")
    assert 16_000 < len(ended.detail) <= 16 << 10
    assert ended.message == "exit code 1: 10000"
    assert capfd.readouterr().err == "".join(f"{number}\n" for number in range(1, 10_001))


async def test_stderr_of_a_success_passes_through_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert await outcome_of(*sh("echo note >&2")) == Success()
    assert capfd.readouterr().err == "note\n"


async def test_a_program_that_cannot_be_started_fails_the_attempt_and_the_next_one_may_work(tmp_path: Path) -> None:
    program = tmp_path / "late"
    async with programs(str(program), slots=1) as worker:
        ended = failure(await worker.server.outcome(worker.server.offer("it")))
        assert (ended.error_type, ended.retryable) == ("PROGRAM_NOT_STARTED", True)
        assert ended.message == f"The program {str(program)!r} cannot be started: No such file or directory."

        program.write_text("#!/bin/sh\necho here\n")
        program.chmod(0o700)
        assert isinstance(await worker.server.outcome(worker.server.offer("it")), Success)


async def test_a_result_that_is_too_long_ends_its_program_and_the_job() -> None:
    ended = failure(await outcome_of("yes"))
    assert (ended.error_type, ended.retryable) == ("RESULT_UNFIT", False)
    assert "more than 1048576 bytes" in ended.message


async def test_what_a_program_leaves_behind_is_killed_and_nobody_waits_for_it() -> None:
    async with programs(*sh("sleep 3600 & echo $!")) as worker:
        outcome = await worker.server.outcome(worker.server.offer("it"))
        assert isinstance(outcome, Success)
        assert outcome.result is not None
        await ended(int(outcome.result.data))


async def test_something_that_left_the_group_holds_nothing_up_though_it_holds_the_pipes(notes: Notes) -> None:
    script = 'setsid sh -c \'echo began $$ > "$1"; exec sleep 3600\' sh "$1" & read x < "$2"; echo done'
    fifo = notes.path.with_name("go")
    os.mkfifo(fifo)
    async with programs(*sh(script, str(notes.path), str(fifo)), slots=1) as worker:
        token = worker.server.offer("it")
        _, stray = await notes.line()
        await asyncio.to_thread(fifo.write_text, "\n")
        assert await worker.server.outcome(token) == Success(Payload(b"done\n", "text/plain", is_text=True))
        os.kill(int(stray), signal.SIGKILL)
        await ended(int(stray))


async def test_programs_run_side_by_side_up_to_the_slots(notes: Notes) -> None:
    fifo = notes.path.with_name("go")
    os.mkfifo(fifo)
    holder = os.open(fifo, os.O_RDWR)
    script = 'echo began $$ > "$1"; read x < "$2"; echo $x'
    async with programs(*sh(script, str(notes.path), str(fifo)), slots=2) as worker:
        tokens = worker.server.offer_many("it", 3)
        for _ in range(2):
            await notes.line()
        assert worker.runtime.running == 2
        for _ in tokens:
            os.write(holder, b"go\n")
        await notes.line()
        for token in tokens:
            assert isinstance(await worker.server.outcome(token), Success)
    os.close(holder)


# --- what it says meanwhile -----------------------------------------------------------------------------------------


async def test_progress_and_checkpoints_are_lines_on_file_3() -> None:
    script = """
        echo '50 half of it' >&3; echo 75.5% >&3; echo >&3
        echo 'checkpoint {"i": 1}' >&3; echo 'checkpoint {"i": 2}' >&3
        printf '90 nearly' >&3
        exit 1
    """
    async with programs(*sh(script)) as worker:
        token = worker.server.offer("it")
        await worker.server.outcome(token)
        updates = [update for batch in worker.server.updates for update in batch]

    assert [update.checkpoint for update in updates if update.checkpoint][-1] == Payload(
        b'{"i": 2}', "application/json", is_text=True
    )


async def test_the_newest_progress_arrives_while_the_program_runs(notes: Notes) -> None:
    script = 'echo "50 half of it" >&3; echo began $$ > "$1"; exec sleep 3600'
    async with programs(*sh(script, str(notes.path))) as worker:
        token = worker.server.offer("it")
        await notes.line()
        await worker.server.until(lambda: any(update for batch in worker.server.updates for update in batch))
        (update,) = worker.server.updates[0]
        assert (update.progress_percent, update.progress_message) == (50.0, "half of it")
        worker.server.order_cancel(token)
        await worker.server.outcome(token)


@pytest.mark.parametrize(
    ("line", "times", "fault"),
    [
        ("half", 1, "neither '50 message' nor 'checkpoint JSON'"),
        ("nan", 1, "must be a finite number"),
        ("checkpoint {", 1, "Expecting property name"),
        ("checkpoint 1", 10_000, "the checkpoint has"),
        ("x", 500_000, "neither"),
    ],
)
async def test_a_line_that_means_nothing_is_passed_by_and_complained_of_once(
    line: str, times: int, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    code = f"data = b'{line}' * {times} + b'\\n10 fine\\n'\nimport os\nwhile data: data = data[os.write(3, data):]"
    assert await outcome_of(*python(code)) == Success()
    complaints = [record.message for record in caplog.records if "is passed by" in record.message]
    assert len(complaints) == 1
    assert fault in complaints[0]


# --- how it is stopped ----------------------------------------------------------------------------------------------

WAIT = 'trap "echo tidy >&2; exit 9" TERM; echo began $$ > "$1"; while :; do sleep 3600 & wait $!; done'
DEAF = 'trap "" TERM; echo began $$ > "$1"; while :; do sleep 3600; done'
PLAIN = 'echo began $$ > "$1"; exec sleep 3600'
FINISH = 'trap "echo all; exit 0" TERM; echo began $$ > "$1"; while :; do sleep 3600 & wait $!; done'


async def begun(worker: Worker, notes: Notes, **facts: Any) -> tuple[int, int]:
    token = worker.server.offer("it", **facts)
    word, pid = await notes.line()
    assert word == "began"
    return token, int(pid)


@pytest.mark.parametrize("script", [WAIT, PLAIN])
async def test_a_cancelled_program_is_told_with_sigterm_and_its_job_is_stopped(script: str, notes: Notes) -> None:
    async with programs(*sh(script, str(notes.path))) as worker:
        token, pid = await begun(worker, notes)
        worker.server.order_cancel(token, "not wanted")
        assert await worker.server.outcome(token) == Stopped("not wanted")
        await ended(pid)


async def test_a_program_that_finishes_all_the_same_has_succeeded(notes: Notes) -> None:
    async with programs(*sh(FINISH, str(notes.path))) as worker:
        token, _ = await begun(worker, notes)
        worker.server.order_cancel(token)
        assert await worker.server.outcome(token) == Success(Payload(b"all\n", "text/plain", is_text=True))


async def test_a_program_whose_lease_is_lost_is_stopped_and_nothing_is_reported(notes: Notes) -> None:
    async with programs(*sh(WAIT, str(notes.path)), slots=1) as worker:
        token, pid = await begun(worker, notes)
        worker.server.revoke(token)
        await ended(pid)
        other, _ = await begun(worker, notes)
        assert worker.server.reports == []
        worker.server.order_cancel(other)
        await worker.server.outcome(other)


async def test_a_program_that_takes_too_long_fails_with_timeout(notes: Notes) -> None:
    clock = ManualClock()
    async with programs(*sh(PLAIN, str(notes.path)), clock=clock) as worker:
        token, pid = await begun(worker, notes, timeout_seconds=5.0)
        clock.advance(5.0)
        assert failure(await worker.server.outcome(token)).error_type == "TIMEOUT"
        await ended(pid)


async def test_a_program_that_is_deaf_to_sigterm_is_killed_with_all_its_group(notes: Notes) -> None:
    clock = ManualClock()
    async with programs(*sh(DEAF, str(notes.path)), clock=clock) as worker:
        token, pid = await begun(worker, notes, timeout_seconds=5.0)
        (sleeper,) = psutil.Process(pid).children() or [psutil.Process(pid)]
        clock.advance(5.0)
        await settled()
        clock.advance(1.0)
        assert failure(await worker.server.outcome(token)).error_type == "TIMEOUT"
        await ended(pid)
        await ended(sleeper.pid)
        assert worker.runtime.hung == 0


async def test_a_drain_gives_the_job_back_and_its_checkpoint_is_kept(notes: Notes) -> None:
    clock = ManualClock()
    script = 'echo "checkpoint 7" >&3; ' + PLAIN
    async with programs(*sh(script, str(notes.path)), clock=clock) as worker:
        token, pid = await begun(worker, notes)
        draining = asyncio.ensure_future(worker.runtime.drain(3.0))
        await settled()
        assert token not in worker.server.outcomes
        clock.advance(3.0)
        await draining
        assert isinstance(worker.server.outcomes[token], Release)
        checkpoints = {update.checkpoint for batch in worker.server.updates for update in batch if update.checkpoint}
        assert checkpoints == {Payload(b"7", "application/json", is_text=True)}
        await ended(pid)


async def test_a_job_that_is_cancelled_while_its_program_starts_is_stopped_too(notes: Notes) -> None:
    async with programs(*sh(PLAIN, str(notes.path))) as worker:
        token = worker.server.offer("it")
        worker.server.order_cancel(token, "at once")
        assert await worker.server.outcome(token) == Stopped("at once")


async def test_no_program_and_nothing_that_it_started_outlives_a_worker_that_is_killed(notes: Notes) -> None:
    command = [sys.executable, "-m", "tests.worker.doomed_worker", "--", "sh", "-c",
               'sleep 3600 & echo began $$ $! > "$1"; wait', "sh", str(notes.path)]  # fmt: skip
    worker = psutil.Popen(command)
    try:
        _, *pids = await notes.line()
        assert len(pids) == 2
    finally:
        worker.kill()
        worker.wait()
    for pid in pids:
        await ended(int(pid))


async def test_when_the_launcher_is_killed_the_attempt_is_lost_and_the_next_job_runs() -> None:
    before = set(psutil.Process().children())
    async with programs("cat", slots=1) as worker:
        await worker.server.outcome(worker.server.offer("it"))
        (launcher,) = set(psutil.Process().children()) - before
        launcher.kill()
        await ended(launcher.pid)
        token = worker.server.offer("it")
        await worker.server.until(lambda: token in worker.server.abandoned)
        assert isinstance(await worker.server.outcome(worker.server.offer("it")), Success)
