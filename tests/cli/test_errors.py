"""Errors: their exit codes, their codes, their words."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import jobwire.cli as cli_package
from jobwire.cli.faults import LOCAL_CODES, CliError, ExitCode
from tests.cli.conftest import Jobwire
from tests.cli.scripted import Refusal, Service


@pytest.mark.parametrize(
    ("grpc_code", "reason", "exit_code"),
    [
        ("INVALID_ARGUMENT", "FIELD_INVALID", 2),
        ("INVALID_ARGUMENT", "REQUEST_ID_REUSED", 7),
        ("NOT_FOUND", "JOB_NOT_FOUND", 6),
        ("ALREADY_EXISTS", "JOB_ID_TAKEN", 7),
        ("FAILED_PRECONDITION", "JOB_TERMINAL", 7),
        ("ABORTED", "SOMETHING_NEW", 7),
        ("UNAUTHENTICATED", "CREDENTIALS_MISSING", 8),
        ("PERMISSION_DENIED", "ACTION_DENIED", 8),
        ("RESOURCE_EXHAUSTED", "QUEUE_FULL", 10),
        ("UNIMPLEMENTED", "FEATURE_DISABLED", 12),
        ("INTERNAL", "INTERNAL", 1),
        ("DATA_LOSS", "PAYLOAD_CORRUPT", 1),
    ],
)
def test_the_exit_code_tells_what_the_server_answered(
    jobwire: Jobwire, service: Service, grpc_code: str, reason: str, exit_code: int
) -> None:
    service.refusals["SubmitJob"] = Refusal(grpc_code, reason, "It did not work.", hint="none")

    ran = jobwire("submit hello -o json")

    error = json.loads(ran.stderr)["error"]
    assert ran.exit_code == exit_code
    assert (error["code"], error["grpc_code"], error["message"]) == (reason, grpc_code, "it did not work")


def test_a_server_that_is_not_ready_is_asked_again(jobwire: Jobwire, service: Service) -> None:
    service.passing_refusals["SubmitJob"] = [Refusal("UNAVAILABLE", "NOT_READY", "The server is starting.")] * 2

    ran = jobwire("--timeout 50s submit hello -q")

    assert (ran.exit_code, ran.stdout) == (0, "job-1\n")
    assert len([rpc for rpc, _ in service.calls if rpc == "SubmitJob"]) == 3


def test_a_server_that_does_not_get_ready_is_told_when_the_deadline_is_over(jobwire: Jobwire, service: Service) -> None:
    service.refusals["SubmitJob"] = Refusal("UNAVAILABLE", "NOT_READY", "The server is starting.")

    ran = jobwire("--timeout 1s submit hello -q")

    assert ran.exit_code == 9


def test_a_server_that_is_not_there_is_told_at_once_with_what_to_do(jobwire: Jobwire) -> None:
    ran = jobwire("-a 127.0.0.1:1 --timeout 10m submit hello")

    assert ran.exit_code == 9
    assert ran.stderr.splitlines() == [
        "error[SERVER_UNREACHABLE] cannot reach the server at 127.0.0.1:1 (connection refused)",
        "  Nothing listens there. Address came from: the flag --address.",
        "  → start one:   jobwire dev",
        "  → or choose:   jobwire -a HOST:PORT ...",
        "  → find out:    jobwire doctor",
    ]


def test_a_bug_leaves_a_report_and_names_it(jobwire: Jobwire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ouch")

    monkeypatch.setattr("jobwire.cli.submitting.request_of", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    ran = jobwire("submit hello")

    (report,) = tmp_path.glob("jobwire-report-*.txt")
    assert ran.exit_code == 1
    assert ran.stderr.startswith("error[UNEXPECTED] RuntimeError: ouch")
    assert str(report) in ran.stderr
    assert "in broken" in report.read_text()


def test_what_ctrl_c_breaks_inside_a_library_is_no_bug(jobwire: Jobwire, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("cannot release un-acquired lock")

    monkeypatch.setattr("jobwire.cli.submitting.request_of", interrupted)

    ran = jobwire("submit hello")

    assert (ran.exit_code, ran.stderr) == (130, "error[INTERRUPTED] interrupted\n")


def test_every_code_that_is_raised_stands_in_the_catalogue() -> None:
    folder = Path(str(cli_package.__file__)).parent
    raised = {
        node.args[0].value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "CliError"
        and node.args and isinstance(node.args[0], ast.Constant)
    }  # fmt: skip

    assert raised
    assert raised - LOCAL_CODES.keys() == {"JOB_NOT_FOUND"}  # the server's own reason, said for a batch of ids


def test_an_error_for_programs_has_the_five_fields() -> None:
    fault = CliError("USAGE", "no", why=["because"], hints=["do:   this", "or that"], details={"a": 1})

    assert fault.as_document() == {
        "error": {
            "code": "USAGE",
            "grpc_code": None,
            "message": "no",
            "hint": "do: this; or that",
            "details": {"a": 1, "why": ["because"]},
        }
    }
    assert fault.exit_code is ExitCode.USAGE
