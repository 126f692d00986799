"""An operator's day against a real server: find out why jobs fail, retry them by filter, go on through a crash."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_real_server import PROGRAM, ROOT, RealServer

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealServer]:
    server = RealServer(tmp_path)
    server.start()
    yield server
    server.stop()


def lines_of(count: int, **fields: object) -> str:
    return "".join(json.dumps(fields) + "\n" for _ in range(count))


def test_why_jobs_failed_is_found_and_they_are_retried_by_filter(server: RealServer) -> None:
    failing = lines_of(12, type="fail", payload={"times": 1}, queue="mail", max_attempts=1, labels={"customer": "42"})
    others = lines_of(2, type="fail", payload={"times": 1}, queue="other", max_attempts=1)
    ids = server.jobwire("submit", "--from-jsonl", "-", "-o", "id", "-q", stdin=failing).stdout.split()
    rest = server.jobwire("submit", "--from-jsonl", "-", "-o", "id", "-q", stdin=others).stdout.split()
    server.jobwire("wait", *ids, *rest, "--for", "terminal")

    listed = server.jobwire("job", "list", "-f", "state:failed queue:mail label.customer:42 age<1h", "-o", "id")
    story = server.jobwire("job", "describe", ids[0]).stdout
    preview = server.jobwire("job", "retry", "-f", "state:failed queue:mail", "--dry-run", "-o", "json")
    retried = server.jobwire("job", "retry", "-f", "state:failed queue:mail", "--yes")
    ended = server.jobwire("wait", *ids)

    assert sorted(listed.stdout.split()) == sorted(ids)
    assert "✕ failed after" in story
    assert "its attempts are used up" in story
    assert json.loads(preview.stdout)["count"] == 12
    assert (retried.returncode, retried.stdout) == (0, "12 retried\n")
    assert ended.returncode == 0, ended.stderr  # the second attempt of each succeeds
    assert server.jobwire("job", "list", "-f", "state:failed", "-o", "id").stdout.split() == rest[::-1]


def test_conditions_of_the_server_and_of_the_reader_agree_about_the_same_jobs(server: RealServer) -> None:
    for queue, count in (("mail", 3), ("bulk", 4)):
        waiting = lines_of(count, type="nobody", queue=queue, labels={"n": queue})
        server.jobwire("submit", "--from-jsonl", "-", "-q", stdin=waiting)

    def found(text: str) -> list[str]:
        return server.jobwire("job", "list", "--all", "-f", text, "-o", "id").stdout.split()

    assert len(found("")) == 7
    assert found("queue:mail") == found("queue:~MAIL") == found("queue:mai*") == found("-queue:bulk")
    assert found("label.n:bulk") == found("label.n:~ulk") == found("-label.n:mail") == found("label.n:bulk,nothing")
    assert found("state:pending") == found("-state:failed") == found("attempt:0") == found("age<1h")
    assert found("state:failed") == found("age>1h") == found("run>0s") == []


def test_a_sweep_goes_on_through_a_crash_of_the_server(server: RealServer) -> None:
    count = 400
    server.jobwire("submit", "--from-jsonl", "-", "-q", "-o", "none", stdin=lines_of(count, type="nobody", queue="q"))

    sweep = subprocess.Popen(
        [PROGRAM, "job", "cancel", "-f", "queue:q", "--yes", "-o", "id"], cwd=ROOT, env=server.environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert sweep.stdout is not None
    first = [sweep.stdout.readline().strip() for _ in range(20)]
    server.stop(signal.SIGKILL)
    server.start()
    said, complaints = sweep.communicate(timeout=60)

    # It waits for the server as long as a call may take. Should that not be enough, the same command goes on.
    assert sweep.returncode in {0, 9}, complaints
    again = server.jobwire("job", "cancel", "-f", "queue:q", "--yes")
    assert again.returncode == 0, again.stderr
    cancelled = server.jobwire("job", "list", "--all", "-f", "queue:q state:cancelled", "-o", "id").stdout.split()
    assert len(cancelled) == count
    assert {*first, *said.split()} <= set(cancelled)


def test_a_watch_with_a_filter_hears_of_its_jobs_and_no_others(server: RealServer) -> None:
    for queue in ("mail", "other"):
        failing = lines_of(2, type="fail", payload={"times": 1}, queue=queue, max_attempts=1)
        ids = server.jobwire("submit", "--from-jsonl", "-", "-o", "id", "-q", stdin=failing).stdout.split()
        server.jobwire("wait", *ids, "--for", "terminal")

    watched = server.jobwire("watch", "-f", "queue:mail state:failed", "--since", "0", "--timeout", "2s", "-o", "jsonl")

    events = [json.loads(line) for line in watched.stdout.splitlines()]
    assert watched.returncode == 5  # --timeout is how this watch ends
    assert [(event["queue"], event["status"]["state"]) for event in events] == [("mail", "JOB_STATE_FAILED")] * 2
