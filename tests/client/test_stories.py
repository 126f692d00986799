"""Both clients on a real server: what users see, from the submit to the result."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from jobwire import App, JobContext, RetryPolicy, errors
from jobwire.models import JobFilter, JobState
from jobwire.testing import Jobwire
from tests.client.both import Actor, acting

pytestmark = pytest.mark.asyncio

app = App("stories")


@app.job("echo")
def echo(value: object) -> object:
    return value


@app.job("fail")
def fail(message: str) -> None:
    raise ValueError(message)


@app.job("flaky")
def flaky(ctx: JobContext) -> int:
    if ctx.attempt == 1:
        raise ConnectionError("nobody there")
    return ctx.attempt


@pytest.fixture
def jobwire_app() -> App:
    return app


@pytest_asyncio.fixture(params=["sync", "aio"])
async def actor(request: pytest.FixtureRequest, jobwire: Jobwire) -> AsyncIterator[Actor]:
    async with acting(request.param, jobwire.address, chance=0.2) as actor:
        yield actor


async def test_the_first_story(jobwire: Jobwire, actor: Actor) -> None:
    handle = await actor.do(lambda client: client.submit("echo", {"name": "Ada"}, key="first", labels={"of": "ada"}))
    await jobwire.adrain()

    assert await actor.do(lambda _: handle.result(timeout="20s")) == {"name": "Ada"}
    job = await actor.do(lambda _: handle.get())
    assert (job.state, job.spec.type, job.spec.labels, job.attempts[0].number) == (
        JobState.COMPLETED, "echo", {"of": "ada"}, 1,
    )  # fmt: skip
    again = await actor.do(lambda client: client.submit("echo", {"name": "Ada"}, key="first", labels={"of": "ada"}))
    assert (again.id, again.created) == (handle.id, False)
    with pytest.raises(errors.RequestIdReused):
        await actor.do(lambda client: client.submit("echo", {"name": "Eve"}, key="first"))
    with pytest.raises(errors.JobTerminal):
        await actor.do(lambda _: handle.cancel())
    found = await actor.do(lambda client: client.jobs(JobFilter(labels={"of": "ada"}, states=(JobState.COMPLETED,))))
    assert [job.job_id for job in found] == [handle.id]
    await actor.do(lambda _: handle.delete())
    assert await actor.do(lambda client: client.get_many([handle.id])) == [None]


async def test_failures_and_bad_input_are_typed(jobwire: Jobwire, actor: Actor) -> None:
    handle = await actor.do(lambda client: client.submit("fail", "out of tea", max_attempts=1))
    await jobwire.adrain()
    with pytest.raises(errors.JobFailed, match="out of tea") as failed:
        await actor.do(lambda _: handle.result(timeout="20s"))
    assert failed.value.attempts == 1

    with pytest.raises(errors.FieldInvalid) as invalid:
        await actor.do(lambda client: client.submit("t", queue="Not A Queue"))
    assert [violation.field for violation in invalid.value.violations] == ["spec.queue"]
    with pytest.raises(errors.PayloadTooLarge) as too_large:
        await actor.do(lambda client: client.submit("t", b"x" * (2**20 + 1)))
    assert "limit" in too_large.value.facts

    results = await actor.do(lambda client: client.submit_many([("echo", 1), ("", 2), ("echo", 3)]))
    assert [type(result.error) for result in results] == [type(None), errors.FieldInvalid, type(None)]


async def test_a_job_that_waits_is_cancelled_at_once_and_can_be_run_again(jobwire: Jobwire, actor: Actor) -> None:
    handle = await actor.do(lambda client: client.submit("echo", "again"))
    assert (await actor.do(lambda _: handle.cancel(reason="enough"))).state is JobState.CANCELLED
    with pytest.raises(errors.JobCancelled):
        await actor.do(lambda _: handle.result(timeout="30s"))

    await actor.do(lambda _: handle.retry())
    await jobwire.adrain()

    assert await actor.do(lambda _: handle.result(timeout="20s")) == "again"


async def test_a_retry_waits_for_its_time(jobwire: Jobwire, actor: Actor) -> None:
    policy = RetryPolicy(jitter=0.0)
    handle = await actor.do(lambda client: client.submit("flaky", retry=policy))
    assert (await jobwire.adrain()).retried == 1
    status = await actor.do(lambda _: handle.status())
    assert (status.state, status.next_attempt_time - jobwire.now) == (JobState.RETRYING, timedelta(seconds=2))

    await jobwire.aadvance("1s")
    assert (await jobwire.adrain()).ran == 0
    await jobwire.aadvance("1s")
    assert (await jobwire.adrain()).succeeded == 1

    assert await actor.do(lambda _: handle.result(timeout="20s")) == 2


async def test_a_reply_that_is_lost_is_settled_by_the_key(jobwire: Jobwire, actor: Actor) -> None:
    jobwire.lost_reply(2)
    handle = await actor.do(lambda client: client.submit("echo", "once"))
    assert not handle.created
    assert [job.job_id for job in await actor.do(lambda client: client.jobs())] == [handle.id]
