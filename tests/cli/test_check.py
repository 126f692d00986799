"""`jobwire check` and `jobwire health`: exit codes and lines that monitoring reads."""

from __future__ import annotations

import json
import re

import pytest

from jobwire.cli.verdicts import Checked, Verdict, judge
from jobwire.v1 import job_service_pb2 as pb
from tests.cli.conftest import Jobwire
from tests.cli.scripted import ScriptedServer, Service

NOWHERE = "-a 127.0.0.1:1"


def test_ready_is_ok_with_the_time_that_it_took(jobwire: Jobwire) -> None:
    ran = jobwire("check ready --warn 1m --crit 2m")

    assert ran.exit_code == 0
    assert re.fullmatch(r"OK - SERVING, answered within [\d.]+ ms \| time=[\d.e-]+s;60;120\n", ran.stdout)
    assert ran.stderr == ""


def test_a_slow_answer_is_a_warning_and_a_slower_one_critical(jobwire: Jobwire) -> None:
    assert jobwire("check ready --warn 0s --crit 1m").exit_code == 1
    assert jobwire("check ready --warn 0s --crit 0s").exit_code == 2


def test_a_server_that_is_not_ready_or_not_there_is_critical(jobwire: Jobwire, server: ScriptedServer) -> None:
    gone = jobwire(f"{NOWHERE} check ready")
    server.tell_health("NOT_SERVING")
    draining = jobwire("check ready")

    assert (gone.exit_code, draining.exit_code) == (2, 2)
    assert gone.stdout == "CRITICAL - cannot reach the server at 127.0.0.1:1 (connection refused)\n"
    assert draining.stdout.startswith("CRITICAL - NOT_SERVING")


@pytest.mark.parametrize(
    ("line", "exit_code", "text"),
    [
        ("", 0, "OK - 1 connected | workers=1;;1:"),
        ("--warn 2", 1, "WARNING - 1 connected | workers=1;2:;1:"),
        ("--crit 2", 2, "CRITICAL - 1 connected | workers=1;;2:"),
        ("--crit 0", 0, "OK - 1 connected | workers=1;;0:"),
        ("--type email.send", 0, "OK - 1 connected for type email.send | workers=1;;1:"),
        ("--type nobody.knows", 2, "CRITICAL - 0 connected for type nobody.knows | workers=0;;1:"),
        ("--queue mail", 0, "OK - 1 connected for queue mail | workers=1;;1:"),
        ("--queue other", 0, "OK - 1 connected for queue other | workers=1;;1:"),  # it serves "*", too
    ],
)
def test_workers_are_counted_when_they_are_connected(jobwire: Jobwire, line: str, exit_code: int, text: str) -> None:
    ran = jobwire(f"check workers {line}")

    assert (ran.exit_code, ran.stdout) == (exit_code, text + "\n")


def test_a_queue_is_counted_up_to_its_thresholds(jobwire: Jobwire, service: Service) -> None:
    for _ in range(3):
        jobwire("submit stuck --queue mail -q")

    assert jobwire("check queue mail --state processing --warn 3 --crit 5").exit_code == 0
    assert jobwire("check queue mail --state processing --warn 2 --crit 5").exit_code == 1
    beyond = jobwire("check queue mail --state processing,pending --warn 0 --crit 1")
    assert (beyond.exit_code, beyond.stdout) == (2, "CRITICAL - at least 2 processing, pending | jobs=2;0;1\n")
    sizes = [request.page_size for _, request in service.calls if isinstance(request, pb.ListJobsRequest)]
    assert sizes == [6, 4, 6, 4, 2]  # that server gives two a page; none is asked for more than is needed to know


def test_what_cannot_be_known_is_unknown(jobwire: Jobwire) -> None:
    assert jobwire(f"{NOWHERE} check workers").exit_code == 3
    assert jobwire(f"{NOWHERE} check queue").exit_code == 3


@pytest.mark.parametrize(
    "line",
    ["check nothing", "check ready --warm 1s", "check queue --state nonsense", "-a nonsense check ready",
     "-c nobody check workers", "check workers --crit many"],
)  # fmt: skip
def test_a_mistake_is_unknown_and_not_critical(jobwire: Jobwire, line: str) -> None:
    ran = jobwire(line)

    assert ran.exit_code == 3
    assert ran.stderr.startswith("error[CHECK_UNKNOWN] ")


def test_programs_get_a_document_and_prometheus_its_samples(jobwire: Jobwire) -> None:
    document = json.loads(jobwire("check workers -o json").stdout)
    same = json.loads(jobwire("check workers --format json").stdout)
    samples = jobwire("check workers --format prometheus").stdout.splitlines()

    assert document == same == {
        "check": "workers", "status": "OK", "text": "1 connected", "measure": "workers", "value": 1, "warn": None,
        "crit": 1,
    }  # fmt: skip
    assert 'jobwire_check_status{check="workers"} 0' in samples
    assert 'jobwire_check_value{check="workers",measure="workers"} 1' in samples


def test_a_label_of_prometheus_is_escaped_and_a_bar_does_not_cut_a_line_of_nagios() -> None:
    odd = Checked(check='a"b\\c\nd', verdict=Verdict.UNKNOWN, text="one | two")

    assert 'check="a\\"b\\\\c\\nd"' in odd.as_prometheus()
    assert odd.as_nagios() == "UNKNOWN - one / two"


def test_a_threshold_is_crossed_when_it_is_passed() -> None:
    assert [judge(n, warn=1, crit=2) for n in (1, 2, 3)] == [Verdict.OK, Verdict.WARNING, Verdict.CRITICAL]
    assert [judge(n, warn=2, crit=1, below=True) for n in (2, 1, 0)] == [Verdict.OK, Verdict.WARNING, Verdict.CRITICAL]


# --- health ----------------------------------------------------------------------------------------------------------


def test_health_is_one_line_and_zero_or_one(jobwire: Jobwire, server: ScriptedServer) -> None:
    ready = jobwire("health")
    server.tell_health("NOT_SERVING")
    draining, alive = jobwire("health"), jobwire("health --live")
    gone = jobwire(f"{NOWHERE} health --live")

    assert (ready.exit_code, ready.stdout) == (0, "healthy: SERVING\n")
    assert (draining.exit_code, draining.stdout) == (1, "not healthy: NOT_SERVING\n")
    assert (alive.exit_code, alive.stdout) == (0, "healthy: NOT_SERVING\n")
    assert (gone.exit_code, gone.stderr) == (1, "")
    assert gone.stdout == "not healthy: cannot reach the server at 127.0.0.1:1 (connection refused)\n"


def test_health_for_programs(jobwire: Jobwire) -> None:
    assert json.loads(jobwire("health -o json").stdout) == {"healthy": True, "status": "SERVING", "error": None}
    gone = json.loads(jobwire(f"{NOWHERE} health -o json").stdout)
    assert (gone["healthy"], gone["status"]) == (False, "UNKNOWN")
    assert "connection refused" in gone["error"]


# --- -v --------------------------------------------------------------------------------------------------------------


def test_one_v_says_where_calls_go_and_two_say_how_each_ended(jobwire: Jobwire, server: ScriptedServer) -> None:
    one = jobwire("-v job list")
    two = jobwire("submit hello -vv")
    refused = jobwire("job get nobody -vv")
    watched = jobwire("watch job-1 -vv")

    where = f"server {server.address} (no TLS; from: the environment variable JOBWIRE_ADDRESS)"
    assert one.stderr.splitlines() == [where]
    assert re.search(r"^rpc AdminService/GetServerInfo OK [\d.]+ ms\nrpc JobService/SubmitJob OK [\d.]+ ms$",
                     two.stderr, re.MULTILINE)  # fmt: skip
    assert re.search(r"^rpc JobService/GetJob NOT_FOUND [\d.]+ ms$", refused.stderr, re.MULTILINE)
    assert re.search(r"^rpc JobService/WatchJobs begins\nrpc JobService/WatchJobs (OK|CANCELLED) [\d.]+ ms$",
                     watched.stderr, re.MULTILINE)  # fmt: skip
