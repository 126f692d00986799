"""Waiting for many jobs, and choosing them by words: both clients and a real service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from jobwire import App, Fail, JobFilter, JobState, Submission, errors
from jobwire_server.embedded import Embedded
from tests.client.both import Actor, acting

pytestmark = pytest.mark.asyncio

app = App("shop")


@app.job("echo")
async def echo(value: Any) -> Any:
    return value


@app.job("fail")
async def fail(why: str) -> None:
    raise Fail(why)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Embedded]:
    async with Embedded(app, slots=8) as service:
        yield service


@pytest_asyncio.fixture(params=["sync", "aio"])
async def actor(request: pytest.FixtureRequest, service: Embedded) -> AsyncIterator[Actor]:
    async with acting(request.param, service.address) as actor:
        yield actor


async def submitted(actor: Actor, items: Any, **options: Any) -> list[Any]:
    results = await actor.do(lambda client: client.submit_many(items, **options))
    return [result.unwrap() for result in results]


async def test_handles_come_as_their_jobs_end_however_they_do(actor: Actor) -> None:
    later = {"delay": "1h"}
    last, bad, first = await submitted(
        actor, [Submission("echo", 1, later), ("fail", "no"), Submission("echo", 2, later)]
    )
    ended = actor.client.as_completed([last, bad, first, last], timeout="30s")

    assert await actor.next(ended) is bad
    await actor.do(lambda client: client.cancel(first.id))
    assert await actor.next(ended) is first
    await actor.do(lambda client: client.cancel(last.id))
    assert [await actor.next(ended), await actor.next(ended), await actor.next(ended)] == [last, last, None]
    assert [handle.state for handle in (bad, first, last)] == [
        JobState.FAILED, JobState.CANCELLED, JobState.CANCELLED,
    ]  # fmt: skip
    with pytest.raises(errors.JobFailed, match="no"):
        await actor.do(lambda _: bad.result())


async def test_nothing_to_wait_for_is_waited_for_at_once(actor: Actor) -> None:
    assert await actor.do(lambda client: client.as_completed([])) == []


async def test_a_job_that_is_not_there_keeps_nobody_waiting(actor: Actor) -> None:
    (there,) = await submitted(actor, [("echo", 1)])

    ended = await actor.do(lambda client: client.as_completed([client.job("nobody"), there], timeout="30s"))

    assert {handle.id for handle in ended} == {"nobody", there.id}
    with pytest.raises(errors.JobNotFound):
        await actor.do(lambda client: client.job("nobody").result())


async def test_when_the_time_is_over_the_jobs_go_on(actor: Actor) -> None:
    never, soon = await submitted(actor, [Submission("echo", 1, {"delay": "1h"}), ("echo", 2)])
    ended = actor.client.as_completed([never, soon], timeout="2s")

    assert await actor.next(ended) is soon
    with pytest.raises(errors.WaitTimeout, match=r"After 2 s not all of the 2 jobs have ended; what is open goes on\."):
        await actor.next(ended)
    assert (await actor.do(lambda _: never.status())).state is JobState.SCHEDULED


async def test_more_jobs_than_one_watch_can_name_are_found_among_all_changes(actor: Actor) -> None:
    items = (Submission("echo", n, {"delay": "300ms" if n % 2 else None}) for n in range(2500))
    handles = await submitted(actor, items, queue="many")
    await submitted(actor, [("echo", 0), ("fail", "x")])

    ended = await actor.do(lambda client: client.as_completed(handles, timeout="50s"))

    assert len(ended) == len(handles)
    assert {handle.id for handle in ended} == {handle.id for handle in handles}
    assert all(handle.state is JobState.COMPLETED for handle in ended)


async def test_map_gives_results_in_order_over_several_batches(actor: Actor) -> None:
    values = await actor.do(lambda client: client.map("echo", range(1500), wait="50s"))

    assert values == list(range(1500))


async def test_map_raises_what_became_of_a_job_when_it_is_due(actor: Actor) -> None:
    with pytest.raises(errors.JobFailed):
        await actor.do(lambda client: client.map("fail", ["no"]))
    with pytest.raises(errors.FieldInvalid):
        await actor.do(lambda client: client.map("", [1]))
    with pytest.raises(errors.WaitTimeout):
        await actor.do(lambda client: client.map("echo", [[1]], delay="1h", wait="50ms"))
    with pytest.raises(errors.ArgumentInvalid, match="key"):
        await actor.do(lambda client: client.map("echo", [1], key="k"))


async def test_jobs_are_chosen_by_conditions_or_by_words(actor: Actor) -> None:
    mail = await submitted(actor, [("fail", "smtp timeout"), ("fail", "no such user"), ("echo", 1)], queue="mail")
    await submitted(actor, [("fail", "elsewhere")], queue="other")
    assert len(await actor.do(lambda client: client.as_completed(mail, timeout="30s"))) == 3

    async def found(where: Any) -> set[str]:
        return {job.job_id for job in await actor.do(lambda client: client.jobs(where, page_size=1))}

    failed = {handle.id for handle in mail[:2]}
    assert await found(JobFilter(queues=("mail",), states=(JobState.FAILED,))) == failed
    assert await found("state:failed queue:mail age<1h") == failed
    assert await found("queue:mail error:~timeout") == {mail[0].id}, "the server cannot look for this, the client can"
    with pytest.raises(errors.ArgumentInvalid):
        await found("colour:red")


async def test_listed_jobs_can_be_steered(actor: Actor) -> None:
    failing = await submitted(actor, [("fail", str(n)) for n in range(3)], queue="mail")
    assert len(await actor.do(lambda client: client.as_completed(failing, timeout="30s"))) == 3

    handles = await actor.do(lambda client: client.handles("state:failed queue:mail", page_size=2))
    assert {handle.state for handle in handles} == {JobState.FAILED}
    for handle in handles:
        await actor.do(lambda _, handle=handle: handle.retry(delay="1h"))
        await actor.do(lambda _, handle=handle: handle.cancel())

    assert {handle.id for handle in handles} == {handle.id for handle in failing}
    assert {handle.state for handle in handles} == {JobState.CANCELLED}


async def test_a_watch_goes_by_the_same_words(actor: Actor) -> None:
    watch = actor.client.watch("queue:mail type:echo", snapshot=True)
    (wanted,) = await submitted(actor, [("echo", 1)], queue="mail")
    await submitted(actor, [("fail", "x")], queue="mail")

    event = await actor.next(watch)
    watch.close()

    assert (event.job_id, event.queue) == (wanted.id, "mail")
    with pytest.raises(errors.ArgumentInvalid, match="look for"):
        actor.client.watch("error:~timeout")
