"""Recovery stands between the death of a server and the first lease of the next, wherever either is interrupted."""

from __future__ import annotations

import asyncio
import signal

import apsw
import psutil
import pytest

from jobwire.v1 import job_pb2
from tests.e2e.conftest import World

pytestmark = pytest.mark.asyncio

State = job_pb2.JobState


async def killed_in_the_middle(world: World) -> str:
    """Kill a server that runs a job; returns the job's id."""
    server = await world.serving()
    async with world.client() as client:
        job_id = await client.submit("sleep", "0.5")
        await client.reaches(job_id, State.JOB_STATE_PROCESSING)
        server.send(signal.SIGKILL)
        await server.wait(10)
    return job_id


def rows(world: World) -> list[tuple[int, int, int]]:
    """State, attempt and fence of every job, read beside the server."""
    connection = apsw.Connection(str(world.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute("SELECT state, attempt, fence FROM job"))
    finally:
        connection.close()


async def frozen_at(world: World, failpoint: str) -> None:
    """Start a server that freezes at `failpoint`, and wait until it has."""
    server = await world.start("--log-level", "info", JOBWIRE_FAILPOINTS=f"{failpoint}=stop")
    process = psutil.Process(server.pid)
    while process.status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110 - only its parent is told
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("failpoint", ["startup.after_recovery", "startup.before_serving"])
async def test_no_lease_is_granted_before_recovery_has_ended(world: World, failpoint: str) -> None:
    await killed_in_the_middle(world)
    assert rows(world) == [(State.JOB_STATE_PROCESSING, 1, 1)]

    await frozen_at(world, failpoint)

    assert rows(world) == [(State.JOB_STATE_PENDING, 1, 2)]


async def test_nothing_was_touched_before_recovery(world: World) -> None:
    await killed_in_the_middle(world)

    await frozen_at(world, "startup.before_recovery")

    assert rows(world) == [(State.JOB_STATE_PROCESSING, 1, 1)]


@pytest.mark.parametrize(
    "failpoint",
    ["startup.before_recovery", "recover.before_commit", "recover.after_commit", "startup.after_recovery"],
)
async def test_a_crash_around_recovery_is_recovered_by_the_next_start(world: World, failpoint: str) -> None:
    job_id = await killed_in_the_middle(world)
    crashing = await world.start(JOBWIRE_FAILPOINTS=f"{failpoint}=kill@1")
    assert await crashing.wait(20) == -signal.SIGKILL

    await world.serving()

    async with world.client() as client:
        job = await client.reaches(job_id, State.JOB_STATE_COMPLETED)
    assert job.status.attempt == 2


async def test_two_crashes_in_a_row_cost_no_attempt_more(world: World) -> None:
    job_id = await killed_in_the_middle(world)
    for _ in range(2):
        crashing = await world.start(JOBWIRE_FAILPOINTS="startup.before_serving=kill@1")
        assert await crashing.wait(20) == -signal.SIGKILL

    await world.serving()

    async with world.client() as client:
        job = await client.reaches(job_id, State.JOB_STATE_COMPLETED)
    assert job.status.attempt == 2
