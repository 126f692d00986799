"""Cancelling, retrying and deleting all that a filter chooses: counted, asked for, done, and told."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb
from tests.cli.conftest import Jobwire
from tests.cli.scripted import Refusal, ScriptedServer, Service
from tests.cli.terminal import Terminal, without_escapes

PROGRAM = Path(sys.executable).with_name("jobwire")


def submit(jobwire: Jobwire, job_type: str, count: int, **flags: str) -> list[str]:
    """Submit jobs of a type; return their ids, oldest first."""
    more = " ".join(f"--{name} {value}" for name, value in flags.items())
    return [jobwire(f"submit {job_type} {more} -o id -q").stdout.strip() for _ in range(count)]


def called(service: Service, rpc: str) -> list[str]:
    """The ids that an RPC was called with, in any order."""
    return sorted(request.job_id for name, request in service.calls if name == rpc)  # type: ignore[attr-defined]


def states(service: Service) -> Counter[str]:
    return Counter(job_pb2.JobState.Name(job.status.state).removeprefix("JOB_STATE_") for job in service.jobs.values())


def test_all_failed_jobs_of_a_queue_are_retried_and_no_others(jobwire: Jobwire, service: Service) -> None:
    failed = submit(jobwire, "fail", 5, queue="mail")
    submit(jobwire, "fail", 2, queue="other")
    submit(jobwire, "hello", 1, queue="mail")

    ran = jobwire("job retry --filter 'state:failed queue:mail' --yes")

    assert ran.exit_code == 0
    assert ran.stdout == "5 retried\n"
    assert called(service, "RetryJob") == sorted(failed)
    assert ran.stderr.startswith("5 jobs match 'state:failed queue:mail' and can be retried: 5 failed; submitted ")


def test_only_jobs_that_the_verb_can_change_are_counted_and_asked_for(jobwire: Jobwire, service: Service) -> None:
    waiting, running = submit(jobwire, "later", 2), submit(jobwire, "stuck", 1)
    submit(jobwire, "hello", 3)

    ran = jobwire("job cancel -f queue:default --yes")

    assert ran.exit_code == 0
    assert called(service, "CancelJob") == sorted(waiting + running)
    assert "3 jobs match 'queue:default' and can be cancelled: 2 pending, 1 processing" in ran.stderr


def test_what_the_server_cannot_look_for_is_left_out_here(jobwire: Jobwire, service: Service) -> None:
    submit(jobwire, "later", 3)
    chosen = submit(jobwire, "lately", 2)

    jobwire("job cancel -f 'type:lat* -type:later' --yes")

    assert called(service, "CancelJob") == sorted(chosen)


def test_deleting_names_what_was_deleted_to_programs(jobwire: Jobwire, service: Service) -> None:
    finished = submit(jobwire, "hello", 3)
    submit(jobwire, "later", 1)

    ran = jobwire("job delete -f queue:default --yes -o json")

    assert sorted(json.loads(ran.stdout)["deleted"]) == sorted(finished)
    assert ran.stderr == ""
    assert states(service) == {"PENDING": 1}


def test_a_dry_run_counts_shows_five_and_changes_nothing(jobwire: Jobwire, service: Service) -> None:
    submit(jobwire, "fail", 7)

    ran = jobwire("job retry -f state:failed --dry-run")

    assert ran.exit_code == 0
    assert "7 jobs match 'state:failed' and can be retried: 7 failed" in ran.stdout
    assert ran.stdout.count("✕ failed") == 5
    assert ran.stdout.endswith("and 2 more\n")
    assert ran.stderr == "nothing was changed: --dry-run\n"
    assert called(service, "RetryJob") == []


def test_a_dry_run_for_programs_is_one_document(jobwire: Jobwire) -> None:
    submit(jobwire, "fail", 7)

    document = json.loads(jobwire("job retry -f state:failed --dry-run -o json").stdout)

    assert (document["count"], document["has_more"], document["states"]) == (7, False, {"JOB_STATE_FAILED": 7})
    assert len(document["jobs"]) == 5


def test_without_a_terminal_a_yes_is_needed_and_nothing_happens(jobwire: Jobwire, service: Service) -> None:
    submit(jobwire, "fail", 2)

    for line in ("job retry -f state:failed", "job delete -f state:failed", "job retry -f state:failed -o id"):
        ran = jobwire(line, stdin="y\n")

        assert ran.exit_code == 2
        assert "error[NOT_CONFIRMED] this command would" in ran.stderr
        assert "→ add --yes" in ran.stderr
    assert states(service) == {"FAILED": 2}


def test_a_program_is_told_how_many_there_are(jobwire: Jobwire) -> None:
    submit(jobwire, "fail", 2)

    error = json.loads(jobwire("job retry -f state:failed -o json").stderr)["error"]

    assert (error["code"], error["details"]["count"]) == ("NOT_CONFIRMED", 2)


@pytest.mark.parametrize(("typed", "exit_code", "left"), [("y\n", 0, 0), ("yes\n", 0, 0), ("\n", 2, 2), ("n\n", 2, 2)])
def test_a_person_is_asked(
    server: ScriptedServer, jobwire: Jobwire, service: Service, typed: str, exit_code: int, left: int
) -> None:
    submit(jobwire, "fail", 2)
    environ = {**os.environ, "JOBWIRE_ADDRESS": server.address, "TERM": "xterm-256color"}

    ended, shown = Terminal().run([PROGRAM, "job", "retry", "-f", "state:failed"], environ, typed=typed)

    assert ended == exit_code
    assert "Retry 2 jobs? [y/N/list]" in without_escapes(shown)
    assert states(service)["FAILED"] == left


def test_a_person_can_look_at_the_list_before_answering(
    server: ScriptedServer, jobwire: Jobwire, service: Service
) -> None:
    failed = submit(jobwire, "fail", 2)
    environ = {**os.environ, "JOBWIRE_ADDRESS": server.address, "TERM": "xterm-256color"}

    _, shown = Terminal().run([PROGRAM, "job", "retry", "-f", "state:failed"], environ, typed="list\nn\n")

    assert re.findall(r"job-\d", without_escapes(shown)) == failed[::-1]
    assert states(service)["FAILED"] == 2


def test_the_limit_takes_the_newest_and_says_that_there_are_more(jobwire: Jobwire, service: Service) -> None:
    failed = submit(jobwire, "fail", 5)

    ran = jobwire("job retry -f state:failed --limit 3 --yes")

    assert called(service, "RetryJob") == sorted(failed[2:])
    assert ran.stderr.startswith("the newest 3 jobs of those that match 'state:failed' and can be retried")


def test_jobs_that_changed_meanwhile_are_named_and_the_exit_code_says_so(jobwire: Jobwire, service: Service) -> None:
    submit(jobwire, "fail", 3)
    service.passing_refusals["RetryJob"] = [
        Refusal("FAILED_PRECONDITION", "JOB_SUCCEEDED", "The job has succeeded."),
    ]

    ran = jobwire("job retry -f state:failed --yes")

    assert ran.exit_code == 11
    assert ran.stdout == "2 retried, 1 not (JOB_SUCCEEDED 1)\n"
    assert "refused [JOB_SUCCEEDED]: the job has succeeded" in ran.stderr
    assert "error[PARTIAL] 1 of 3 jobs did not change" in ran.stderr


def test_of_many_refusals_people_see_five_and_programs_all(jobwire: Jobwire, service: Service) -> None:
    submit(jobwire, "fail", 9)
    service.refusals["RetryJob"] = Refusal("FAILED_PRECONDITION", "JOB_SUCCEEDED", "The job has succeeded.")

    for_people = jobwire("job retry -f state:failed --yes")
    for_programs = jobwire("job retry -f state:failed --yes -o json")

    assert for_people.stderr.count("refused [JOB_SUCCEEDED]") == 5
    assert "9 not (JOB_SUCCEEDED 9)" in for_people.stdout
    assert len(json.loads(for_programs.stderr)["error"]["details"]["refused"]) == 9


def test_a_server_that_goes_away_ends_it_with_what_is_known(jobwire: Jobwire, service: Service) -> None:
    submit(jobwire, "fail", 3)
    service.refusals["RetryJob"] = Refusal("UNAVAILABLE", "STORE_UNAVAILABLE", "The store cannot be written.")

    ran = jobwire("--timeout 300ms job retry -f state:failed --yes")

    assert ran.exit_code == 9
    assert "0 of 3 jobs are known to be retried" in ran.stderr
    assert "→ the same command goes on with the rest" in ran.stderr


def test_when_nothing_matches_that_is_said_and_is_no_error(jobwire: Jobwire) -> None:
    ran = jobwire("job retry -f 'state:failed queue:nothing'")

    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == "no job that can be retried matches 'state:failed queue:nothing'\n"
    assert json.loads(jobwire("job retry -f state:failed -o json").stdout) == {"jobs": []}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("job cancel", "say which jobs: by their ids, or by --filter"),
        ("job cancel a -f state:pending", "give ids or --filter, not both"),
        ("job cancel -f ''", "an empty filter would cancel every job"),
        ("job retry -f '  '", "an empty filter would retry every job"),
        ("job retry -f state:completed,pending", "jobs that are completed, pending cannot be retried"),
        ("job delete -f state:processing", "jobs that are processing cannot be deleted"),
        ("job retry a --dry-run", "--dry-run belongs to --filter"),
        ("job retry -f stat:failed", "there is no field 'stat'"),
    ],
)
def test_what_would_change_the_wrong_jobs_is_refused(jobwire: Jobwire, service: Service, line: str, said: str) -> None:
    ran = jobwire(line)

    assert ran.exit_code == 2
    assert said in ran.stderr
    assert not [rpc for rpc, _ in service.calls if rpc != "ListJobs"]


def test_the_reason_travels_with_every_job(jobwire: Jobwire, service: Service) -> None:
    submit(jobwire, "later", 2)

    jobwire("job cancel -f state:pending --reason 'out of date' --yes")

    cancelled = [request for _, request in service.calls if isinstance(request, pb.CancelJobRequest)]
    assert [request.reason for request in cancelled] == ["out of date"] * 2


def test_hundreds_of_jobs_are_changed_each_once(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit later --from-jsonl - -o none", stdin="{}\n" * 300)

    ran = jobwire("job cancel -f type:later --yes -o id")

    assert ran.exit_code == 0
    assert len(set(ran.stdout.split())) == 300
    assert called(service, "CancelJob") == sorted(service.jobs)
