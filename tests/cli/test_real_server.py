"""The command line and the examples against a real server."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples import demo, files

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("jobwire")
pytestmark = pytest.mark.timeout(120)


class RealServer:
    """`jobwire dev` on a free port, with a file of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._folder = folder
        self.environ = {**os.environ, "JOBWIRE_ADDRESS": f"127.0.0.1:{self._port}"}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and return when it is ready."""
        self._process = subprocess.Popen(
            [PROGRAM, "dev", "--port", str(self._port), "--db", self._folder / "jobs.db", "--app",
             "examples.files:app"],
            cwd=ROOT, stderr=subprocess.PIPE, text=True, env=self.environ,
        )  # fmt: skip
        assert self._process.stderr is not None
        shown = []
        for line in self._process.stderr:
            shown.append(line)
            if line.startswith("ready"):
                return
        raise AssertionError("".join(shown))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal, and wait for the end."""
        assert self._process is not None
        assert self._process.stderr is not None
        self._process.send_signal(number)
        self._process.stderr.read()
        self._process.stderr.close()
        self._process.wait(timeout=30)

    def jobwire(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return subprocess.run(
            [PROGRAM, *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            input=stdin,
            check=False,
            timeout=60,
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    server = RealServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


def test_a_job_is_submitted_read_and_removed(server: RealServer) -> None:
    job_id = server.jobwire("submit", "echo", "-d", '{"a": 1}', "-q").stdout.strip()

    waited = json.loads(server.jobwire("wait", job_id, "-o", "json").stdout)
    read = json.loads(server.jobwire("job", "get", job_id, "-o", "json").stdout)
    result = server.jobwire("job", "result", job_id)
    events = [json.loads(line) for line in server.jobwire("job", "events", job_id, "-o", "jsonl").stdout.splitlines()]
    deleted = server.jobwire("job", "delete", job_id, "-o", "id")
    gone = server.jobwire("job", "get", job_id)

    assert waited["job_id"] == job_id
    assert (read["spec"]["payload"]["text"], read["status"]["result"]["text"]) == ('{"a": 1}', '{"a": 1}')
    assert result.stdout == '{"a": 1}\n'
    assert [event["status"]["state"].removeprefix("JOB_STATE_") for event in events] == [
        "PENDING", "PROCESSING", "COMPLETED",
    ]  # fmt: skip
    assert deleted.stdout == f"{job_id}\n"
    assert gone.returncode == 6


def test_the_ways_of_a_job_have_their_exit_codes(server: RealServer) -> None:
    failed = server.jobwire("run", "fail", "--max-attempts", "1")
    unknown = server.jobwire("run", "nobody.knows", "--timeout", "200ms", "--job-id", "unknown")
    cancelled = server.jobwire("job", "cancel", "unknown")
    again = server.jobwire("job", "retry", "unknown")
    invalid = server.jobwire("submit", "hello", "--queue", "No Queue", "-o", "json")

    assert failed.returncode == 3
    assert "FailedOnPurpose: failed on purpose" in failed.stderr
    assert unknown.returncode == 5
    assert "no worker of this server knows the type 'nobody.knows'" in unknown.stderr
    assert cancelled.stdout == "⊘ cancelled  unknown\n"
    assert again.stdout == "○ pending  unknown\n"
    assert invalid.returncode == 2
    error = json.loads(invalid.stderr)["error"]
    assert error["code"] == "FIELD_INVALID"
    assert error["details"]["violations"][0]["field"] == "spec.queue"


def test_many_jobs_come_from_a_file_and_are_listed(server: RealServer) -> None:
    lines = "".join(json.dumps({"payload": number, "labels": {"test": "many"}}) + "\n" for number in range(1200))

    submitted = server.jobwire("submit", "echo", "--from-jsonl", "-", "-o", "id", stdin=lines)
    listed = server.jobwire("job", "list", "--label", "test=many", "--all", "-o", "id")

    assert submitted.returncode == 0
    assert len(set(submitted.stdout.split())) == 1200
    assert sorted(listed.stdout.split()) == sorted(submitted.stdout.split())


def test_run_comes_to_its_result_over_a_kill_of_the_server(tmp_path: Path) -> None:
    server = RealServer(tmp_path)
    server.start()
    running = subprocess.Popen(
        [PROGRAM, "run", "sleep", "-d", "1.5"], env=server.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stderr is not None
    for line in running.stderr:
        if "PROCESSING" in line:
            break

    server.stop(signal.SIGKILL)
    server.start()

    result, rest = running.stdout.read(), running.stderr.read()
    running.stdout.close()
    running.stderr.close()
    assert running.wait(timeout=30) == 0
    assert json.loads(result) == {"slept": 1.5}
    assert "connection lost; connecting again" in rest
    assert "PROCESSING attempt=2/20" in rest
    server.stop()


@pytest.mark.parametrize("name", ["quickstart.py", "watch_async.py"])
def test_the_examples_run(server: RealServer, name: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name], env=server.environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "COMPLETED" in done.stdout


def test_the_files_handler_tells_what_other_tools_tell(server: RealServer, tmp_path: Path) -> None:
    text = tmp_path / "text.md"
    text.write_bytes(b"one two\nthree\n" + b"x" * (files.CHUNK_BYTES - 15) + b" split" + b"ted word\n" * 3)

    told = json.loads(server.jobwire("run", "file.digest", "-d", json.dumps({"path": str(text)})).stdout)

    lines, words, size, _ = subprocess.run(["wc", text], capture_output=True, text=True, check=True).stdout.split()
    assert (told["lines"], told["words"], told["bytes"]) == (int(lines), int(words), int(size))
    assert told["sha256"] == hashlib.sha256(text.read_bytes()).hexdigest()


def test_a_file_that_is_not_there_fails_for_good(server: RealServer) -> None:
    ran = server.jobwire("run", "file.digest", "-d", '{"path": "no/such/file"}')

    assert ran.returncode == 3
    assert "cannot read no/such/file" in ran.stderr
    assert "after 1 attempt" in ran.stderr


def test_the_demo_loses_nothing_and_cleans_up(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"file-{number}.txt").write_text("some words\n" * number)
    (tmp_path / "empty").touch()
    before = set(ROOT.glob("demo-*"))

    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo.py"], env={**os.environ, "DIR": str(tmp_path)}, capture_output=True,
        text=True, check=False, timeout=100,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout
    assert done.stdout.splitlines()[-1] == "31 submitted, 31 completed, 0 lost"
    assert set(ROOT.glob("demo-*")) == before


def test_the_demo_refuses_a_folder_that_is_not_there_or_empty(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        done = subprocess.run(
            [sys.executable, ROOT / "examples" / "demo.py"], env={**os.environ, "DIR": str(folder)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

        assert done.returncode == 2
        assert done.stderr.startswith("There ")


@pytest.mark.skipif(shutil.which("git") is None, reason="the default of the demo asks git")
def test_the_demos_default_is_this_repository() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in demo.files_of(ROOT)}

    assert "README.md" in names
    assert not [name for name in names if name.startswith((".venv", ".git/"))]
