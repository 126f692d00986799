"""Faults on the wire: what an application sees when the network or the server lets it down."""

from __future__ import annotations

import pytest

from jobwire import AsyncClient, Client, JobState, Unavailable
from jobwire.testing import Jobwire


def test_a_lost_reply_never_makes_a_second_job(jobwire: Jobwire) -> None:
    jobwire.lost_reply(2)
    job = jobwire.client.submit("email.send", ["ada"])
    assert (job.created, len(jobwire.submitted("email.send"))) == (False, 1)


def test_a_lost_reply_to_a_delayed_job_is_settled_by_its_key_too(jobwire: Jobwire) -> None:
    jobwire.advance("1h")
    jobwire.lost_reply()
    jobwire.client.submit("email.send", ["ada"], delay="10m")
    assert len(jobwire.submitted("email.send")) == 1


def test_without_tries_left_the_caller_is_told_and_the_job_is_there(jobwire: Jobwire) -> None:
    with Client(tries=1) as client:
        jobwire.lost_reply()
        with pytest.raises(Unavailable):
            client.submit("email.send", ["ada"])
    jobwire.assert_submitted("email.send", to="ada")


def test_a_server_that_is_away_is_tried_again(jobwire: Jobwire) -> None:
    jobwire.unavailable(2)
    job = jobwire.client.submit("email.send", ["ada"])
    assert job.created
    with Client(tries=1) as client:
        jobwire.unavailable()
        with pytest.raises(Unavailable):
            client.submit("email.send", ["eve"])
    jobwire.refute_submitted("email.send", to="eve")


def test_a_slow_call_ends_at_its_deadline(jobwire: Jobwire) -> None:
    jobwire.slow("2s")
    with pytest.raises(TimeoutError):
        jobwire.client.server_info(deadline="50ms")


def test_a_fault_happens_to_the_calls_it_names_and_no_other(jobwire: Jobwire) -> None:
    jobwire.unavailable(1, "GetJob")
    job = jobwire.client.submit("email.send", ["ada"])
    assert jobwire.faults_left() == ["unavailable (1 of 1 calls to come)"]
    assert job.get().state is JobState.PENDING
    assert jobwire.faults_left() == []


def test_a_worker_is_told_when_its_report_is_lost_and_reports_again(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("email.send", ["ada"])
    jobwire.lost_reply(1, "ReportOutcomes")
    jobwire.drain()
    assert (jobwire.state(job), len(job.get().attempts)) == (JobState.COMPLETED, 1)


@pytest.mark.asyncio
async def test_a_watch_that_cannot_be_opened_is_opened_again(jobwire: Jobwire) -> None:
    async with AsyncClient() as client:
        job = await client.submit("email.send", ["ada"])
        jobwire.unavailable(1, "WatchJob")
        watch = job.watch()
        states = [(await anext(watch)).state]
        await jobwire.adrain()
        states += [update.state async for update in watch]
    assert (states[0], states[-1]) == (JobState.PENDING, JobState.COMPLETED)
