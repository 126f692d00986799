"""Output for programs: one JSON document, one object a line, ids, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format

from jobwire.cli.root import COMMANDS as REGISTERED
from jobwire.cli.root import NOUNS
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb
from tests.cli.conftest import Jobwire
from tests.cli.scripted import Service

COMMANDS = [
    "run hello",
    "submit hello",
    "submit --from-jsonl -",
    "watch done",
    "watch done --since 0",
    "wait done",
    "wait done done2",
    "job list",
    "job list --all",
    "job list --state expired",
    "job get done",
    "job get done done2",
    "job events done",
    "job result done",
    "job cancel stuck",
    "job cancel stuck waiting",
    "job retry failed",
    "job delete done",
    "job list -f 'state:failed type:fa*'",
    "job describe done",
    "job clone done",
    "job cancel -f 'state:pending,processing' --yes",
    "job retry -f 'state:failed' --dry-run",
    "job retry -f 'state:failed' --yes",
    "job delete -f 'state:completed' --yes",
    "job delete -f 'type:nothing' --yes",
    "top --once",
    "explain JOB_NOT_FOUND",
    "explain --list",
    "cheat",
    "bench submit --count 3 --clients 2",
    "worker list",
    "worker list --limit 1",
    "version",
    "version --server",
    "proto --out {folder}",
]


ELSEWHERE = {
    "work": "test_work", "conformance": "tests/conformance", "doctor": "test_doctor", "health": "test_check",
    "bench watch": "test_bench", "bench e2e": "test_bench",
    "help": "prints a page", "completion": "prints a script",
}  # fmt: skip
"""Commands whose output is looked at in another file, and where."""


@pytest.fixture
def jobs(jobwire: Jobwire) -> None:
    for job_type, job_id in (
        ("hello", "done"), ("hello", "done2"), ("stuck", "stuck"), ("later", "waiting"), ("fail", "failed"),
    ):  # fmt: skip
        jobwire(f"submit {job_type} --job-id {job_id} -q")


def test_every_command_that_prints_data_is_looked_at() -> None:
    every = {f"{name} {verb}".strip() for name in REGISTERED for verb in NOUNS.get(name, ("",))}
    here = {name for name in every if any(f"{line} ".startswith(f"{name} ") for line in COMMANDS)}
    in_files_of_their_own = {name for name in every if name.startswith(("config ", "check "))}

    assert every - here - in_files_of_their_own == ELSEWHERE.keys()


def run(jobwire: Jobwire, line: str, folder: object) -> Any:
    return jobwire(line.format(folder=folder), stdin='{"type": "hello"}\n{"type": "hello"}\n')


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_exactly_one_document_and_stderr_is_silent(jobwire: Jobwire, command: str, tmp_path: object) -> None:
    ran = run(jobwire, f"{command} -o json", tmp_path)

    assert ran.exit_code == 0
    assert isinstance(json.loads(ran.stdout), dict)
    assert ran.stderr == ""


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("command", COMMANDS)
def test_jsonl_is_one_object_a_line(jobwire: Jobwire, command: str, tmp_path: object) -> None:
    ran = run(jobwire, f"{command} -o jsonl", tmp_path)

    assert ran.exit_code == 0
    for line in ran.stdout.splitlines():
        assert isinstance(json.loads(line), dict)


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("command", COMMANDS)
def test_none_prints_nothing_on_stdout(jobwire: Jobwire, command: str, tmp_path: object) -> None:
    ran = run(jobwire, f"{command} -o none", tmp_path)

    assert (ran.exit_code, ran.stdout) == (0, "")


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(
    ("command", "ids"),
    [
        ("job list --state completed", ["done2", "done"]),
        ("job get done stuck", ["done", "stuck"]),
        ("wait done", ["done"]),
        ("job cancel stuck", ["stuck"]),
        ("job retry failed", ["failed"]),
        ("job delete done", ["done"]),
        ("worker list", ["app-1-3f2a", "app-2-9b10", "grpcurl"]),
        ("submit hello --job-id fresh", ["fresh"]),
        ("run hello --job-id fresh", ["fresh"]),
    ],
)
def test_id_prints_ids_for_xargs(jobwire: Jobwire, command: str, ids: list[str]) -> None:
    ran = jobwire(f"{command} -o id -q")

    assert ran.stdout.split() == ids


@pytest.mark.usefixtures("jobs")
def test_a_job_in_json_has_every_field_of_the_contract_by_its_own_name(jobwire: Jobwire) -> None:
    document = json.loads(jobwire("job get done -o json").stdout)

    assert list(document) == [field.name for field in job_pb2.Job.DESCRIPTOR.fields]
    assert list(document["spec"]) == [field.name for field in job_pb2.JobSpec.DESCRIPTOR.fields]
    assert list(document["status"]) == [field.name for field in job_pb2.JobStatus.DESCRIPTOR.fields]
    assert document["status"]["state"] == "JOB_STATE_COMPLETED"
    assert document["status"]["last_error"] is None


@pytest.mark.usefixtures("jobs")
def test_the_json_reads_back_into_the_contracts_messages(jobwire: Jobwire, service: Service) -> None:
    job = json_format.Parse(jobwire("job get done -o json").stdout, job_pb2.Job())
    jobs = json_format.Parse(jobwire("job list --all -o json").stdout, pb.ListJobsResponse())

    assert job == service.jobs["done"]
    assert {found.job_id for found in jobs.jobs} == service.jobs.keys()


@pytest.mark.usefixtures("jobs")
def test_an_error_before_the_first_element_leaves_stdout_empty(jobwire: Jobwire) -> None:
    ran = jobwire("job get nope nope2 -o json")

    assert (ran.exit_code, ran.stdout) == (6, "")
    assert json.loads(ran.stderr)["error"]["code"] == "JOB_NOT_FOUND"


@pytest.mark.usefixtures("jobs")
def test_an_error_after_some_elements_still_leaves_a_whole_document(jobwire: Jobwire) -> None:
    ran = jobwire("watch stuck --timeout 100ms -o json")

    assert ran.exit_code == 5
    assert [event["job_id"] for event in json.loads(ran.stdout)["events"]] == ["stuck"]
    assert json.loads(ran.stderr)["error"]["code"] == "WAIT_TIMEOUT"


def test_errors_are_json_also_when_the_command_line_could_not_be_parsed(jobwire: Jobwire) -> None:
    for line in ("submit hello --nonsense -o json", "-o jsonl nonsense", "submit --output=json --nonsense"):
        ran = jobwire(line)

        assert ran.exit_code == 2
        assert json.loads(ran.stderr)["error"]["code"] == "USAGE"


def test_a_result_of_bytes_comes_out_byte_for_byte(jobwire: Jobwire) -> None:
    assert jobwire("run bytes -q").raw == b"\x00\xff\n\x01"
    assert jobwire("job result job-1").raw == b"\x00\xff\n\x01"
    assert json.loads(jobwire("job result job-1 -o json").stdout)["data"] == "AP8KAQ=="


def test_run_in_jsonl_prints_each_event_and_then_the_job(jobwire: Jobwire) -> None:
    lines = [json.loads(line) for line in jobwire("run flaky -o jsonl").stdout.splitlines()]

    *events, job = lines
    states = [event["status"]["state"].removeprefix("JOB_STATE_") for event in events
              if event["event_type"] == "JOB_EVENT_TYPE_UPDATED"]  # fmt: skip
    assert states == ["PROCESSING", "RETRYING", "PROCESSING", "COMPLETED"]
    assert [event["status"]["progress_percent"] for event in events if event["revision"] == "0"] == [41.0]
    assert job["status"]["result"]["text"] == "{}"
