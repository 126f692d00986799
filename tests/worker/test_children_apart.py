"""When a child process is replaced or killed for its memory, and which jobs run in one although they need not."""

from __future__ import annotations

import os
import sys

import pytest

from jobwire.app import App
from jobwire.worker.runtime import RuntimeSettings
from jobwire.worker.transport import Failure
from tests.worker.child_jobs import app
from tests.worker.support import working
from tests.worker.test_processes import APP, children, decoded, text

pytestmark = [pytest.mark.asyncio, pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")]

MEBIBYTE = 1 << 20


async def test_a_child_runs_so_many_jobs_and_no_more() -> None:
    async with children(slots=1, settings=RuntimeSettings(max_jobs_per_child=3)) as worker:
        pids = [decoded(await worker.server.outcome(worker.server.offer("pid"))) for _ in range(8)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 2]


async def test_a_child_that_grows_beyond_its_memory_is_killed_and_its_lease_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with children(slots=1, settings=RuntimeSettings(memory_bytes_per_child=200 * MEBIBYTE)) as worker:
        greedy = worker.server.offer("grow", text([300, 60]))
        await worker.server.until(lambda: worker.server.abandoned == [greedy])
        assert greedy not in worker.server.outcomes
        assert "more than its limit" in caplog.text
        assert decoded(await worker.server.outcome(worker.server.offer("add", text([1, 2])))) == 3


async def test_a_child_that_has_grown_near_its_memory_is_replaced_between_two_jobs() -> None:
    async with children(slots=1, settings=RuntimeSettings(memory_bytes_per_child=200 * MEBIBYTE)) as worker:
        first = decoded(await worker.server.outcome(worker.server.offer("grow", text([1, 0]))))
        assert decoded(await worker.server.outcome(worker.server.offer("pid"))) == first
        assert decoded(await worker.server.outcome(worker.server.offer("grow", text([150, 0])))) == first
        assert decoded(await worker.server.outcome(worker.server.offer("pid"))) != first
        assert worker.server.abandoned == []


@pytest.mark.parametrize("settings", [{"max_jobs_per_child": 0}, {"max_jobs_per_child": -1}])
async def test_bounds_that_nothing_could_keep_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 job"):
        RuntimeSettings(**settings)


async def test_a_memory_bound_is_refused_where_nobody_could_watch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobwire.worker.runtime.can_tell", lambda: False)
    with pytest.raises(ValueError, match="needs /proc"):
        RuntimeSettings(memory_bytes_per_child=MEBIBYTE)


@pytest.mark.parametrize("kind", ["pid.async", "pid.thread"])
async def test_a_job_whose_last_lease_was_lost_runs_in_a_process_of_its_own(kind: str) -> None:
    async with children() as worker:
        assert decoded(await worker.server.outcome(worker.server.offer(kind))) == os.getpid()
        suspect = worker.server.offer(kind, lost_leases=1)
        assert decoded(await worker.server.outcome(suspect)) != os.getpid()


async def test_a_job_that_kills_its_process_takes_nobody_with_it_the_second_time() -> None:
    async with children(slots=3) as worker:
        poison = worker.server.offer("exit.async", lost_leases=1)
        others = worker.server.offer_many("pid.async", 10)
        await worker.server.until(lambda: worker.server.abandoned == [poison])
        assert {decoded(await worker.server.outcome(token)) for token in others} == {os.getpid()}


async def test_without_an_app_for_children_a_suspect_runs_where_it_always_did() -> None:
    async with working(_without_processes()) as worker:
        assert decoded(await worker.server.outcome(worker.server.offer("pid.async", lost_leases=2))) == os.getpid()


async def test_a_suspect_that_the_childs_app_does_not_know_runs_where_it_always_did() -> None:
    known_here = App("here")

    @known_here.job("only.here", timeout="1h")
    async def only_here() -> int:
        return os.getpid()

    async with working(known_here, app_path=APP, slots=1) as worker:
        for _ in range(2):
            assert decoded(await worker.server.outcome(worker.server.offer("only.here", lost_leases=1))) == os.getpid()


async def test_a_handler_for_processes_that_the_childs_app_does_not_know_is_a_failure() -> None:
    known_here = App("here")
    known_here.job("only.here", runner="process")(print)
    async with working(known_here, app_path=APP, slots=1) as worker:
        outcome = await worker.server.outcome(worker.server.offer("only.here"))
        assert isinstance(outcome, Failure)
        assert outcome.error_type == "UNKNOWN_TYPE"


def _without_processes() -> App:
    plain = App("plain")
    plain.job("pid.async")(app.handlers["pid.async"].function)
    return plain
