"""`--show-grpcurl`: nothing is called, and each printed line works as it stands."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from jobwire.cli.root import COMMANDS, NOUNS
from jobwire.cli.sheet import line_of
from jobwire.settings import Settings
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb
from tests.cli.conftest import Jobwire
from tests.cli.live import LiveServer, written
from tests.cli.scripted import Service

BIN = Path(sys.executable).parent
pytestmark = pytest.mark.timeout(120)

LINES: Mapping[str, tuple[str, list[str], str]] = {
    "submit": ("submit hello -d '\"it''s \\\"Ada\\\"\"' --label a=b --delay 1h --key k", ["JobService/SubmitJob"], ""),
    "run": ("run hello", ["AdminService/GetServerInfo", "JobService/SubmitJob"], "JobService/WatchJobs"),
    "watch": ("watch --timeout 1s --queue nobody", ["JobService/WatchJobs"], ""),
    "wait": ("wait ended", ["JobService/BatchGetJobs", "JobService/WatchJobs"], ""),
    "work": ("work echo --slots 2 --lease 1m --worker-id w -- cat", ["WorkerService/PullJobs"], "CompleteJob"),
    "doctor": (
        "doctor",
        ["grpc.health.v1.Health/Check", "AdminService/GetServerInfo", "AdminService/ListWorkers"],
        "",
    ),
    "health": ("health", ["grpc.health.v1.Health/Check"], ""),
    "version": ("version --server", ["AdminService/GetServerInfo"], ""),
    "job list": ("job list --state pending --label a=b --since 1h", ["JobService/ListJobs"], "JobService/ListJobs"),
    "job get": ("job get ended waiting", ["JobService/GetJob", "JobService/GetJob"], ""),
    "job events": (
        "job events ended",
        ["AdminService/GetServerInfo", "JobService/BatchGetJobs"],
        "JobService/WatchJobs",
    ),
    "job result": ("job result ended", ["JobService/GetJob"], "JobService/GetJob"),
    "job describe": ("job describe ended", ["JobService/GetJob"], ""),
    "job clone": ("job clone ended", ["JobService/GetJob"], "JobService/SubmitJob"),
    "job cancel": ("job cancel waiting --reason 'it is late'", ["JobService/CancelJob"], ""),
    "job retry": ("job retry waiting --delay 1h", ["JobService/RetryJob"], ""),
    "job delete": ("job delete ended", ["JobService/DeleteJob"], ""),
    "top": ("top", ["AdminService/GetServerInfo", "JobService/ListJobs"], "JobService/ListJobs"),
    **{
        f"bench {kind}": (f"bench {kind}", ["AdminService/GetServerInfo", "JobService/SubmitJob"], "for each job")
        for kind in ("submit", "watch", "e2e")
    },
    "worker list": ("worker list", ["AdminService/ListWorkers"], "AdminService/ListWorkers"),
    "check ready": ("check ready", ["grpc.health.v1.Health/Check"], ""),
    "check workers": ("check workers", ["AdminService/ListWorkers"], "AdminService/ListWorkers"),
    "check queue": ("check queue mail", ["JobService/ListJobs"], "JobService/ListJobs"),
}
"""By command: a line, the methods that it shows, and what it says comes next."""
NO_CALLS = {
    "proto",
    "conformance",
    "explain",
    "help",
    "cheat",
    "completion",
    *(f"config {verb}" for verb in NOUNS["config"]),
}


def every_command() -> Iterator[str]:
    for name in COMMANDS:
        yield from (f"{name} {verb}" for verb in NOUNS[name]) if name in NOUNS else (name,)


@pytest.fixture(scope="module")
def live() -> Iterator[LiveServer]:
    server = LiveServer("--port", "0")
    environ = {**os.environ, "JOBWIRE_ADDRESS": server.address}
    for line in ("run echo --job-id ended -q", "submit echo --job-id waiting --delay 1h -q"):
        subprocess.run([BIN / "jobwire", *line.split()], env=environ, check=True, stdout=subprocess.DEVNULL)
    yield server
    server.stop()


def ran(line: str) -> subprocess.CompletedProcess[str]:
    """Paste a line into a POSIX shell. A stream that has nothing to say is ended, which is no failure."""
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    patient = line.replace("grpcurl ", "grpcurl -max-time 2 ", 1)
    return subprocess.run(["sh", "-c", patient], env=environ, capture_output=True, text=True, check=False, timeout=60)


def works(done: subprocess.CompletedProcess[str], line: str) -> bool:
    return done.returncode == 0 or ("WatchJobs" in line and "DeadlineExceeded" in done.stderr)


def test_every_command_that_calls_has_a_line_here() -> None:
    assert set(every_command()) == LINES.keys() | NO_CALLS


@pytest.mark.parametrize("command", [*LINES])
def test_a_printed_line_does_with_grpcurl_what_the_command_would(
    command: str, live: LiveServer, jobwire: Jobwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBWIRE_ADDRESS", live.address)
    line, methods, then = LINES[command]

    shown = jobwire(f"--show-grpcurl {line}")

    assert shown.exit_code == 0, shown.stderr
    printed = shown.stdout.splitlines()
    assert [each.split()[-1].removeprefix("jobwire.v1.") for each in printed] == methods
    assert then in shown.stderr
    assert bool(then) == shown.stderr.startswith("then: ")
    for each in printed:
        done = ran(each)
        # What the job's state forbids was understood, too.
        assert works(done, each) or "Code: FailedPrecondition" in done.stderr, (each, done.stderr)


@pytest.mark.parametrize("command", sorted(NO_CALLS))
def test_a_command_without_calls_does_nothing_and_says_so(
    command: str, jobwire: Jobwire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBWIRE_CONTEXTS", str(tmp_path / "config.toml"))
    rest = {"proto": "--out out", "conformance": "--list", "config get": "address", "config set": "timeout 1s",
            "config use": "--none", "explain": "--list", "completion": "bash"}  # fmt: skip
    monkeypatch.chdir(tmp_path)

    shown = jobwire(f"{command} {rest.get(command, '')} --show-grpcurl")

    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "--show-grpcurl: this command makes no call" in shown.stderr
    assert list(tmp_path.glob("*.toml")) + list(tmp_path.glob("out")) == []


@pytest.mark.parametrize("line", ["dev --memory --port 0", "serve", "db sql --schema"])
def test_a_command_of_the_server_is_not_begun(line: str, jobwire: Jobwire) -> None:
    shown = jobwire(f"--show-grpcurl {line}")

    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "makes no call that could be shown" in shown.stderr


def test_version_without_its_server_makes_no_call(jobwire: Jobwire) -> None:
    assert "makes no call" in jobwire("version --show-grpcurl").stderr


def test_nothing_reaches_the_server_and_nothing_else_is_printed(jobwire: Jobwire, service: Service) -> None:
    shown = jobwire("submit hello --show-grpcurl")

    assert service.calls == []
    assert len(shown.stdout.splitlines()) == 1


def test_programs_get_one_document(jobwire: Jobwire) -> None:
    document = json.loads(jobwire("run hello --show-grpcurl -o json").stdout)
    lines = [json.loads(line) for line in jobwire("run hello --show-grpcurl -o jsonl").stdout.splitlines()]

    assert len(document["grpcurl"]) == len(lines) == 2
    assert document["then"].startswith("jobwire.v1.JobService/WatchJobs")
    assert json.loads(jobwire("job cancel a --show-grpcurl -o json").stdout)["then"] is None


def test_what_is_wrong_before_the_first_call_is_told_as_ever(jobwire: Jobwire) -> None:
    shown = jobwire("submit hello -d '{' --show-grpcurl")

    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr.startswith("error[INPUT_UNREADABLE]")


def test_a_payload_of_a_megabyte_of_quotes_comes_through_whole(
    live: LiveServer, jobwire: Jobwire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is too long for an argument, so it goes by way of stdin."""
    monkeypatch.setenv("JOBWIRE_ADDRESS", live.address)
    payload = json.dumps({"text": 'it\'s "so" $HOME `x` \\ ü\nEOF\n' * 10_000})
    (tmp_path / "payload").write_text(payload)

    shown = jobwire(f"submit nobody -d @{tmp_path / 'payload'} --job-id large --show-grpcurl")
    done = ran_script(shown.stdout, tmp_path)

    assert done.returncode == 0, done.stderr
    read = ran(f"grpcurl -plaintext -d '{{\"job_id\":\"large\",\"view\":\"JOB_VIEW_FULL\"}}' {live.address} "
               "jobwire.v1.JobService/GetJob")  # fmt: skip
    assert json.loads(read.stdout)["job"]["spec"]["payload"]["text"] == payload


def ran_script(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run lines as a script: a command line of the shell itself has a limit."""
    (folder / "script").write_text(text)
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(["sh", folder / "script"], env=environ, capture_output=True, text=True, check=False)


def test_bytes_and_quotes_survive_the_shell() -> None:
    request = pb.SubmitJobRequest(spec=job_pb2.JobSpec(type="a'b\"c $(x)"))
    request.spec.payload.data = b"\x00\xff'"

    words = shlex.split(line_of(Settings(address="h:1"), "/p.S/M", request))

    document: Any = json.loads(words[words.index("-d") + 1])
    assert document["spec"]["type"] == "a'b\"c $(x)"
    assert base64.b64decode(document["spec"]["payload"]["data"]) == b"\x00\xff'"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("h:1", "-plaintext h:1"),
        ("dns:///h:1", "-plaintext h:1"),
        ("dns://8.8.8.8/h:1", "-plaintext h:1"),
        ("ipv4:1.2.3.4:5", "-plaintext 1.2.3.4:5"),
        ("[::1]:5", "-plaintext '[::1]:5'"),
        ("unix:/a b/s", "-plaintext -unix '/a b/s'"),
        ("unix:///a/s", "-plaintext -unix /a/s"),
        ("unix:s", "-plaintext -unix s"),
    ],
)
def test_each_way_to_write_an_address_is_one_of_grpcurls(address: str, words: str) -> None:
    assert line_of(Settings(address=address), "/p.S/M", pb.ListJobsRequest()) == f"grpcurl {words} p.S/M"


def test_a_unix_socket_is_spoken_to(jobwire: Jobwire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = LiveServer("--listen", f"unix:{tmp_path}/s")
    try:
        monkeypatch.setenv("JOBWIRE_ADDRESS", f"unix:{tmp_path}/s")
        done = ran(jobwire("version --server --show-grpcurl").stdout)
        assert json.loads(done.stdout)["serverInfo"]["store"] == "sqlite", done.stderr
    finally:
        server.stop()


def test_certificates_are_shown_and_a_name_that_is_not_the_hosts(
    jobwire: Jobwire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(trustme.CA(), tmp_path, "jobs.internal")
    monkeypatch.chdir(tmp_path)
    server = LiveServer("--port", "0", "--tls-cert", f"{tmp_path}/server.pem", "--tls-key", f"{tmp_path}/server.key",
                        "--tls-client-ca", f"{tmp_path}/ca.pem")  # fmt: skip
    try:
        monkeypatch.setenv("JOBWIRE_ADDRESS", server.address)
        flags = "--tls-ca ca.pem --tls-cert me.pem --tls-key me.key --tls-server-name jobs.internal"
        called = jobwire(f"version --server {flags}")
        done = ran(jobwire(f"version --server {flags} --show-grpcurl").stdout)
        assert called.exit_code == 0, called.stderr
        assert json.loads(done.stdout)["serverInfo"]["store"] == "sqlite", done.stderr
    finally:
        server.stop()
