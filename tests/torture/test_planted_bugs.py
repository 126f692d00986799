"""Silence means something: bugs planted in the server are caught by the campaigns' checker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.checker import Violation
from tests.torture.campaign import Campaign, wait_until_all_ended
from tests.torture.remote import PROGRAM, submit_long_jobs, workers
from tests.torture.test_kill import ANY_TIME_SERVING, die
from tests.torture.test_zombies import LAUNCHER, haunt, zombie_campaign

ROUNDS: Final = 6
PAUSES_WITH_A_BUG: Final = 60
NIGHTS: Final = 6


async def verdict_with(plant: str, window: str, campaign: Campaign) -> list[Violation]:
    """Run a small campaign against a server with `plant` in it."""
    campaign.command = (*LAUNCHER, plant)
    try:
        await campaign.kill(await campaign.start(), ANY_TIME_SERVING)
        async with campaign.clients():
            for _ in range(ROUNDS):
                await die(campaign, window)
            server = await campaign.start()
            await server.wait(1)
        await campaign.finish(server)
    finally:
        await campaign.close()
    return campaign.verdict()


def shown(violations: Sequence[Violation]) -> str:
    """One complaint of each promise."""
    first = {violation.promise: violation.complaint for violation in reversed(violations)}
    return "\n".join(f"caught: {promise}: {complaint[:150]}" for promise, complaint in first.items())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("plant", "window", "promise"),
    [
        ("acknowledge_before_commit", "group.before_commit", "an acknowledged job is there"),
        ("lease_before_commit", "group.before_commit", "a lease is run once"),
        ("recover_after_workers_start", ANY_TIME_SERVING, "recovery ends before the first lease"),
        ("complete_without_a_fence", ANY_TIME_SERVING, "a completion is the work of its own lease"),
    ],
)
async def test_a_planted_bug_is_caught(
    tmp_path: Path, seed: int, tell: Callable[[str], None], plant: str, window: str, promise: str
) -> None:
    campaign = Campaign(tmp_path, seed)
    violations = await verdict_with(plant, window, campaign)
    tell(campaign.report())
    tell(shown(violations))
    assert promise in {violation.promise for violation in violations}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("plant", "promise"),
    [
        ("reclaim_by_id", "a lease that is kept does not run out"),
        ("complete_without_a_fence", "a report counts while its lease stands, and only then"),
        ("write_stale_errors", "a late write changes not one byte"),
    ],
)
async def test_a_bug_that_lets_zombies_in_is_caught(
    tmp_path: Path, seed: int, tell: Callable[[str], None], plant: str, promise: str
) -> None:
    """Whether a zombie meets its successor is chance: it gets some nights for that."""
    broken: set[str] = set()
    for night in range(NIGHTS):
        folder = tmp_path / str(night)
        folder.mkdir()
        campaign = zombie_campaign(folder, seed + night, plant=plant)
        violations = await haunt(campaign, PAUSES_WITH_A_BUG)
        tell(campaign.report())
        tell(shown(violations))
        broken |= {violation.promise for violation in violations}
        if promise in broken:
            break
    assert promise in broken


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.asyncio
@pytest.mark.parametrize("plant", ["", "beat_on_the_handlers_thread"])
async def test_a_worker_whose_handlers_silence_it_is_caught_and_no_other(
    tmp_path: Path, seed: int, tell: Callable[[str], None], plant: str
) -> None:
    """Jobs that take two leases and a half. Without the bug, no lease is lost: that is the control."""
    campaign = Campaign(tmp_path, seed, app=None, options=("--grace", "2s"), lease_seconds=2, undisturbed=True)
    program = (*LAUNCHER, plant, PROGRAM[-1]) if plant else PROGRAM
    server = await campaign.start()
    try:
        async with workers(campaign, 2, program=program), campaign.channel() as channel:
            await submit_long_jobs(campaign, channel, count=6, ms=5_000)
            await wait_until_all_ended(channel)
        await campaign.finish(server)
    finally:
        await campaign.close()
    violations = campaign.verdict()
    tell(campaign.report())
    tell(shown(violations))
    expected = {"a worker that lives keeps its leases"} if plant else set()
    assert {violation.promise for violation in violations} & {"a worker that lives keeps its leases"} == expected
    assert plant or violations == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.asyncio
async def test_the_fence_holds_against_a_worker_that_does_not_hear(
    tmp_path: Path, seed: int, tell: Callable[[str], None]
) -> None:
    """The control of `complete_without_a_fence`: the same deaf worker, and no bug."""
    campaign = Campaign(tmp_path, seed)
    violations = await verdict_with("deaf_worker", ANY_TIME_SERVING, campaign)
    tell(campaign.report())
    assert violations == []
