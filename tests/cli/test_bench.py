"""`jobwire bench`: arithmetic, pacing, and a run of each kind against a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire.cli.load import Report, Tally, Tickets, percentile, run_clients
from jobwire.errors import QueueFull
from tests.cli.conftest import Jobwire
from tests.cli.scripted import Refusal, Service
from tests.cli.test_real_server import RealServer


class SteppedClock:
    """Time that moves only when somebody waits."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def wait(self, woken: threading.Event, seconds: float) -> None:
        self.time += seconds


def tickets(
    clock: SteppedClock, *, count: int | None = None, seconds: float | None = None, rate: float | None = None
) -> Tickets:
    return Tickets(clock, count=count, seconds=seconds, rate=rate)  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_a_value_that_enough_of_the_others_do_not_exceed(values: list[float], percent: float) -> None:
    ordered = sorted(values)

    found = percentile(ordered, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100
    assert sum(value < found for value in values) < max(len(values) * percent / 100, 1)


def test_tickets_end_by_count_and_by_time() -> None:
    clock = SteppedClock()

    assert list(iter(tickets(clock, count=3).take, False)) == [True] * 3
    timed = tickets(clock, seconds=2.0)
    assert timed.take()
    clock.time += 2.0
    assert not timed.take()


def test_a_rate_spaces_calls_from_the_start_and_not_from_one_another() -> None:
    clock = SteppedClock()
    paced = tickets(clock, count=5, rate=10.0)
    due = []

    for _ in range(5):
        assert paced.take()
        due.append(round(clock.time, 3))
        clock.time += 0.05  # the call itself takes half of what lies between two

    assert due == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_a_server_that_falls_behind_is_not_given_a_rest() -> None:
    clock = SteppedClock()
    paced = tickets(clock, count=3, rate=10.0)

    assert paced.take()
    clock.time += 1.0
    assert paced.take()
    assert paced.take()

    assert clock.time == 1.0


def test_no_ticket_is_due_after_the_end() -> None:
    clock = SteppedClock()
    paced = tickets(clock, seconds=1.0, rate=4.0)

    assert [paced.take() for _ in range(6)] == [True] * 4 + [False] * 2


def test_calls_that_fail_are_counted_by_code_and_do_not_end_it() -> None:
    tally = Tally()
    calls = iter(range(10))

    def one(client: int) -> float:
        if next(calls) % 2:
            raise QueueFull("full")
        return 0.001

    run_clients(1, tickets(SteppedClock(), count=10), tally, one)

    assert (len(tally.seconds), dict(tally.errors)) == (5, {"QUEUE_FULL": 5})


def test_a_bug_in_a_client_ends_all_and_is_raised() -> None:
    def one(client: int) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_clients(4, tickets(SteppedClock()), Tally(), one)


def test_a_report_without_a_good_call_has_no_latency() -> None:
    document = Report(bench="submit", what="SubmitJob", facts={}, seconds=0.0, tally=Tally()).as_document()

    assert (document["count"], document["per_second"], document["latency_ms"]) == (0, 0.0, None)


def test_when_no_call_succeeds_the_exit_code_says_so(jobwire: Jobwire, service: Service) -> None:
    service.refusals["SubmitJob"] = Refusal("RESOURCE_EXHAUSTED", "QUEUE_FULL", "The service is full.")

    ran = jobwire("bench submit --count 4 --clients 2 -o json")

    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["errors"] == {"QUEUE_FULL": 4}
    assert json.loads(ran.stderr)["error"]["code"] == "BENCH_FAILED"


def test_a_server_that_is_not_there_is_told_at_once(jobwire: Jobwire) -> None:
    ran = jobwire("-a 127.0.0.1:1 bench submit")

    assert (ran.exit_code, ran.stdout) == (9, "")


def test_two_ends_are_refused(jobwire: Jobwire) -> None:
    assert jobwire("bench submit --count 1 --duration 1s").exit_code == 2


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    folder: Path = tmp_path_factory.mktemp("bench")
    server = RealServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["submit", "watch", "e2e"])
def test_each_kind_measures_a_real_server_and_leaves_nothing_waiting(real_server: RealServer, kind: str) -> None:
    done = real_server.jobwire("bench", kind, "--count", "40", "--clients", "4", "--size", "2K", "-o", "json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["bench"], report["count"], report["errors"], report["size_bytes"]) == (kind, 40, {}, 2048)
    latency = report["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    left = real_server.jobwire("job", "list", "-f", "type:jobwire.bench state:pending,processing,retrying", "-o", "id")
    assert left.stdout == ""
