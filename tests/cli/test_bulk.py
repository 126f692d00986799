"""Many jobs from one file, many ids in one command."""

from __future__ import annotations

import json
from pathlib import Path

from jobwire.v1 import job_service_pb2 as pb
from tests.cli.conftest import Jobwire
from tests.cli.scripted import Service


def batches(service: Service) -> list[pb.BatchSubmitJobsRequest]:
    return [request for rpc, request in service.calls if isinstance(request, pb.BatchSubmitJobsRequest)]


def test_each_line_becomes_a_job_and_its_id_is_printed_in_order(jobwire: Jobwire, tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"type": "hello", "payload": "@ada", "job_id": "a"}\n\n{"type": "echo", "job_id": "b"}\n')

    ran = jobwire(f"submit --from-jsonl {file}")

    assert ran.exit_code == 0
    assert ran.stdout == "a\nb\n"
    assert ran.stderr == "2 submitted, 0 refused\n"
    assert json.loads(jobwire("job get a -o json").stdout)["spec"]["payload"]["text"] == '"@ada"'


def test_flags_are_the_defaults_of_all_lines_and_lines_win(jobwire: Jobwire, service: Service) -> None:
    lines = ['{"payload": 1, "key": "k1"}',
             '{"type": "echo", "queue": "own", "priority": 1, "labels": {"b": "2"}, "delay": "1m"}']  # fmt: skip

    jobwire("submit hello --from-jsonl - --queue mail --priority 7 --label a=1", stdin="\n".join(lines))

    first, second = batches(service)[0].requests
    assert (first.spec.type, first.spec.queue, first.spec.priority, first.request_id) == ("hello", "mail", 7, "k1")
    assert (second.spec.type, second.spec.queue, second.spec.priority) == ("echo", "own", 1)
    assert dict(second.spec.labels) == {"a": "1", "b": "2"}
    assert second.spec.HasField("schedule_time")
    assert second.request_id


def test_a_bad_line_does_not_stop_the_others_and_is_named(jobwire: Jobwire) -> None:
    ran = jobwire(
        "submit hello --from-jsonl -", stdin='{}\n[]\n{"typ": "x"}\n{"type": "!"}\n{"priority": "high"}\n{}\n'
    )

    assert ran.exit_code == 11
    assert ran.stdout == "job-1\njob-2\n"
    assert ran.stderr.splitlines()[0] == "line 2 refused [INPUT_UNREADABLE]: it is not a JSON object"
    assert "line 3 refused [INPUT_UNREADABLE]: unknown field 'typ'" in ran.stderr
    assert "line 4 refused [FIELD_INVALID]: spec.type" in ran.stderr
    assert "line 5 refused [INPUT_UNREADABLE]: field 'priority' must be a number" in ran.stderr
    assert "error[PARTIAL] 4 of 6 lines were refused" in ran.stderr


def test_programs_get_one_result_for_each_line(jobwire: Jobwire) -> None:
    ran = jobwire("submit hello --from-jsonl - -o json", stdin='{}\nnonsense\n{"type": "!"}\n')

    results = json.loads(ran.stdout)["results"]
    assert [result["job_id"] for result in results] == ["job-1", "", ""]
    assert [result["error"] and result["error"]["reason"] for result in results] == [
        None, "INPUT_UNREADABLE", "FIELD_INVALID",
    ]  # fmt: skip
    assert json.loads(ran.stderr)["error"]["details"] == {"submitted": 1, "refused": 2}


def test_a_long_file_goes_in_batches_of_a_thousand(jobwire: Jobwire, service: Service) -> None:
    ran = jobwire("submit hello --from-jsonl - -o none", stdin="{}\n" * 2500)

    assert ran.exit_code == 0
    assert [len(batch.requests) for batch in batches(service)] == [1000, 1000, 500]
    assert all(batch.independent for batch in batches(service))


def test_a_batch_stays_below_the_message_limit(jobwire: Jobwire, service: Service) -> None:
    line = json.dumps({"payload": "x" * 900_000})

    ran = jobwire("submit hello --from-jsonl - -o none", stdin=f"{line}\n" * 5)

    assert ran.exit_code == 0
    assert [len(batch.requests) for batch in batches(service)] == [3, 2]


def test_flags_of_one_job_are_refused_with_a_file(jobwire: Jobwire) -> None:
    ran = jobwire("submit hello --from-jsonl - --key k", stdin="{}\n")

    assert ran.exit_code == 2


def test_when_all_ids_are_refused_the_exit_code_is_that_of_the_first(jobwire: Jobwire) -> None:
    assert jobwire("job delete nope nope2").exit_code == 6


def test_ids_after_an_unreachable_server_are_not_tried(jobwire: Jobwire) -> None:
    ran = jobwire("-a 127.0.0.1:1 job cancel a b c")

    assert ran.exit_code == 9
    assert ran.stderr.count("SERVER_UNREACHABLE") == 1
