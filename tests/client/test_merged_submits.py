"""Submits at the same time, with both clients and a real server on a Unix socket: one call for many, each its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import pytest_asyncio

from jobwire import Client, errors
from jobwire._channel import open_channel
from jobwire._merging import MOST_IN_FLIGHT
from jobwire.settings import Settings
from tests.client.both import Actor, acting
from tests.helpers.scripted_servicer import Refusal, ScriptedServer

pytestmark = pytest.mark.asyncio


class Interrupted(BaseException):
    """What Ctrl+C, or another library's way to stop a thread, is to the client."""


class InterruptedChannel:
    """A channel whose first call of an RPC is interrupted in the middle."""

    def __init__(self, inner: grpc.Channel, rpc: str) -> None:
        self._inner = inner
        self._rpc = rpc
        self._once = [Interrupted()]

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        call = self._inner.unary_unary(method, *arguments, **options)

        def interrupted(request: Any, **options: Any) -> Any:
            answer = call(request, **options)
            if method.endswith(f"/{self._rpc}") and self._once:
                raise self._once.pop()
            return answer

        return interrupted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Submitters:
    """Callers of one client: threads for the sync one, tasks for the other."""

    def __init__(self, actor: Actor, server: ScriptedServer, group: asyncio.TaskGroup) -> None:
        self._actor = actor
        self._server = server
        self._group = group
        self._pool = ThreadPoolExecutor(32)

    def submit(self, payload: int, *, job_type: str = "t", **options: Any) -> asyncio.Task[Any]:
        return self._group.create_task(self._caught(lambda client: client.submit(job_type, payload, **options)))

    async def _caught(self, verb: Callable[[Any], Any]) -> Any:
        try:
            if self._actor.is_sync:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._pool, verb, self._actor.client)
            return await verb(self._actor.client)
        except (errors.JobwireError, Interrupted) as error:
            return error

    async def crowd(self, *payloads: int, **options: Any) -> list[asyncio.Task[Any]]:
        """Have every possible call under way, each held by the server, and these waiting behind."""
        servicer = self._server.servicer
        servicer.hold("SubmitJob")
        for number in range(MOST_IN_FLIGHT):
            self.submit(-1 - number)
            await servicer.until_called("SubmitJob", number + 1)
        crowd = []
        for number, payload in enumerate(payloads):
            crowd.append(self.submit(payload, **options))
            await self._queued(number + 1)
        return crowd

    async def _queued(self, count: int) -> None:
        merging = self._actor.client._wire._current().merger._merging
        while len(merging._queue) < count:  # noqa: ASYNC110 - it tells nobody of its length
            await asyncio.sleep(0.001)

    def close(self) -> None:
        self._pool.shutdown()


@asynccontextmanager
async def submitting(server: ScriptedServer, actor: Actor) -> AsyncIterator[Submitters]:
    async with asyncio.TaskGroup() as group:
        submitters = Submitters(actor, server, group)
        yield submitters
    submitters.close()


@pytest_asyncio.fixture(params=["sync", "aio"])
async def actor(request: pytest.FixtureRequest, server: ScriptedServer) -> AsyncIterator[Actor]:
    async with acting(request.param, server.address) as actor:
        yield actor


def payload_of(server: ScriptedServer, job_id: str) -> int:
    return int(server.memory.jobs[job_id].spec.payload.text)


async def test_submits_that_come_while_calls_are_under_way_go_in_one_call(server: ScriptedServer, actor: Actor) -> None:
    async with submitting(server, actor) as submitters:
        crowd = await submitters.crowd(*range(8))
        server.servicer.release("SubmitJob")

    (batch,) = server.servicer.requests("BatchSubmitJobs")
    assert len(batch.requests) == 8
    assert (batch.independent, batch.request_id) == (True, "")
    assert len(server.servicer.requests("SubmitJob")) == MOST_IN_FLIGHT
    handles = [task.result() for task in crowd]
    assert [payload_of(server, handle.id) for handle in handles] == list(range(8))
    assert all(handle.created and handle.state == "PENDING" for handle in handles)


async def test_a_refused_job_is_refused_alone_and_in_full(server: ScriptedServer, actor: Actor) -> None:
    async with submitting(server, actor) as submitters:
        crowd = await submitters.crowd(0, 1)
        bad = submitters.submit(2, job_type="refuse me")
        await submitters._queued(3)
        server.servicer.release("SubmitJob")

    assert isinstance(bad.result(), errors.FieldInvalid)
    assert str(bad.result()) == "No, for two reasons.", "the words of its own call"
    assert [payload_of(server, task.result().id) for task in crowd] == [0, 1]
    ids = [element.request_id for element in server.servicer.requests("BatchSubmitJobs")[0].requests]
    assert server.servicer.requests("SubmitJob")[-1].request_id in ids


async def test_a_merged_call_that_was_cut_off_is_sent_again_to_the_byte(server: ScriptedServer, actor: Actor) -> None:
    server.servicer.refuse("BatchSubmitJobs", Refusal())

    async with submitting(server, actor) as submitters:
        crowd = await submitters.crowd(*range(5))
        server.servicer.release("SubmitJob")

    first, second = server.servicer.requests("BatchSubmitJobs")
    assert first == second
    assert len({task.result().id for task in crowd}) == 5


async def test_an_answer_that_was_lost_doubles_no_job(server: ScriptedServer, actor: Actor) -> None:
    async with submitting(server, actor) as submitters:
        server.servicer.lose_answers("BatchSubmitJobs", 1)
        crowd = await submitters.crowd(*range(5))
        server.servicer.release("SubmitJob")

    assert [payload_of(server, task.result().id) for task in crowd] == list(range(5))
    assert len(server.memory.jobs) == MOST_IN_FLIGHT + 5


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", errors.QueueFull),
        (grpc.StatusCode.UNAUTHENTICATED, "", errors.PermissionDenied),
    ],
)
async def test_what_the_server_refuses_to_all_is_told_to_each(
    server: ScriptedServer, actor: Actor, code: grpc.StatusCode, reason: str, kind: type[errors.JobwireError]
) -> None:
    server.servicer.refuse("BatchSubmitJobs", Refusal(code, reason, "No."))

    async with submitting(server, actor) as submitters:
        crowd = await submitters.crowd(*range(3))
        server.servicer.release("SubmitJob")

    found = [task.result() for task in crowd]
    assert [type(error) for error in found] == [kind] * 3
    assert len({id(error) for error in found}) == 3
    assert len(server.servicer.requests("SubmitJob")) == MOST_IN_FLIGHT


async def test_when_only_the_batch_is_refused_each_job_is_sent_alone(server: ScriptedServer, actor: Actor) -> None:
    server.servicer.refuse(
        "BatchSubmitJobs", Refusal(grpc.StatusCode.INVALID_ARGUMENT, "BATCH_TOO_LARGE", "At most two.")
    )

    async with submitting(server, actor) as submitters:
        crowd = await submitters.crowd(*range(3))
        server.servicer.release("SubmitJob")

    assert [payload_of(server, task.result().id) for task in crowd] == [0, 1, 2]


async def test_a_caller_in_a_hurry_gives_up_alone(server: ScriptedServer, actor: Actor) -> None:
    async with submitting(server, actor) as submitters:
        (patient,) = await submitters.crowd(0)
        hasty = submitters.submit(1, deadline=0.05)
        found = await hasty
        server.servicer.release("SubmitJob")

    assert isinstance(found, errors.CallTimeout)
    assert "did not answer SubmitJob within 0.05 s" in str(found)
    assert payload_of(server, patient.result().id) == 0
    assert "1" not in {job.spec.payload.text for job in server.memory.jobs.values()}, "it was not sent"


async def test_when_a_merged_call_is_not_answered_in_time_each_is_told_of_its_own(
    server: ScriptedServer, actor: Actor
) -> None:
    server.servicer.hold("BatchSubmitJobs")
    async with submitting(server, actor) as submitters:
        crowd = await submitters.crowd(0, 1, 2, deadline="1s")
        server.servicer.release("SubmitJob")
        await server.servicer.until_called("BatchSubmitJobs")
        await asyncio.wait(crowd)
        server.servicer.release("BatchSubmitJobs")

    assert [type(task.result()) for task in crowd] == [errors.CallTimeout] * 3
    assert {str(task.result()) for task in crowd} == {
        f"The server at {server.address} did not answer SubmitJob within 1 s."
    }


async def test_closing_the_client_ends_all_who_wait(server: ScriptedServer, actor: Actor) -> None:
    async with submitting(server, actor) as submitters:
        crowd = await submitters.crowd(0, 1, 2)
        await actor.close()

    assert all(isinstance(task.result(), errors.ClientClosed) for task in crowd)


async def test_keys_of_callers_keep_their_meaning(server: ScriptedServer, actor: Actor) -> None:
    async with submitting(server, actor) as submitters:
        crowd = await submitters.crowd(7, 7, 7, key="once")
        server.servicer.release("SubmitJob")

    handles = [task.result() for task in crowd]
    assert len({handle.id for handle in handles}) == 1
    assert sorted(handle.created for handle in handles) == [False, False, True]


@pytest.mark.parametrize("who", range(4))
@pytest.mark.parametrize("when", ["waiting", "under way"])
async def test_a_cancelled_task_takes_nothing_from_the_others(server: ScriptedServer, who: int, when: str) -> None:
    async with acting("aio", server.address) as actor, submitting(server, actor) as submitters:
        crowd = await submitters.crowd(*range(4))
        if when == "under way":
            server.servicer.hold("BatchSubmitJobs")
            server.servicer.release("SubmitJob")
            await server.servicer.until_called("BatchSubmitJobs")

        crowd[who].cancel()
        await asyncio.wait([crowd[who]])
        server.servicer.release("BatchSubmitJobs" if when == "under way" else "SubmitJob")

    assert crowd[who].cancelled()
    others = [task for task in crowd if task is not crowd[who]]
    assert [payload_of(server, task.result().id) for task in others] == [n for n in range(4) if n != who]
    assert len(server.memory.jobs) == len(server.memory.keys), "no job twice"


async def test_an_interrupted_thread_takes_nothing_from_the_others(server: ScriptedServer) -> None:
    def connect(settings: Settings) -> Any:
        return InterruptedChannel(open_channel(settings), "BatchSubmitJobs")

    async with acting("sync", server.address) as actor:
        actor.client = Client.from_settings(actor.client.settings, connect=connect)
        async with submitting(server, actor) as submitters:
            crowd = await submitters.crowd(*range(4))
            server.servicer.release("SubmitJob")

    found = [task.result() for task in crowd]
    (interrupted,) = [n for n, each in enumerate(found) if isinstance(each, Interrupted)]
    assert [payload_of(server, each.id) for each in found if not isinstance(each, Interrupted)] == [
        n for n in range(4) if n != interrupted
    ]
    assert len(server.memory.jobs) == len(server.memory.keys), "no job twice"


async def test_when_all_are_cancelled_at_once_the_client_works_on(server: ScriptedServer) -> None:
    async with acting("aio", server.address) as actor, submitting(server, actor) as submitters:
        crowd = await submitters.crowd(*range(4))
        for task in crowd:
            task.cancel()
        await asyncio.wait(crowd)
        server.servicer.release("SubmitJob")

        handle = await submitters.submit(9)

    assert payload_of(server, handle.id) == 9


async def test_many_callers_over_a_server_that_comes_and_goes_get_a_job_each(
    server: ScriptedServer, actor: Actor
) -> None:
    async with submitting(server, actor) as submitters:
        tasks = [submitters.submit(n, deadline="30s") for n in range(32)]
        for _ in range(3):
            await server.servicer.until_called("SubmitJob")
            await server.stop()
            await server.start()

    found = [task.result() for task in tasks]
    assert [each for each in found if isinstance(each, errors.JobwireError)] == []
    assert [payload_of(server, handle.id) for handle in found] == list(range(32))
    assert len(server.memory.jobs) == 32
