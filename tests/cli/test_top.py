"""`jobwire top`: what it counts, what it says where it does not know, and how it behaves on a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobwire.cli import overview
from jobwire.cli.overview import Snapshot, counted, screen_lines
from jobwire.v1 import admin_service_pb2, job_pb2
from tests.cli.conftest import Jobwire
from tests.cli.scripted import ScriptedServer, Service
from tests.cli.terminal import Terminal, without_escapes

PROGRAM = Path(sys.executable).with_name("jobwire")
NOW = 1_800_000_000.0


def job(queue: str, state: str, *, age: int) -> job_pb2.Job:
    made = job_pb2.Job(job_id=f"{queue}-{age}", spec=job_pb2.JobSpec(queue=queue, type="t"))
    made.status.state = job_pb2.JobState.Value(f"JOB_STATE_{state}")
    made.status.max_attempts = 20
    made.create_time.seconds = int(NOW) - age
    return made


def snapshot(*jobs: job_pb2.Job, is_cut: bool = False, workers: int = 1) -> Snapshot:
    made = []
    for number in range(workers):
        worker = admin_service_pb2.Worker(worker_id=f"w-{number}", instance_id="i", max_in_flight=10, in_flight=8,
                                          connected=True, types=["t"])  # fmt: skip
        worker.last_seen_time.seconds = int(NOW) - 1
        made.append(worker)
    return Snapshot(
        version="0.1.0", store="sqlite", now=NOW, up_seconds=3600.0, revision=900, revisions_a_second=12.4,
        queues=counted(jobs, now=NOW), is_cut=is_cut, failed=28, failed_is_cut=False, workers=tuple(made),
        oldest=tuple(sorted(jobs, key=lambda each: each.create_time.seconds)[:2]),
    )  # fmt: skip


def drawn(shown: Snapshot, *, width: int | None = None) -> str:
    return "\n".join(screen_lines(shown, width=width, coloured=False))


def test_the_screen_in_full() -> None:
    jobs = [job("mail", "PENDING", age=372), job("mail", "PENDING", age=2), job("mail", "PROCESSING", age=9),
            job("default", "RETRYING", age=60)]  # fmt: skip

    assert (
        drawn(snapshot(*jobs))
        == """\
jobwire 0.1.0 · sqlite · up 1h00m · revision 900 (+12/s) · 08:00:00Z
open 4 · 2 pending · 1 processing · 1 retrying · 28 submitted in the last hour failed

QUEUE    PENDING  PROCESSING  SCHEDULED  RETRYING  BLOCKED  OLDEST PENDING
default  0        0           0          1         0        -
mail     2        1           0          0         0        6m12s

STATE        WORKER  JOBS             SEEN   TYPES
● connected  w-0     ████████░░ 8/10  1.00s  t

OLDEST OPEN  ID          TYPE  QUEUE    ATTEMPT  AGE
○ pending    mail-372    t     mail     0/20     6m12s
↻ retrying   default-60  t     default  0/20     1m00s"""
    )


def test_numbers_that_are_lower_bounds_say_so() -> None:
    shown = drawn(snapshot(job("mail", "PENDING", age=372), is_cut=True))

    assert "open 1+ · 1+ pending" in shown
    assert ">6m12s" in shown


def test_an_empty_service_says_so() -> None:
    shown = drawn(snapshot(workers=0))

    assert "no open jobs" in shown
    assert "no workers" in shown


def test_more_workers_than_fit_are_counted() -> None:
    assert "and 15 more workers: jobwire worker list --all" in drawn(snapshot(workers=25))


def test_lines_are_cut_to_the_terminal() -> None:
    jobs = [job("a-queue-with-a-rather-long-name-that-goes-on-and-on", "PENDING", age=5)]

    assert all(len(line) <= 60 for line in drawn(snapshot(*jobs), width=60).splitlines()[3:])


def test_in_a_pipe_it_looks_once(jobwire: Jobwire, service: Service) -> None:
    jobwire("submit later --queue mail -q")
    jobwire("submit later --queue web -q")

    ran = jobwire("top")

    assert ran.exit_code == 0
    assert ran.stdout.startswith("jobwire 9.9.9 · sqlite")
    assert "open 2 · 2 pending" in ran.stdout
    assert "app-1-3f2a" in ran.stdout
    assert sum(rpc == "GetServerInfo" for rpc, _ in service.calls[-10:]) == 1


def test_one_queue_can_be_looked_at_alone(jobwire: Jobwire) -> None:
    jobwire("submit later --queue mail -q")
    jobwire("submit later --queue web -q")

    document = json.loads(jobwire("top --queue web -o json").stdout)

    assert [queue["queue"] for queue in document["queues"]] == ["web"]
    assert document["queues"][0]["states"]["JOB_STATE_PENDING"] == 1
    assert [job["spec"]["queue"] for job in document["oldest"]] == ["web"]


def test_a_look_reads_so_many_jobs_and_no_more(
    jobwire: Jobwire, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "_MOST_JOBS", 3)
    monkeypatch.setattr(overview, "_MOST_FAILED", 2)
    for job_type in ("later", "fail"):
        for _ in range(6):
            jobwire(f"submit {job_type} -q")

    document = json.loads(jobwire("top -o json").stdout)

    assert (document["is_cut"], document["queues"][0]["states"]["JOB_STATE_PENDING"]) == (True, 3)
    assert (document["failed_is_cut"], document["failed_within_1h"]) == (True, 2)
    assert "open 3+ · 3+ pending · 2+ submitted in the last hour failed" in jobwire("top").stdout


def test_an_interval_below_the_bound_is_refused(jobwire: Jobwire) -> None:
    assert jobwire("top -i 10ms").exit_code == 2


def test_jsonl_goes_on_until_interrupted(server: ScriptedServer) -> None:
    environ = {**os.environ, "JOBWIRE_ADDRESS": server.address}
    with subprocess.Popen([PROGRAM, "top", "-o", "jsonl", "-i", "200ms"], env=environ, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as running:  # fmt: skip
        assert running.stdout is not None
        looks = [json.loads(running.stdout.readline()) for _ in range(3)]
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)

    assert running.returncode == 130
    assert looks[0]["server"]["revisions_a_second"] is None
    assert looks[2]["server"]["revisions_a_second"] == 0.0


def test_a_terminal_shows_the_other_screen_and_keeps_the_last_look(server: ScriptedServer, jobwire: Jobwire) -> None:
    jobwire("submit later --queue mail -q")
    environ = {**os.environ, "JOBWIRE_ADDRESS": server.address, "TERM": "xterm-256color"}

    exit_code, shown = Terminal().run([PROGRAM, "top", "-i", "200ms"], environ, interrupt_at="OLDEST OPEN")

    assert exit_code == 0
    assert "\x1b[?1049h" in shown
    assert "\x1b[?1049l" in shown
    assert "mail" in without_escapes(shown.rpartition("\x1b[?1049l")[2])


def test_once_on_a_terminal_stays_on_its_screen(server: ScriptedServer) -> None:
    environ = {**os.environ, "JOBWIRE_ADDRESS": server.address, "TERM": "xterm-256color"}

    exit_code, shown = Terminal().run([PROGRAM, "top", "--once"], environ)

    assert exit_code == 0
    assert "\x1b[?1049h" not in shown
