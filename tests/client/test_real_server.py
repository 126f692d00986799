"""Both clients and a real server process: jobs that run, and a `kill -9` in the middle."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from jobwire import errors
from jobwire.models import JobState
from tests.client.both import Actor, acting
from tests.helpers.processes import ServerProcess

pytestmark = pytest.mark.asyncio


class World:
    """A database, a socket, and the server that lives on them now."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder / 's'}"
        self._arguments = ["dev", "--db", str(folder / "jobs.db"), "--listen", self.address, "--slots", "4"]
        self._server: ServerProcess | None = None

    async def start(self) -> None:
        """Start a server and wait until it serves."""
        self._server = ServerProcess(self._arguments)
        await self._server.expect_ready()

    async def kill(self) -> None:
        """End it as the machine might: without a word."""
        assert self._server is not None
        self._server.send(signal.SIGKILL)
        await self._server.destroy()


@pytest_asyncio.fixture
async def world(socket_path: Path) -> AsyncIterator[World]:
    world = World(socket_path.parent)
    await world.start()
    try:
        yield world
    finally:
        await world.kill()


@pytest_asyncio.fixture(params=["sync", "aio"])
async def actor(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Actor]:
    async with acting(request.param, world.address, chance=0.2) as actor:
        yield actor


async def test_a_job_that_runs_can_be_cancelled(actor: Actor) -> None:
    handle = await actor.do(lambda client: client.submit("sleep", 60))
    watch = handle.watch()
    while (await actor.next(watch)).state is not JobState.PROCESSING:
        pass

    await actor.do(lambda _: handle.cancel(reason="enough"))

    with pytest.raises(errors.JobCancelled):
        await actor.do(lambda _: handle.result(timeout="30s"))


async def test_a_kill_of_the_server_shows_in_no_watch_and_no_result(world: World, actor: Actor) -> None:
    start = (await actor.do(lambda client: client.server_info())).current
    watch = actor.client.watch(after=start)
    opened = asyncio.create_task(actor.next(watch))
    handle = await actor.do(lambda client: client.submit("sleep", 1))
    follow = handle.watch()
    while (await actor.next(follow)).state is not JobState.PROCESSING:
        pass
    waiting = asyncio.create_task(actor.do(lambda _: handle.result(timeout="50s")))

    await world.kill()
    submitting = asyncio.create_task(actor.do(lambda client: client.submit("echo", "after", deadline="50s")))
    await world.start()

    assert await waiting == {"slept": 1.0}
    updates = []
    while (update := await actor.next(follow)) is not None:
        updates.append(update)
    revisions = [update.revision for update in updates]
    assert revisions == sorted(revisions)
    assert updates[-1].state is JobState.COMPLETED
    late = await submitting
    assert await actor.do(lambda _: late.result(timeout="20s")) == "after"

    events = [await opened]
    while {event.job_id for event in events if event.status.state is JobState.COMPLETED} != {handle.id, late.id}:
        events.append(await actor.next(watch))
    logged = [event.revision for event in events]
    assert logged == sorted(set(logged))
    states = [event.status.state for event in events if event.job_id == handle.id]
    assert states.count(JobState.PROCESSING) == 2
    assert states[-1] is JobState.COMPLETED
    watch.close()
