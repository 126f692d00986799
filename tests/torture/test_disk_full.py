"""A disk that is full, and a disk that fails: no false promise, and no way back that needs an operator's restart."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from jobwire.v1 import job_pb2, job_service_pb2
from jobwire_server.domain.job import State
from tests.helpers.history import Outcome, digest
from tests.torture.campaign import Campaign
from tests.torture.clients import Journal, Known, outcome_of

DISK_BYTES: Final = 48 << 20
BALLAST_BYTES: Final = 16 << 20
PAYLOAD_BYTES: Final = 200_000
FILE_LIMIT_BYTES: Final = 12 << 20
MOST_SUBMITS: Final = 2_000
RUNNING: Final = 6
RUN_MS: Final = 4_000
DYING_SECONDS: Final = 10.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of its own, small enough to be filled."""
    point = tmp_path / "disk"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(point)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        needs = "needs a small file system of its own: run as root, or with the right to mount (CAP_SYS_ADMIN)"
        if os.environ.get("CI"):
            pytest.fail(needs)
        pytest.skip(needs)
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


async def submit(journal: Journal, known: Known, name: str, kind: str, content: dict[str, Any]) -> tuple[Outcome, Any]:
    """Submit one job and write it down; returns the outcome and the response, or the reason of the error."""
    data = json.dumps(content).encode()
    payload = job_pb2.Payload(content_type="application/json", data=data)
    request = job_service_pb2.SubmitJobRequest(spec=job_pb2.JobSpec(type=kind, payload=payload), request_id=name)
    args = {"request_id": name, "payloads": [digest(data)], "types": [kind]}

    async def call(request: Any, **options: Any) -> Any:
        try:
            return await journal.stub.SubmitJob(request, **options)
        except grpc.aio.AioRpcError as error:
            refusals.append(error)
            raise

    refusals: list[grpc.aio.AioRpcError] = []
    outcome, response = await journal.call(
        "submit", args, call, request, lambda answer: {"job_ids": [answer.job.job_id], "created": [answer.created]}
    )
    if outcome is Outcome.OK:
        known.add([response.job.job_id])
    return outcome, refusals[0] if refusals else response


async def fill(journal: Journal, known: Known) -> grpc.aio.AioRpcError:
    """Submit large jobs that nobody runs, until the first one is not taken; returns why."""
    for number in range(MOST_SUBMITS):
        outcome, answer = await submit(
            journal, known, f"filler-{number}", "nobody", {"n": number, "fill": "x" * PAYLOAD_BYTES}
        )
        if outcome is not Outcome.OK:
            return answer  # type: ignore[no-any-return]
    raise AssertionError("the disk never got full")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.asyncio
async def test_a_full_disk_refuses_new_jobs_lets_running_ones_finish_and_heals_by_itself(
    tmp_path: Path, small_disk: Path, seed: int, tell: Callable[[str], None]
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * BALLAST_BYTES)
    campaign = Campaign(tmp_path, seed, disk=small_disk, drained=False)
    server = await campaign.start()
    try:
        async with campaign.channel() as channel:
            journal = campaign.journal("filler", channel)
            running = [
                (await submit(journal, campaign.known, f"running-{n}", "thread", {"n": n, "ms": RUN_MS}))[1].job.job_id
                for n in range(RUNNING)
            ]
            reason = await fill(journal, campaign.known)
            assert reason.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, reason
            assert "full" in (reason.details() or "").lower()
            for job_id in running:
                assert await end_of(journal, job_id) == State.COMPLETED
            outcome, error = await submit(
                journal, campaign.known, "still full", "nobody", {"fill": "x" * PAYLOAD_BYTES}
            )
            assert outcome is Outcome.REFUSED, error
            ballast.unlink()
            attempts = 1
            while (await submit(journal, campaign.known, "room again", "async", {"n": 1}))[0] is not Outcome.OK:
                attempts += 1
                assert attempts < 200
                assert await server.wait(0.1) is None, server.tail()
            outcome, _ = await submit(journal, campaign.known, "large again", "nobody", {"fill": "y" * PAYLOAD_BYTES})
            assert outcome is Outcome.OK
        await campaign.kill(server, "after the disk had been full")
        server = await campaign.start()
        await campaign.finish(server)
    finally:
        await campaign.close()
    tell(campaign.report())
    assert campaign.verdict() == []


async def end_of(journal: Journal, job_id: str) -> int:
    """Follow a job to its end, and return its state."""
    call = journal.stub.WatchJob(job_service_pb2.WatchJobRequest(job_id=job_id), timeout=60)
    state = 0
    async for response in call:
        state = response.status.state
    return state


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.asyncio
async def test_a_failing_disk_stops_the_server_and_everything_acknowledged_is_there_afterwards(
    tmp_path: Path, seed: int, tell: Callable[[str], None]
) -> None:
    campaign = Campaign(tmp_path, seed, drained=False)
    server = campaign.spawn(file_size_limit=FILE_LIMIT_BYTES)
    campaign.address = await server.expect_ready()
    try:
        async with campaign.channel() as channel:
            journal = campaign.journal("filler", channel)
            await submit(
                journal, campaign.known, "running", "thread", {"n": 1, "ms": random.Random(seed).randint(0, 500)}
            )
            reason = await fill(journal, campaign.known)
            assert outcome_of(reason) is Outcome.UNKNOWN, "after an I/O error nobody can tell"
            code = await server.wait(DYING_SECONDS)
        await campaign.bury(server, "an I/O error")
        assert code == 1, f"a server whose disk fails must end, not go on: {code}"
        server = await campaign.start()
        await campaign.finish(server)
    finally:
        await campaign.close()
    tell(campaign.report())
    assert campaign.verdict() == []
