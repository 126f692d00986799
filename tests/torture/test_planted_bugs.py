"""Silence means something: bugs planted in the server are caught by the campaigns' checker."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.checker import Violation
from tests.torture.campaign import Campaign
from tests.torture.test_kill import ANY_TIME_SERVING, die

ROUNDS = 6


async def verdict_with(plant: str, window: str, campaign: Campaign) -> list[Violation]:
    """Run a small campaign against a server with `plant` in it."""
    campaign.command = (sys.executable, "-m", "tests.torture.plants.launcher", plant)
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


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("plant", "window", "promise"),
    [
        ("acknowledge_before_commit", "group.before_commit", "an acknowledged job is there"),
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
    tell("\n".join(f"caught: {violation.promise}: {violation.complaint[:150]}" for violation in violations[:6]))
    assert promise in {violation.promise for violation in violations}


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
