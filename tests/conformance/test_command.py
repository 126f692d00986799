"""`jobwire conformance`, as people and programs meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobwire.conformance.table import POINTS

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("jobwire")
REFERENCE = f"{sys.executable} -m tests.conformance.reference_worker"
SUBMITTER = f"{sys.executable} -m tests.conformance.reference_submitter"
BROKEN = f"{sys.executable} -m tests.conformance.plants DiesOfNonsense"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the tool keeps what it needs while it runs. Sockets want a short path."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


@pytest.fixture
def environ(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder)}


def run(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "conformance", *arguments], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_list_names_every_point(environ: dict[str, str]) -> None:
    listed = run(environ, "--list")
    documents = json.loads(run(environ, "--list", "-o", "json").stdout)["points"]

    assert run(environ, "--list", "-o", "id").stdout.split() == [point.name for point in POINTS]
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == [point.name for point in POINTS]
    assert [(each["name"], each["sentence"]) for each in documents] == [
        (point.name, point.sentence) for point in POINTS
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a program to judge: --worker COMMAND or --submitter COMMAND"),
        (["--worker", "no-such-program --flag"], "--worker: there is no program 'no-such-program' to run"),
        (["--worker", ""], "--worker: there is no program '' to run"),
        (
            ["--submitter", "'unfinished"],
            '--submitter: "\'unfinished" cannot be split into words (No closing quotation)',
        ),
        (["--worker", "true", "--only", "ack-lots"], "there is no point 'ack-lots'. Did you mean 'ack-lost'?"),
        (["--worker", "true", "--only", "submit-once"], "'submit-once' is a point for the other kind of program"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_before_anything_starts(
    environ: dict[str, str], arguments: list[str], said: str
) -> None:
    ran = run(environ, *arguments)

    assert ran.returncode == 2
    assert ran.stderr.startswith(f"error[USAGE] {said}")


def test_a_program_that_passes_is_told_so(environ: dict[str, str]) -> None:
    ran = run(environ, "--worker", REFERENCE, "--submitter", SUBMITTER, "--only", "echo", "--only", "result")

    assert [line.rsplit(maxsplit=1)[0] for line in ran.stdout.splitlines()] == [
        "✓ passed          echo", "✓ passed          result",
    ]  # fmt: skip
    assert ran.stderr == "2 passed\n"
    assert ran.returncode == 0


def test_a_program_that_fails_is_told_where_why_and_by_which_words_of_the_contract(environ: dict[str, str]) -> None:
    ran = run(environ, "--worker", BROKEN, "--only", "bad-payload", "--only", "echo")

    passed, failed, *explanation = ran.stdout.splitlines()
    assert passed.startswith("✓ passed          echo ")
    assert failed.startswith("✕ failed          bad-payload ")
    assert [line.split(maxsplit=1)[0] for line in explanation[:5]] == ["asked", "expected", "seen", "contract", "wrote"]
    assert explanation[2] == "    seen      it ended with exit code 1"
    assert "SystemError: what is this?" in ran.stdout
    assert "error[NOT_CERTIFIED] 1 of 2 points failed: bad-payload" in ran.stderr
    assert ran.returncode == 3


def test_machines_get_one_document_and_errors_as_json(environ: dict[str, str]) -> None:
    ran = run(environ, "--worker", BROKEN, "--only", "bad-payload", "--only", "echo", "-o", "json")

    document = json.loads(ran.stdout)
    error = json.loads(ran.stderr)["error"]
    assert [(each["name"], each["verdict"]) for each in document["points"]] == [
        ("echo", "passed"), ("bad-payload", "failed"),
    ]  # fmt: skip
    assert (document["passed"], document["failed"], document["not_applicable"]) == (1, 1, 0)
    assert document["points"][1]["seen"] == "it ended with exit code 1"
    assert (error["code"], error["details"]["failed"]) == ("NOT_CERTIFIED", ["bad-payload"])
    assert ran.returncode == 3


def test_a_point_about_streams_does_not_apply_to_a_worker_of_unary_calls(environ: dict[str, str]) -> None:
    puller = f"{sys.executable} -m tests.conformance.reference_puller"

    ran = run(environ, "--worker", puller, "--only", "ping", "-o", "jsonl")

    (line,) = ran.stdout.splitlines()
    assert json.loads(line)["verdict"] == "not_applicable"
    assert ran.returncode == 0


def test_a_worker_that_never_calls_the_server_is_not_judged_further(environ: dict[str, str]) -> None:
    ran = run(environ, "--worker", "sh -c 'echo my own words; exit 4'")

    assert ran.stdout == ""
    assert ran.stderr.splitlines()[:2] == [
        "error[NOT_CERTIFIED] the worker never called the server: it ended with exit code 4", "  my own words",
    ]  # fmt: skip
    assert ran.returncode == 3


def test_a_file_that_is_no_program_is_not_judged_further(environ: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no interpreter is named here\n")
    script.chmod(0o755)

    ran = run(environ, "--worker", str(script))

    assert ran.stderr.startswith("error[NOT_CERTIFIED] the worker never called the server: [Errno 8] Exec format error")
    assert ran.returncode == 3


def test_a_reader_who_has_enough_ends_it(environ: dict[str, str]) -> None:
    tool = subprocess.Popen(
        [PROGRAM, "conformance", "--worker", REFERENCE, "--only", "echo", "--only", "window"],
        env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert tool.stdout is not None
    assert tool.stderr is not None
    tool.stdout.readline()
    tool.stdout.close()

    assert tool.stderr.read() == ""
    assert tool.wait(timeout=30) == 141
    tool.stderr.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_behind_when_it_is_interrupted(
    environ: dict[str, str], folder: Path, number: signal.Signals, code: int
) -> None:
    tool = subprocess.Popen(
        [PROGRAM, "conformance", "--worker", REFERENCE, "--only", "echo", "--only", "heartbeat", "-o", "jsonl"],
        env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert tool.stdout is not None
    first: Any = json.loads(tool.stdout.readline())
    started = psutil.Process(tool.pid).children(recursive=True)

    tool.send_signal(number)
    rest, _ = tool.communicate(timeout=30)

    assert (first["name"], rest) == ("echo", "")
    assert len(started) == 2, "the server and the worker that waits in its heartbeat"
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert tool.returncode == code
    assert list(folder.iterdir()) == []
