"""Time on the server of a test: it stands still, until the test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobwire import Client, JobState, NotFound, RetryPolicy
from jobwire.errors import JobExpired
from jobwire.testing import Jobwire
from jobwire.v1 import worker_service_pb2 as pb
from jobwire.v1.worker_service_pb2_grpc import WorkerServiceStub


def test_a_backoff_ends_when_the_clock_has_passed_it(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("flaky")
    jobwire.drain()
    assert (jobwire.state(job), jobwire.drain().ran) == (JobState.RETRYING, 0)

    jobwire.advance("10m")
    assert jobwire.drain().retried == 1
    jobwire.advance("10m")
    jobwire.drain()

    assert (jobwire.state(job), job.result(timeout="5s")) == (JobState.COMPLETED, 3)


def test_a_delay_is_kept_to_the_second(jobwire: Jobwire, sent: list[str]) -> None:
    job = jobwire.client.submit("email.send", ["ada"], delay="10m")

    jobwire.advance("9m50s")
    assert (jobwire.drain().ran, jobwire.state(job)) == (0, JobState.SCHEDULED)
    jobwire.advance("10s")

    assert (jobwire.drain().succeeded, sent) == (1, ["ada"])


def test_a_delay_counts_from_the_servers_now_also_after_time_has_passed(jobwire: Jobwire) -> None:
    jobwire.advance("30d")
    with Client() as client:  # by JOBWIRE_ADDRESS, as the application's own would be
        job = client.submit("email.send", ["ada"], delay="10m")
        many = client.submit_many([("email.send", ["eve"])], delay="10m")

    jobwire.advance("9m50s")
    assert jobwire.state(job) is jobwire.state(many[0].unwrap()) is JobState.SCHEDULED
    jobwire.advance("10s")

    assert jobwire.drain().succeeded == 2


def test_a_follow_up_with_a_delay_counts_from_the_servers_now_too(jobwire: Jobwire) -> None:
    from jobwire import App, JobContext  # noqa: PLC0415 - for this story only

    app = App("chain")

    @app.job("first")
    def first(ctx: JobContext) -> None:
        ctx.follow_up("email.send", ["ada"], delay="1h")

    jobwire.advance("30d")
    jobwire.client.submit("first")
    assert jobwire.drain(app).ran == 1

    jobwire.advance("59m50s")
    assert jobwire.drain().ran == 0
    jobwire.advance("10s")
    assert jobwire.drain().ran == 1


def test_a_snooze_ends(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("later")
    assert jobwire.drain().snoozed == 1
    jobwire.advance("1h")
    assert jobwire.drain().succeeded == 1
    assert (job.result(timeout="5s"), job.get().status.attempt) == ("done", 1)


def test_an_unfinished_job_expires(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("email.send", ["ada"], expires="5m")
    jobwire.advance("5m")
    with pytest.raises(JobExpired):
        job.result(timeout="5s")
    assert jobwire.drain().ran == 0


def test_a_lease_that_nobody_keeps_is_lost_and_the_job_comes_back(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("email.send", ["ada"], retry=RetryPolicy(initial_backoff=timedelta(seconds=1)))
    pull(jobwire, "a worker that dies")
    assert jobwire.state(job) is JobState.PROCESSING

    jobwire.advance("20s")
    assert jobwire.state(job) is JobState.PROCESSING
    jobwire.advance("1m")

    assert jobwire.state(job) is JobState.PENDING
    assert jobwire.drain().succeeded == 1
    assert job.get().status.attempt == 2


def test_an_ended_job_is_gone_when_its_retention_is_over(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("email.send", ["ada"], retention="7d")
    jobwire.drain()
    jobwire.advance("6d23h")
    assert jobwire.state(job) is JobState.COMPLETED
    jobwire.advance("1h")
    with pytest.raises(NotFound):
        job.get()


def test_the_servers_time_is_what_jobs_are_stamped_with(jobwire: Jobwire) -> None:
    before = jobwire.now
    assert abs(before - datetime.now(UTC)) < timedelta(minutes=5)

    after = jobwire.advance(timedelta(days=1))
    job = jobwire.client.submit("email.send", ["ada"])

    assert after == jobwire.now == before + timedelta(days=1)
    assert job.get().create_time == after


def test_a_long_poll_still_waits_in_real_time(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("email.send", ["ada"])
    with pytest.raises(TimeoutError):
        job.result(timeout="50ms")


def pull(jobwire: Jobwire, worker_id: str) -> None:
    """Lease a job and forget it."""
    import grpc  # noqa: PLC0415 - only here

    with grpc.insecure_channel(jobwire.address) as channel:
        request = pb.PullJobsRequest(worker_id=worker_id, queues=[pb.QueueSubscription(queue="*")])
        assert len(WorkerServiceStub(channel).PullJobs(request).assignments) == 1
