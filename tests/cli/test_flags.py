"""Global flags: where they may stand, who wins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobwire.v1 import job_service_pb2 as pb
from tests.cli.conftest import Jobwire
from tests.cli.scripted import Service


@pytest.mark.parametrize("line", ["-o json submit hello", "submit -o json hello", "submit hello -o json"])
def test_a_global_flag_may_stand_before_and_after_the_command(jobwire: Jobwire, line: str) -> None:
    assert json.loads(jobwire(line).stdout)["spec"]["type"] == "hello"


@pytest.mark.parametrize("line", ["-o id job list", "job -o id list", "job list -o id"])
def test_a_global_flag_may_stand_in_the_middle_of_a_nested_command(jobwire: Jobwire, line: str) -> None:
    jobwire("submit hello --job-id mine")

    assert jobwire(line).stdout == "mine\n"


def test_the_flag_after_the_command_wins(jobwire: Jobwire) -> None:
    jobwire("submit hello --job-id mine")

    assert jobwire("-o none job list -o id").stdout == "mine\n"


def test_the_address_flag_wins_over_the_environment(jobwire: Jobwire) -> None:
    ran = jobwire("-a unix:/nonexistent/socket job list")

    assert ran.exit_code == 9
    assert "Address came from: the flag --address." in ran.stderr


def test_the_environment_wins_over_the_default_and_is_named(jobwire: Jobwire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWIRE_ADDRESS", "unix:/nonexistent/socket")

    ran = jobwire("job list")

    assert ran.exit_code == 9
    assert "Address came from: the environment variable JOBWIRE_ADDRESS." in ran.stderr


def test_quiet_leaves_data_and_errors(jobwire: Jobwire) -> None:
    quiet, failed = jobwire("-q submit helo"), jobwire("-q run fail")

    assert (quiet.stdout, quiet.stderr) == ("job-1\n", "")
    assert failed.stderr.startswith("error[JOB_FAILED]")


def test_colours_come_when_asked_for_and_not_by_themselves_in_a_pipe(jobwire: Jobwire) -> None:
    jobwire("submit hello")

    assert "\x1b[" not in jobwire("job list").stdout
    assert "\x1b[32m✓ completed" in jobwire("job list --color always").stdout


def test_no_color_and_clicolor_force_are_obeyed(jobwire: Jobwire, monkeypatch: pytest.MonkeyPatch) -> None:
    jobwire("submit hello")

    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    forced = jobwire("job list")
    monkeypatch.setenv("NO_COLOR", "1")
    refused = jobwire("job list")

    assert "\x1b[" in forced.stdout
    assert "\x1b[" not in refused.stdout


def test_version_is_known_everywhere(jobwire: Jobwire) -> None:
    assert jobwire("--version").stdout.startswith("jobwire 0.")
    assert jobwire("job list --version").stdout.startswith("jobwire 0.")


def test_timeout_before_the_command_is_the_deadline_of_calls_and_after_it_the_limit_of_waiting(
    jobwire: Jobwire, service: Service
) -> None:
    jobwire("submit stuck --job-id stuck")

    ran = jobwire("--timeout 30s wait stuck --timeout 50ms")

    assert ran.exit_code == 5


def test_every_flag_of_submit_reaches_the_server(jobwire: Jobwire, service: Service) -> None:
    ran = jobwire(
        "submit hello -d - --queue mail --key k --job-id mine --delay 1h --priority 9 --max-attempts 3 "
        "--backoff 1s..1m --label a=1 --label b=x=y --header traceparent=00 --attempt-timeout 30s "
        "--expires now+2h --retention 7d",
        stdin='{"to": "ada"}',
    )

    assert ran.exit_code == 0
    request = next(request for rpc, request in service.calls if rpc == "SubmitJob")
    assert isinstance(request, pb.SubmitJobRequest)
    spec = request.spec
    assert (request.request_id, request.job_id, spec.queue, spec.priority) == ("k", "mine", "mail", 9)
    assert (spec.payload.text, spec.payload.content_type) == ('{"to": "ada"}', "application/json")
    assert dict(spec.labels) == {"a": "1", "b": "x=y"}
    assert dict(spec.headers) == {"traceparent": "00"}
    assert spec.retry_policy.max_attempts == 3
    assert (spec.retry_policy.initial_backoff.seconds, spec.retry_policy.max_backoff.seconds) == (1, 60)
    assert (spec.attempt_timeout.seconds, spec.retention.seconds) == (30, 7 * 86400)
    assert spec.expire_time.seconds - spec.schedule_time.seconds == 3600


def test_a_time_is_sent_as_it_was_meant_in_utc(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit hello --at 2026-11-21T13:31:04+01:00")

    request = next(request for rpc, request in service.calls if rpc == "SubmitJob")
    assert isinstance(request, pb.SubmitJobRequest)
    assert request.spec.schedule_time.seconds == 1_795_264_264


def test_a_file_that_is_not_json_goes_as_it_is_when_its_type_is_named(
    jobwire: Jobwire, service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\xff")

    assert jobwire(f"submit hello -d @{path}").exit_code == 2
    assert jobwire(f"submit hello -d @{path} --content-type image/png").exit_code == 0
    request = next(request for rpc, request in service.calls if rpc == "SubmitJob")
    assert isinstance(request, pb.SubmitJobRequest)
    assert (request.spec.payload.data, request.spec.payload.content_type) == (b"\x89PNG\xff", "image/png")


def test_filters_reach_the_server(jobwire: Jobwire, service: Service) -> None:
    jobwire("job list --state failed,retrying --state pending --queue a --queue b --type t --label k=v --batch b1 "
            "--since 2026-11-21T12:31:04Z --before 2026-11-21T12:31:05Z")  # fmt: skip

    request = next(request for rpc, request in service.calls if rpc == "ListJobs")
    assert isinstance(request, pb.ListJobsRequest)
    wanted = request.filter
    assert list(wanted.states) == [2, 4, 6]
    assert (list(wanted.queues), list(wanted.types), wanted.batch_id) == (["a", "b"], ["t"], "b1")
    assert dict(wanted.labels) == {"k": "v"}
    assert (wanted.create_time_min.seconds, wanted.create_time_max.seconds) == (1_795_264_264, 1_795_264_265)
