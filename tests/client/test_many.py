"""Many jobs at once, with both clients and a real server on a Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from jobwire import errors
from jobwire._requests import MAX_BATCH_BYTES, Submission
from jobwire.models import JobState
from tests.client.both import Actor, acting
from tests.helpers.scripted_servicer import Refusal, ScriptedServer

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(params=["sync", "aio"])
async def actor(request: pytest.FixtureRequest, server: ScriptedServer) -> AsyncIterator[Actor]:
    async with acting(request.param, server.address) as actor:
        yield actor


async def test_batches_have_a_thousand_jobs_and_every_job_its_own_key(server: ScriptedServer, actor: Actor) -> None:
    results = await actor.do(lambda client: client.submit_many((("t", n) for n in range(2001)), queue="mail"))

    batches = server.servicer.requests("BatchSubmitJobs")
    assert [len(batch.requests) for batch in batches] == [1000, 1000, 1]
    assert all(batch.independent and not batch.request_id and not batch.batch_id for batch in batches)
    elements = [element for batch in batches for element in batch.requests]
    assert len({element.request_id for element in elements}) == 2001
    assert [element.spec.payload.text for element in elements] == [str(n) for n in range(2001)]
    assert {element.spec.queue for element in elements} == {"mail"}
    assert [result.handle.id for result in results] == [f"job-{n + 1}" for n in range(2001)]
    assert all(result.created and result.handle.state is JobState.PENDING for result in results)


async def test_batches_stay_below_the_message_limit(server: ScriptedServer, actor: Actor) -> None:
    results = await actor.do(lambda client: client.submit_many(("t", b"x" * 900_000) for _ in range(9)))

    batches = server.servicer.requests("BatchSubmitJobs")
    assert [len(batch.requests) for batch in batches] == [4, 4, 1]
    assert all(batch.ByteSize() <= MAX_BATCH_BYTES for batch in batches)
    assert len({result.unwrap().id for result in results}) == 9


async def test_a_refused_job_is_the_result_of_that_job_only(server: ScriptedServer, actor: Actor) -> None:
    items = [("t", 1), ("refuse me", 2), ("t", object()), ("t", 4), ("t", b"x" * 5_000_000)]

    results = await actor.do(lambda client: client.submit_many(items))

    assert [type(result.error) for result in results] == [
        type(None), errors.FieldInvalid, errors.NotEncodable, type(None), errors.PayloadTooLarge,
    ]  # fmt: skip
    assert results[1].error.violations == (("spec.type", "No."),)
    assert [result.handle.id for result in results if result.handle] == ["job-1", "job-2"]
    with pytest.raises(errors.FieldInvalid):
        results[1].unwrap()


async def test_options_of_a_job_win_over_the_common_ones(server: ScriptedServer, actor: Actor) -> None:
    items = [Submission("t", 1, {"key": "k", "queue": "own"}), ("t", 2)]

    await actor.do(lambda client: client.submit_many(items, queue="common", priority=3))

    (batch,) = server.servicer.requests("BatchSubmitJobs")
    first, second = batch.requests
    assert (first.request_id, first.spec.queue, first.spec.priority) == ("k", "own", 3)
    assert second.spec.queue == "common"


async def test_a_batch_cut_off_is_sent_again_and_makes_no_job_twice(server: ScriptedServer, actor: Actor) -> None:
    server.servicer.refuse("BatchSubmitJobs", Refusal())

    results = await actor.do(lambda client: client.submit_many([("t", 1), ("t", 2)]))

    first, second = server.servicer.requests("BatchSubmitJobs")
    assert first == second
    assert all(result.created for result in results)


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_when_the_server_is_gone_the_jobs_not_yet_sent_are_not_sent(server: ScriptedServer, kind: str) -> None:
    server.servicer.refuse("BatchSubmitJobs", Refusal(), Refusal())

    async with acting(kind, server.address, tries=2) as actor:
        results = await actor.do(lambda client: client.submit_many(("t", n) for n in range(2500)))

    assert len(results) == 2500
    assert all(isinstance(result.error, errors.Unavailable) for result in results)
    assert len(server.servicer.requests("BatchSubmitJobs")) == 2


async def test_submit_each_holds_one_batch_in_memory(server: ScriptedServer) -> None:
    drawn = 0

    def endless() -> object:
        nonlocal drawn
        while True:
            drawn += 1
            yield ("t", drawn)

    async with acting("aio", server.address) as actor:
        results = actor.client.submit_each(endless())
        first = await anext(results)
        await results.aclose()

    assert first.handle.id == "job-1"
    assert drawn == 1001


async def test_an_atomic_batch_is_one_call_with_one_key(server: ScriptedServer, actor: Actor) -> None:
    results = await actor.do(
        lambda client: client.submit_many([("t", 1), ("t", 2)], atomic=True, key="k", batch_id="b")
    )

    (batch,) = server.servicer.requests("BatchSubmitJobs")
    assert (batch.request_id, batch.batch_id, batch.independent) == ("k", "b", False)
    assert [element.request_id for element in batch.requests] == ["", ""]
    assert len(results) == 2


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        (lambda c: c.submit_many([("t", n) for n in range(1001)], atomic=True), errors.BatchTooLarge),
        (lambda c: c.submit_many([("t", b"x" * 2**20)] * 5, atomic=True), errors.PayloadTooLarge),
        (lambda c: c.submit_many([("t", object())], atomic=True), errors.NotEncodable),
        (lambda c: c.submit_many([Submission("t", 1, {"key": "k"})], atomic=True), errors.ArgumentInvalid),
        (lambda c: c.submit_many([("t", 1)], key="k"), errors.ArgumentInvalid),
    ],
    ids=["too many", "too big", "not JSON", "own key", "key without atomic"],
)  # fmt: skip
async def test_what_cannot_be_one_batch_is_refused_before_it_is_sent(
    server: ScriptedServer, actor: Actor, verb: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await actor.do(verb)  # type: ignore[arg-type]
    assert server.servicer.calls == []


async def test_a_refusal_of_an_atomic_batch_is_raised(server: ScriptedServer, actor: Actor) -> None:
    server.servicer.refuse("BatchSubmitJobs", Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", "Full."))

    with pytest.raises(errors.QueueFull):
        await actor.do(lambda client: client.submit_many([("t", 1)], atomic=True))


async def test_reading_many_asks_until_every_id_has_been_looked_at(server: ScriptedServer, actor: Actor) -> None:
    await actor.do(lambda client: client.submit_many([("t", n) for n in range(5)]))

    jobs = await actor.do(lambda client: client.get_many(["job-5", "nobody", "job-1", "job-2", "job-5"]))

    assert [job.job_id if job else None for job in jobs] == ["job-5", None, "job-1", "job-2", "job-5"]
    assert len(server.servicer.requests("BatchGetJobs")) == 2


async def test_listing_goes_through_all_pages(server: ScriptedServer, actor: Actor) -> None:
    await actor.do(lambda client: client.submit_many([("t", n) for n in range(5)]))

    jobs = await actor.do(lambda client: client.jobs(page_size=2))

    assert [job.job_id for job in jobs] == [f"job-{n}" for n in range(1, 6)]


async def test_a_handle_steers_its_job(server: ScriptedServer, actor: Actor) -> None:
    handle = await actor.do(lambda client: client.submit("t", key="k"))
    again = await actor.do(lambda client: client.submit("t", key="k"))
    assert (handle.id, handle.created, again.id, again.created) == ("job-1", True, "job-1", False)

    status = await actor.do(lambda _: handle.cancel(reason="no need", force=True))
    assert status.state is handle.state is JobState.CANCELLED
    (request,) = server.servicer.requests("CancelJob")
    assert (request.reason, request.force) == ("no need", True)

    await actor.do(lambda _: handle.retry(additional_attempts=2, delay="1h"))
    assert handle.state is JobState.PENDING
    (request,) = server.servicer.requests("RetryJob")
    assert request.additional_attempts == 2
    assert request.HasField("schedule_time")

    assert (await actor.do(lambda _: handle.status())).revision == 3
    assert (await actor.do(lambda _: handle.get())).spec.type == "t"
    await actor.do(lambda _: handle.delete())
    with pytest.raises(errors.JobNotFound):
        await actor.do(lambda _: handle.status())


async def test_the_server_tells_what_it_is(server: ScriptedServer, actor: Actor) -> None:
    info = await actor.do(lambda client: client.server_info())

    assert (info.version, info.store, info.max_batch_size) == ("1.2.3", "sqlite", 1000)
    assert info.current.epoch == "epoch-1"
