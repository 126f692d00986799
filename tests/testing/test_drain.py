"""Running jobs in a test: through the real leases and reports, with what becomes of each."""

from __future__ import annotations

import os
import threading
from datetime import date

import pytest

from jobwire import App, Client, JobFailed, JobState, WaitTimeout
from jobwire.errors import ArgumentInvalid
from jobwire.testing import Drained, Jobwire
from tests.testing import shop


def test_a_drain_runs_what_was_submitted_and_says_so(jobwire: Jobwire, sent: list[str]) -> None:
    job = jobwire.client.submit("email.send", {"to": "ada@example.org"})

    done = jobwire.drain()

    assert done == Drained(succeeded=1)
    assert sent == ["ada@example.org"]
    assert job.result(timeout="5s") == {"to": "ada@example.org", "day": "2026-01-02"}
    (attempt,) = job.get().attempts
    assert attempt.worker_id == "jobwire-testing"


def test_typed_jobs_come_to_the_tests_own_server(jobwire: Jobwire) -> None:
    job = shop.send_email.submit("ada@example.org", html=True)
    jobwire.assert_submitted(shop.send_email, to="ada@example.org", html=True)
    jobwire.drain()
    assert job.result(timeout="5s") == shop.Receipt("ada@example.org", date(2026, 1, 2))


@pytest.mark.asyncio
async def test_typed_jobs_of_async_tests_do_too(jobwire: Jobwire) -> None:
    job = await shop.count.asubmit([1, 2])
    await jobwire.adrain()
    assert await job.result(timeout="5s") == 3


def test_async_handlers_run_too(jobwire: Jobwire, sent: list[str]) -> None:
    job = jobwire.client.submit("email.count", [1, 2, 3])
    assert jobwire.drain().succeeded == 1
    assert (job.result(timeout="5s"), sent) == (6, ["counted"])


def test_nothing_runs_before_the_test_says_so(jobwire: Jobwire, sent: list[str]) -> None:
    job = jobwire.client.submit("email.send", ["ada@example.org"])
    assert jobwire.state(job) is JobState.PENDING
    assert sent == []


def test_an_empty_drain_is_no_error(jobwire: Jobwire) -> None:
    assert jobwire.drain() == Drained()
    assert jobwire.drain().ran == 0


def test_jobs_run_one_after_the_other_in_the_order_of_a_worker(jobwire: Jobwire, sent: list[str]) -> None:
    for name, priority in (("late", 0), ("first", 9), ("then", 5)):
        jobwire.client.submit("email.send", [name], priority=priority)
    jobwire.drain()
    assert sent == ["first", "then", "late"]


def test_what_a_handler_submits_runs_in_the_same_drain(jobwire: Jobwire, sent: list[str]) -> None:
    jobwire.client.submit("order.ship", {"order": 7})

    assert jobwire.drain().succeeded == 2

    assert sent == ["ship 7", "customer-7@example.org"]


def test_a_failure_is_told_and_not_raised(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("hopeless")

    done = jobwire.drain()

    assert done.failed == done.ran == 1
    assert done.errors == (f"hopeless {job.id}, attempt 1: Fail: no such user",)
    with pytest.raises(JobFailed, match="no such user"):
        job.result(timeout="5s")


def test_each_of_the_other_ends_has_its_count(jobwire: Jobwire) -> None:
    jobs = [jobwire.client.submit(name) for name in ("flaky", "later", "enough", "twice")]

    done = jobwire.drain()

    assert (done.retried, done.snoozed, done.cancelled, done.succeeded, done.failed) == (2, 1, 1, 0, 0)
    assert [jobwire.state(job) for job in jobs] == ["RETRYING", "SCHEDULED", "CANCELLED", "RETRYING"]


def test_a_type_without_a_handler_stays_where_it_is(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("unknown.type")
    assert jobwire.drain() == Drained()
    assert jobwire.state(job) is JobState.PENDING


def test_handlers_of_another_app_can_be_given_to_one_drain(jobwire: Jobwire) -> None:
    other = App("other")
    ran = threading.Event()
    other.job("unknown.type")(ran.set)
    jobwire.client.submit("unknown.type")

    assert jobwire.drain(other).succeeded == 1
    assert ran.is_set()


def test_a_drain_without_any_handler_is_refused(jobwire_engine: object) -> None:
    from jobwire.testing import running  # noqa: PLC0415 - not for the others

    with running(engine=jobwire_engine) as kit, pytest.raises(ArgumentInvalid, match="no handlers"):  # type: ignore[arg-type]
        kit.drain()


def test_two_apps_with_one_type_are_refused(jobwire: Jobwire) -> None:
    other = App("other")
    other.job("flaky")(lambda: None)
    with pytest.raises(ValueError, match="Two apps have a handler for flaky"):
        jobwire.use(other)


def test_a_handler_that_waits_for_its_own_job_needs_a_second_slot(jobwire: Jobwire) -> None:
    app = App("nested")

    @app.job("outer")
    def outer() -> int:
        with Client() as client:
            return int(client.submit("inner").result(timeout="20s"))

    @app.job("inner")
    def inner() -> int:
        return 42

    job = jobwire.client.submit("outer")
    assert jobwire.drain(app, slots=2).succeeded == 2
    assert job.result(timeout="5s") == 42


def test_a_drain_that_does_not_end_names_what_runs_and_gives_it_back(jobwire: Jobwire) -> None:
    app, opened = App("stuck"), threading.Event()

    @app.job("stuck")
    def stuck() -> None:
        opened.wait(20)

    job = jobwire.client.submit("stuck")
    try:
        with pytest.raises(WaitTimeout, match=f"while these ran: stuck {job.id}"):
            jobwire.drain(app, timeout="100ms")
    finally:
        opened.set()


def test_a_handler_may_have_a_process_of_its_own(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("which.process")
    assert jobwire.drain().succeeded == 1
    assert job.result(timeout="5s") != os.getpid()


def test_a_job_that_is_cancelled_while_it_runs_is_told_so(jobwire: Jobwire) -> None:
    app = App("slow")
    job = jobwire.client.submit("wait.for.cancel")

    @app.job("wait.for.cancel")
    def wait_for_cancel(ctx: object) -> None:
        from jobwire.worker.context import current_job  # noqa: PLC0415 - as a helper deep down would

        jobwire.client.cancel(job.id, reason="enough")
        while True:
            current_job().check()

    assert jobwire.drain(app).cancelled == 1
    assert jobwire.state(job) is JobState.CANCELLED


def test_a_thread_of_a_drain_does_not_outlive_it(jobwire: Jobwire) -> None:
    before = set(threading.enumerate())
    jobwire.client.submit("email.count", [1])
    jobwire.client.submit("email.send", ["a"])
    jobwire.drain()
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    assert [name for name in names if name.startswith("jobwire")] == []
