"""Watches and waits through cuts and restarts, against a real server on a Unix socket, with both clients."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from jobwire import errors
from jobwire.models import JobEventType, JobState, WatchCursor
from jobwire.v1 import job_pb2
from tests.client.both import Actor, acting
from tests.helpers.scripted_servicer import Memory, Refusal, ScriptedServer

pytestmark = pytest.mark.asyncio

PENDING, PROCESSING, COMPLETED = (
    job_pb2.JOB_STATE_PENDING,
    job_pb2.JOB_STATE_PROCESSING,
    job_pb2.JOB_STATE_COMPLETED,
)
RESULT = job_pb2.Payload(text='{"answer":42}', content_type="application/json")


@pytest_asyncio.fixture(params=["sync", "aio"])
async def actor(request: pytest.FixtureRequest, server: ScriptedServer) -> AsyncIterator[Actor]:
    async with acting(request.param, server.address) as actor:
        yield actor


# --- one job --------------------------------------------------------------------------------------------------------


async def test_a_job_is_watched_from_its_present_state_to_its_end(server: ScriptedServer, actor: Actor) -> None:
    await server.servicer.step("j1", PENDING)
    handle = actor.client.job("j1")
    watch = handle.watch()

    seen = [await actor.next(watch)]
    await server.servicer.step("j1", PROCESSING, progress_percent=50.0, progress_message="half")
    seen.append(await actor.next(watch))
    await server.servicer.step("j1", COMPLETED)
    seen.append(await actor.next(watch))

    assert await actor.next(watch) is None
    assert [update.state for update in seen] == [JobState.PENDING, JobState.PROCESSING, JobState.COMPLETED]
    assert (seen[1].progress, seen[1].message, seen[1].revision) == (50.0, "half", 2)
    assert handle.state is JobState.COMPLETED


async def test_a_watch_of_a_job_outlives_a_cut_after_every_response(server: ScriptedServer, actor: Actor) -> None:
    await server.servicer.step("j1", PENDING)
    server.servicer.stream_lengths = deque([1] * 8)
    watch = actor.client.watch_job("j1")

    revisions = [(await actor.next(watch)).revision]
    for _ in range(6):
        await server.servicer.step("j1", PROCESSING)
        revisions.append((await actor.next(watch)).revision)
    await server.servicer.step("j1", COMPLETED)
    revisions.append((await actor.next(watch)).revision)

    assert await actor.next(watch) is None
    assert revisions == [1, 2, 3, 4, 5, 6, 7, 8]
    resumed = [request.after_revision for request in server.servicer.requests("WatchJob")]
    assert resumed == sorted(resumed)
    assert len(resumed) == 8


async def test_a_watch_of_a_job_outlives_a_restart_of_the_server(server: ScriptedServer, actor: Actor) -> None:
    await server.servicer.step("j1", PENDING)
    watch = actor.client.watch_job("j1")
    await actor.next(watch)

    await server.stop()
    waiting = asyncio.create_task(actor.next(watch))
    await server.start()
    await server.servicer.until_watched(1)
    await server.servicer.step("j1", COMPLETED)

    assert (await waiting).state is JobState.COMPLETED


async def test_a_store_that_fell_back_shows_what_it_knows_now(server: ScriptedServer, actor: Actor) -> None:
    for _ in range(3):
        await server.servicer.step("j1", PROCESSING)
    watch = actor.client.watch_job("j1")
    assert (await actor.next(watch)).revision == 3

    await server.stop()
    server.memory.log.clear()  # a backup was restored
    server.memory.jobs.clear()
    await server.start()
    await server.servicer.step("j1", PENDING)
    update = await actor.next(watch)

    assert (update.revision, update.state, update.skipped) == (1, JobState.PENDING, True)


async def test_a_watch_of_a_deleted_job_says_so(server: ScriptedServer, actor: Actor) -> None:
    with pytest.raises(errors.JobNotFound) as caught:
        await actor.next(actor.client.watch_job("nobody"))

    assert caught.value.code == "JOB_NOT_FOUND"


async def test_a_watch_with_a_timeout_ends_with_wait_timeout(server: ScriptedServer, actor: Actor) -> None:
    await server.servicer.step("j1", PROCESSING, attempt=1, max_attempts=3)
    watch = actor.client.watch_job("j1", timeout="150ms")
    await actor.next(watch)

    with pytest.raises(
        errors.WaitTimeout, match=r"Job j1 did not end within 0.15 s \(it is PROCESSING, attempt 1 of 3\)"
    ):
        await actor.next(watch)


# --- waiting for the result -----------------------------------------------------------------------------------------


async def test_a_result_is_waited_for(server: ScriptedServer, actor: Actor) -> None:
    handle = await actor.do(lambda client: client.submit("t"))
    waiting = asyncio.create_task(actor.do(lambda _: handle.result(timeout="30s")))
    await server.servicer.until_called("GetJob")
    await server.servicer.step(handle.id, COMPLETED, result=RESULT)

    assert await waiting == {"answer": 42}
    assert handle.state is JobState.COMPLETED
    assert await actor.do(lambda _: handle.result(type=dict[str, int])) == {"answer": 42}


async def test_a_result_is_waited_for_through_a_restart(server: ScriptedServer, actor: Actor) -> None:
    handle = await actor.do(lambda client: client.submit("t"))
    waiting = asyncio.create_task(actor.do(lambda _: handle.result()))
    await server.servicer.until_called("GetJob")

    await server.stop()
    await server.start()
    await server.servicer.step(handle.id, COMPLETED, result=RESULT)

    assert await waiting == {"answer": 42}


async def test_a_failed_job_raises_its_failure(server: ScriptedServer, actor: Actor) -> None:
    error = job_pb2.JobError(type="ValueError", message="no such user")
    await server.servicer.step("j1", job_pb2.JOB_STATE_FAILED, attempt=2, last_error=error)

    with pytest.raises(errors.JobFailed, match="Job j1 failed after 2 attempts: ValueError: no such user") as caught:
        await actor.do(lambda client: client.result("j1"))
    assert caught.value.error is not None
    assert (caught.value.error.type, caught.value.attempts) == ("ValueError", 2)


@pytest.mark.parametrize("timeout", [0, "80ms"])
async def test_a_result_that_does_not_come_in_time_is_a_wait_timeout(
    server: ScriptedServer, actor: Actor, timeout: str | int
) -> None:
    await server.servicer.step("j1", PENDING)

    with pytest.raises(errors.WaitTimeout, match="it goes on") as caught:
        await actor.do(lambda client: client.result("j1", timeout=timeout))
    assert caught.value.facts["state"] == "PENDING"


async def test_waiting_without_a_server_ends_with_the_deadline(socket_path: Path) -> None:
    for kind in ("sync", "aio"):
        async with acting(kind, f"unix:{socket_path}", deadline=timedelta(milliseconds=50), chance=0.1) as actor:
            with pytest.raises(errors.ServerUnreachable, match="no such socket"):
                await actor.do(lambda client: client.result("j1"))
            with pytest.raises(errors.ServerUnreachable, match="no such socket"):
                await actor.next(actor.client.watch())


async def test_patience_with_a_server_that_went_away_can_be_bounded(server: ScriptedServer) -> None:
    await server.servicer.step("j1", PENDING)
    for kind in ("sync", "aio"):
        async with acting(kind, server.address, patience=timedelta(milliseconds=50), chance=0.1) as actor:
            watch = actor.client.watch_job("j1")
            await actor.next(watch)
            await server.stop()

            with pytest.raises(errors.ServerUnreachable):
                await actor.next(watch)
        await server.start()


# --- many jobs ------------------------------------------------------------------------------------------------------


async def test_every_event_comes_once_through_a_cut_after_every_response(server: ScriptedServer, actor: Actor) -> None:
    watch = actor.client.watch()
    opening = asyncio.create_task(actor.next(watch))
    await server.servicer.until_watched(1)
    server.servicer.stream_lengths = deque([2, 1, 2, 3, 1, 2, 2, 1, 2])

    for number in range(20):
        await server.servicer.step(f"j{number % 3}", PROCESSING)
    revisions = [(await opening).revision]
    revisions += [(await actor.next(watch)).revision for _ in range(19)]

    assert revisions == list(range(1, 21))
    assert watch.cursor == WatchCursor("epoch-1", 20)


async def test_every_event_comes_once_through_restarts(server: ScriptedServer, actor: Actor) -> None:
    watch = actor.client.watch(after=WatchCursor("epoch-1", 0))
    revisions = []

    for _ in range(4):
        for number in range(7):
            await server.servicer.step(f"j{number}", PROCESSING)
        revisions += [(await actor.next(watch)).revision for _ in range(5)]  # two stay untaken
        await server.stop()
        await server.start()
    revisions += [(await actor.next(watch)).revision for _ in range(8)]

    assert revisions == list(range(1, 29))


async def test_a_later_watch_resumes_where_an_earlier_one_was_left(server: ScriptedServer, actor: Actor) -> None:
    for number in range(6):
        await server.servicer.step(f"j{number}", PENDING)
    first = actor.client.watch(after=WatchCursor("epoch-1", 0))
    for _ in range(4):  # in the middle of the second response
        event = await actor.next(first)
    first.close()
    assert first.cursor == event.cursor == WatchCursor("epoch-1", 4)

    second = actor.client.watch(after=first.cursor)

    assert [(await actor.next(second)).revision for _ in range(2)] == [5, 6]


async def test_a_snapshot_cut_in_the_middle_is_completed_without_repeating_named_jobs(
    server: ScriptedServer, actor: Actor
) -> None:
    job_ids = ["a", "b", "c"]
    for job_id in job_ids:
        await server.servicer.step(job_id, PENDING)
    server.servicer.stream_lengths = deque([2, 1])

    watch = actor.client.watch(job_ids=job_ids, snapshot=True)
    events = [await actor.next(watch) for _ in range(3)]
    assert watch.cursor is None
    waiting = asyncio.create_task(actor.next(watch))
    await server.servicer.until_watched(1)
    await server.servicer.step("b", COMPLETED)
    events.append(await waiting)

    assert [(event.job_id, event.event_type) for event in events] == [
        ("a", JobEventType.SNAPSHOT),
        ("b", JobEventType.SNAPSHOT),
        ("c", JobEventType.SNAPSHOT),
        ("b", JobEventType.UPDATED),
    ]


async def test_another_store_behind_the_address_ends_a_plain_watch(server: ScriptedServer, actor: Actor) -> None:
    await server.servicer.step("a", PENDING)
    watch = actor.client.watch(after=WatchCursor("epoch-1", 0))
    await actor.next(watch)

    await server.stop()
    server.memory.epoch = "epoch-2"
    await server.start()

    with pytest.raises(errors.StoreEpochChanged):
        await actor.next(watch)


async def test_another_store_behind_the_address_gives_a_snapshot_watch_a_new_snapshot(
    server: ScriptedServer, actor: Actor
) -> None:
    await server.servicer.step("a", PENDING)
    watch = actor.client.watch(job_ids=["a"], snapshot=True)
    assert (await actor.next(watch)).event_type is JobEventType.SNAPSHOT
    await server.servicer.step("a", PROCESSING)
    assert (await actor.next(watch)).event_type is JobEventType.UPDATED

    await server.stop()
    server.memory.epoch = "epoch-2"
    server.memory.log.clear()  # the new store counts from the start
    await server.start()
    await server.servicer.step("a", PENDING)
    event = await actor.next(watch)

    assert (event.event_type, event.revision, event.status.state) == (JobEventType.SNAPSHOT, 1, JobState.PENDING)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(grpc.StatusCode.UNAVAILABLE, "DRAINING"),
        Refusal(grpc.StatusCode.UNAVAILABLE, "STREAM_AGE"),
        Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER"),
        Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS"),
        Refusal(grpc.StatusCode.INTERNAL, "", "Received RST_STREAM with error code 2"),
    ],
    ids=lambda refusal: refusal.reason or "reset",
)
async def test_endings_that_ask_for_another_stream_get_one(
    server: ScriptedServer, actor: Actor, refusal: Refusal
) -> None:
    await server.servicer.step("a", PENDING)
    server.servicer.refuse("WatchJobs", refusal, refusal)

    event = await actor.next(actor.client.watch(after=WatchCursor("epoch-1", 0)))

    assert event.revision == 1
    assert len(server.servicer.requests("WatchJobs")) == 3


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED])
async def test_endings_that_mean_it_are_raised(server: ScriptedServer, actor: Actor, code: grpc.StatusCode) -> None:
    server.servicer.refuse(
        "WatchJobs", Refusal(code, "FIELD_INVALID" if code.name.startswith("INV") else "ACTION_DENIED")
    )

    with pytest.raises(errors.JobwireError) as caught:
        await actor.next(actor.client.watch())
    assert caught.value.grpc_code == code.name


# --- ending a watch -------------------------------------------------------------------------------------------------


async def test_closing_a_watch_ends_its_stream(server: ScriptedServer, actor: Actor) -> None:
    await server.servicer.step("a", PENDING)
    watch = actor.client.watch(after=WatchCursor("epoch-1", 0))
    await actor.next(watch)
    await server.servicer.until_watched(1)

    watch.close()

    await server.servicer.until_watched(0)
    assert await actor.next(watch) is None


async def test_dropping_a_watch_ends_its_stream(server: ScriptedServer, actor: Actor) -> None:
    await server.servicer.step("a", PENDING)
    watch = actor.client.watch(after=WatchCursor("epoch-1", 0))
    await actor.next(watch)
    await server.servicer.until_watched(1)

    del watch
    gc.collect()

    await server.servicer.until_watched(0)


async def test_closing_the_client_ends_a_watch_that_waits(server: ScriptedServer, actor: Actor) -> None:
    await server.servicer.step("j1", PENDING)
    watching = asyncio.create_task(actor.next(actor.client.watch()))
    waiting = asyncio.create_task(actor.do(lambda client: client.result("j1")))
    await server.servicer.until_watched(1)
    await server.servicer.until_called("GetJob")

    await actor.close()

    for task in (watching, waiting):
        with pytest.raises(errors.ClientClosed):
            await task


async def test_closing_a_watch_from_elsewhere_ends_its_iteration(server: ScriptedServer, actor: Actor) -> None:
    watch = actor.client.watch()
    waiting = asyncio.create_task(actor.next(watch))
    await server.servicer.until_watched(1)

    watch.close()

    assert await waiting is None


async def test_a_read_that_was_given_up_loses_nothing(server: ScriptedServer) -> None:
    async with acting("aio", server.address) as actor:
        watch = actor.client.watch(after=WatchCursor("epoch-1", 0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(watch)
        for number in range(4):
            await server.servicer.step(f"j{number}", PENDING)

        assert [(await anext(watch)).revision for _ in range(4)] == [1, 2, 3, 4]


async def test_a_cancelled_task_stays_cancelled(server: ScriptedServer) -> None:
    async with acting("aio", server.address) as actor:
        await server.servicer.step("j1", PENDING)
        verbs = {"GetJob": lambda c: c.result("j1"), "WatchJobs": lambda c: anext(c.watch())}
        for rpc, verb in verbs.items():
            task = asyncio.create_task(actor.do(verb))
            await server.servicer.until_called(rpc)
            task.cancel()

            with pytest.raises(asyncio.CancelledError):
                await task
        await server.servicer.until_watched(0)


async def test_a_memory_can_be_served_again(socket_path: Path) -> None:
    """The helper itself: what the tests above call a restart keeps jobs and log."""
    memory = Memory()
    async with ScriptedServer(socket_path, memory) as server:
        await server.servicer.step("a", PENDING)
    assert memory.revision == 1
