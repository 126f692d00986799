"""The story of one job: describe, clone, and `@last`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from jobwire.cli.timeline import whole_story
from jobwire.cli.times import relative_text
from jobwire.cli.words import moment_text
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb
from tests.cli.conftest import Jobwire
from tests.cli.scripted import START_SECONDS, ScriptedServer, Service
from tests.cli.terminal import Terminal, without_escapes

PROGRAM = Path(sys.executable).with_name("jobwire")


@pytest.fixture
def environ(server: ScriptedServer) -> dict[str, str]:
    return {**os.environ, "JOBWIRE_ADDRESS": server.address, "TERM": "xterm-256color"}


def a_job(state: str, *attempts: tuple[float, float | None, str], **status: object) -> job_pb2.Job:
    """A job created at the start; attempts are (begin, end, error) in seconds after it."""
    job = job_pb2.Job(job_id="j1", spec=job_pb2.JobSpec(type="email.send", queue="mail", priority=5))
    job.create_time.seconds = START_SECONDS
    job.status.CopyFrom(job_pb2.JobStatus(attempt=len(attempts), max_attempts=20, **status))  # type: ignore[arg-type]
    job.status.state = job_pb2.JobState.Value(f"JOB_STATE_{state}")
    for number, (begin, end, error) in enumerate(attempts, start=1):
        attempt = job.attempts.add(number=number, worker_id=f"w-{number}")
        attempt.start_time.FromNanoseconds(int((START_SECONDS + begin) * 1e9))
        if end is not None:
            attempt.finish_time.FromNanoseconds(int((START_SECONDS + end) * 1e9))
        if error:
            attempt.error.type = error
    return job


def story(job: job_pb2.Job, *, with_payload: bool = False) -> str:
    return "\n".join(
        whole_story(job, now=START_SECONDS + 100, moment=moment_text, with_payload=with_payload, coloured=False)
    )


def test_a_story_tells_of_waits_run_times_and_the_same_error_again() -> None:
    told = story(a_job("RETRYING", (0.3, 0.6, "SMTPError"), (5.0, 5.2, "SMTPError"), (9.0, 9.1, "Timeout")))

    assert "attempt 1  w-1  300ms  ✕ SMTPError  (waited 300ms)" in told
    assert "attempt 2  w-2  200ms  ✕ the same error  (waited 4.40s)" in told
    assert "attempt 3  w-3  100ms  ✕ Timeout  (waited 3.80s)" in told


def test_a_running_job_tells_who_runs_it_how_far_it_is_and_when_its_lease_ends() -> None:
    job = a_job("PROCESSING", (90, None, ""), worker_id="w-1", progress_percent=41.0, progress_message="page 41")
    job.status.lease_expire_time.seconds = START_SECONDS + 130

    told = story(job)

    assert "runs on w-1 · 41 % · page 41 · lease ends in 30.0s" in told
    assert "attempt 1  w-1  10.0s  ◐ runs" in told
    assert "ask it to stop" in told


def test_attempts_that_are_not_kept_are_missed_aloud() -> None:
    job = a_job("PENDING", (1, 2, "E"))
    job.attempts[0].number = 12

    assert "11 earlier attempts are not kept" in story(job)


def test_the_end_of_a_failed_job_says_why_it_is_the_end() -> None:
    used_up = a_job("FAILED", (1, 2, "E"))
    used_up.status.max_attempts = 1
    ruled_out = a_job("FAILED", (1, 2, "E"))
    for job in (used_up, ruled_out):
        job.status.finish_time.seconds = START_SECONDS + 2

    assert "✕ failed after 2.00s in all: its attempts are used up" in story(used_up)
    assert "✕ failed after 2.00s in all: the error rules out another attempt" in story(ruled_out)


def test_contents_are_shown_only_when_asked_for() -> None:
    job = a_job("PENDING")
    job.spec.payload.CopyFrom(job_pb2.Payload(content_type="application/json", text='{"secret": 1}'))

    assert "secret" not in story(job)
    assert "13 bytes of application/json (--payload shows it)" in story(job)
    assert '{"secret": 1}' in story(job, with_payload=True)


def test_every_state_has_commands_to_type_next() -> None:
    for name in job_pb2.JobState.keys()[1:]:
        job = a_job(name.removeprefix("JOB_STATE_"))

        assert "jobwire " in story(job).partition("  Next\n")[2]


def test_relative_times_look_both_ways() -> None:
    assert relative_text(-310) == "5m10s ago"
    assert relative_text(12) == "in 12.0s"


# --- clone ----------------------------------------------------------------------------------------------------------


def cloned(service: Service) -> pb.SubmitJobRequest:
    """The last submit."""
    return [request for _, request in service.calls if isinstance(request, pb.SubmitJobRequest)][-1]


def test_a_clone_has_all_that_its_origin_had_and_a_key_of_its_own(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit later --job-id a -d '[1]' --queue mail --priority 9 --label a=1 --header h=x --max-attempts 3 "
            "--attempt-timeout 5m --delay 1h --expires 2h --key k")  # fmt: skip
    origin = cloned(service)

    ran = jobwire("job clone a")

    clone = cloned(service)
    assert ran.exit_code == 0
    assert clone.request_id not in {"", origin.request_id}
    assert clone.job_id == ""
    expected = job_pb2.JobSpec()
    expected.CopyFrom(origin.spec)
    for field in ("schedule_time", "expire_time"):
        expected.ClearField(field)
    assert clone.spec == expected


def test_flags_change_a_clone(jobwire: Jobwire, service: Service, tmp_path: Path) -> None:
    jobwire("submit later --job-id a -d '[1]' --label a=1 --label b=1 --priority 9")
    (tmp_path / "other.bin").write_bytes(b"\xff\x00")

    jobwire(f"job clone a -d @{tmp_path}/other.bin --content-type image/png --label b=2 --label c=3 --priority 0 "
            "--queue fast --delay 5m --job-id mine")  # fmt: skip

    clone = cloned(service)
    assert clone.job_id == "mine"
    assert clone.spec.payload == job_pb2.Payload(content_type="image/png", data=b"\xff\x00")
    assert dict(clone.spec.labels) == {"a": "1", "b": "2", "c": "3"}
    assert (clone.spec.priority, clone.spec.queue) == (0, "fast")
    assert clone.spec.HasField("schedule_time")


def test_another_payload_has_nothing_of_the_origins(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit later --job-id a -d 1")
    service.jobs["a"].spec.payload.content_encoding = "gzip"

    jobwire("job clone a -d 2")

    assert cloned(service).spec.payload == job_pb2.Payload(content_type="application/json", text="2")


def editor(tmp_path: Path, script: str) -> str:
    """A program that edits the file which it is given."""
    path = tmp_path / "editor.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_an_edited_clone_gets_what_the_editor_saved(
    jobwire: Jobwire, service: Service, environ: dict[str, str], tmp_path: Path
) -> None:
    jobwire("""submit later --job-id a -d '{"to": "ada", "n": 12345678901234567890}'""")
    environ["VISUAL"] = editor(tmp_path, 'sed -i s/ada/bob/ "$1"; touch -d "+1 hour" "$1"')

    exit_code, shown = Terminal().run([PROGRAM, "job", "clone", "a", "--edit"], environ)

    assert exit_code == 0, shown
    assert cloned(service).spec.payload.text == '{"to": "bob", "n": 12345678901234567890}'


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("true", "error[NOT_CONFIRMED] nothing was submitted: the editor saved nothing"),
        ('echo nonsense > "$1"; touch -d "+1 hour" "$1"', "error[INPUT_UNREADABLE] what was edited is not JSON"),
    ],
)
def test_an_editor_that_saves_nothing_usable_submits_nothing(
    jobwire: Jobwire, service: Service, environ: dict[str, str], tmp_path: Path, script: str, said: str
) -> None:
    jobwire("submit later --job-id a -d 1")
    environ["VISUAL"] = editor(tmp_path, script)

    exit_code, shown = Terminal(columns=200).run([PROGRAM, "job", "clone", "a", "--edit"], environ)

    assert exit_code == 2
    assert said in without_escapes(shown)
    assert list(service.jobs) == ["a"]


def test_bytes_are_not_edited(jobwire: Jobwire, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"\xff")
    jobwire(f"submit later --job-id a -d @{tmp_path}/b --content-type image/png")

    exit_code, shown = Terminal(columns=200).run([PROGRAM, "job", "clone", "a", "--edit"], environ)

    assert exit_code == 2
    assert "the payload is image/png, and no text to edit" in without_escapes(shown)


# --- @last ----------------------------------------------------------------------------------------------------------


def test_a_terminal_remembers_what_it_submitted_last(environ: dict[str, str]) -> None:
    line = f"{PROGRAM} submit later --job-id one -q; {PROGRAM} submit later --job-id two -q; {PROGRAM} job get @last"

    exit_code, shown = Terminal().run(["setsid", "--wait", "sh", "-c", line], environ)

    assert exit_code == 0, shown
    assert "two  later" in without_escapes(shown).splitlines()


def test_another_terminal_does_not_know_it(environ: dict[str, str]) -> None:
    Terminal().run(["setsid", "--wait", PROGRAM, "submit", "later", "-q"], environ)

    exit_code, shown = Terminal(columns=200).run(["setsid", "--wait", PROGRAM, "job", "get", "@last"], environ)

    assert exit_code == 2
    assert "@last names no job: nothing was submitted from this terminal yet" in without_escapes(shown)


def test_a_pipe_leaves_no_trace(jobwire: Jobwire, tmp_path: Path) -> None:
    jobwire("submit later")

    assert not (tmp_path / "state").exists()


def test_a_folder_that_cannot_be_written_is_told_and_harms_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")

    exit_code, shown = Terminal(columns=300).run([PROGRAM, "submit", "later", "-q"], environ)

    assert exit_code == 0
    assert "note: @last does not know this job: cannot write" in without_escapes(shown)


def test_of_many_terminals_the_oldest_are_forgotten(environ: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "state" / "jobwire" / "last"
    folder.mkdir(parents=True)
    for number in range(60):
        (folder / f"old-{number}").write_text("x")
        os.utime(folder / f"old-{number}", (number, number))

    Terminal().run([PROGRAM, "submit", "later", "-q"], environ)

    assert len(list(folder.iterdir())) == 50
    assert not (folder / "old-10").exists()
    assert (folder / "old-11").exists()
