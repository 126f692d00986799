"""Formats that hold the same: YAML and JSON, fields in all of them, times in tables."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobwire.cli.fields import field_names, parse_fields
from jobwire.cli.output import document_of
from jobwire.cli.yaml import yaml_lines
from jobwire.v1 import job_pb2
from tests.cli.conftest import Jobwire
from tests.cli.test_machine_output import COMMANDS, jobs, run  # noqa: F401 - jobs is a fixture

awkward = st.sampled_from(["yes", "No", "null", "~", "0x1F", "- a", "a: b", "#", "&a", "2026-11-21"])
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), floats, st.text(), awkward)
documents = st.recursive(scalars, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)))


def numbers_as_text(value: Any) -> Any:
    """Floats as JSON writes them: the reader of YAML 1.1 takes 1e+16 for text."""
    if isinstance(value, float):
        return json.dumps(value)
    if isinstance(value, dict):
        return {key: numbers_as_text(held) for key, held in value.items()}
    return [numbers_as_text(held) for held in value] if isinstance(value, list) else value


@given(documents)
def test_yaml_reads_back_as_what_was_written(document: Any) -> None:
    plain = numbers_as_text(document)

    assert yaml.safe_load("\n".join(yaml_lines(plain))) == plain


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("command", COMMANDS)
def test_yaml_holds_the_document_of_json(jobwire: Jobwire, command: str, tmp_path: object) -> None:
    ran = run(jobwire, f"{command} -o yaml", tmp_path)

    assert ran.exit_code == 0
    assert isinstance(yaml.safe_load(ran.stdout), dict)
    assert ran.stderr == ""


READING = ["job list", "job get done", "job get done done2", "wait done", "job events done", "watch done --since 0",
           "worker list", "version --server", "job describe done", "cheat", "explain --list"]  # fmt: skip


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("command", READING)
def test_what_is_read_is_the_same_in_both(jobwire: Jobwire, command: str) -> None:
    assert yaml.safe_load(jobwire(f"{command} -o yaml").stdout) == json.loads(jobwire(f"{command} -o json").stdout)


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("command", READING[:6])
def test_fields_keep_their_place_in_json_and_their_order(jobwire: Jobwire, command: str) -> None:
    document = json.loads(jobwire(f"{command} --fields status.state,job_id -o json").stdout)
    (kind,) = [key for key in ("jobs", "events") if key in document] or [None]

    for element in document[kind] if kind else [document]:
        assert list(element) == ["status", "job_id"]
        assert list(element["status"]) == ["state"]


@pytest.mark.usefixtures("jobs")
def test_fields_make_the_columns_of_a_table(jobwire: Jobwire) -> None:
    shown = jobwire("job list --fields job_id,state,spec.type,last_error.message -f state:failed").stdout

    assert [line.split("  ")[0] for line in shown.splitlines()] == ["job_id", "failed"]
    assert shown.splitlines()[1].split() == ["failed", "JOB_STATE_FAILED", "fail", "no", "luck"]


@pytest.mark.usefixtures("jobs")
def test_fields_of_a_stream_are_pairs(jobwire: Jobwire) -> None:
    lines = jobwire("job events done --fields job_id,status.state").stdout.splitlines()

    assert lines[-1] == "job_id=done  status.state=JOB_STATE_COMPLETED"


@pytest.mark.parametrize("command", ["job list", "job get x", "watch", "worker list", "job result x", "submit t"])
def test_the_fields_can_be_listed_without_a_server(jobwire: Jobwire, command: str) -> None:
    ran = jobwire(f"-a 127.0.0.1:1 {command} --fields help")

    assert ran.exit_code == 0
    assert len(ran.stdout.splitlines()) > 3


def test_every_listed_field_is_taken_and_is_in_the_document() -> None:
    document = document_of(job_pb2.Job(status=job_pb2.JobStatus(last_error=job_pb2.JobError()), spec=job_pb2.JobSpec(
        payload=job_pb2.Payload(), retry_policy=job_pb2.RetryPolicy())))  # fmt: skip

    for name in field_names(job_pb2.Job):
        taken = parse_fields(name, job_pb2.Job).project(document)
        held: Any = document
        for part in name.removesuffix(".KEY").split("."):
            assert held is None or part in held, name
            held = held and held[part]
        assert taken, name


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("state", [("status", "state")]),
        ("type", [("spec", "type")]),
        ("status.last_error.type", [("status", "last_error", "type")]),
        ("last_error.type", [("status", "last_error", "type")]),
        ("labels.customer", [("spec", "labels", "customer")]),
        ("spec.labels.a", [("spec", "labels", "a")]),
        (" job_id , status ", [("job_id",), ("status",)]),
    ],
)
def test_a_field_may_be_named_by_its_end(text: str, paths: list[tuple[str, ...]]) -> None:
    assert list(parse_fields(text, job_pb2.Job).paths) == paths


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat", "a Job has no field 'stat'"),
        ("status.nonsense", "a Job has no field 'status.nonsense'"),
        ("content_type", "the field 'content_type' is not clear"),
        (",", "--fields names no field"),
    ],
)
def test_a_field_that_is_none_is_refused_before_anything_is_asked(jobwire: Jobwire, text: str, said: str) -> None:
    ran = jobwire(f"-a 127.0.0.1:1 job list --fields {text}")

    assert ran.exit_code == 2
    assert said in ran.stderr


def test_a_command_without_fields_says_so(jobwire: Jobwire) -> None:
    ran = jobwire("version --fields a")

    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "this command has no --fields to choose from" in ran.stderr


@pytest.mark.usefixtures("jobs")
def test_times_are_written_as_asked(jobwire: Jobwire) -> None:
    assert "2026-11-21T12:31:04.000Z" in jobwire("job list --time iso").stdout
    assert "1795264264.000" in jobwire("job list --time unix").stdout
    assert re.search(r"^STATE +ID +TYPE +QUEUE +ATTEMPT +AGE", jobwire("job list --time relative").stdout)
    assert jobwire("job events done --time unix").stdout.startswith("1795264264.000 done PENDING")
    assert " ago done PENDING" in jobwire("job events done --time relative").stdout
    assert re.search(r"\w ago +mail", jobwire("worker list --time relative").stdout)


@pytest.mark.usefixtures("jobs")
def test_json_has_the_contracts_times_whatever_is_asked(jobwire: Jobwire) -> None:
    assert jobwire("job get done -o json --time unix").stdout == jobwire("job get done -o json").stdout


@pytest.mark.usefixtures("jobs")
def test_wide_shows_more_and_cuts_nothing(jobwire: Jobwire) -> None:
    jobwire("submit later --label a=1 --label b=2 --priority 3 -q")

    header, row, *_ = jobwire("job list -o wide").stdout.splitlines()

    assert header.split() == ["STATE", "ID", "TYPE", "QUEUE", "ATTEMPT", "CREATED", "PRIORITY", "BATCH", "WORKER",
                              "LABELS", "REMARK"]  # fmt: skip
    assert "a=1,b=2" in row
    assert "type.0,type.1,type.2,type.3,type.4" in jobwire("worker list -o wide").stdout
