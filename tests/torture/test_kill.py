"""kill -9, at any moment: nothing acknowledged is lost, nothing is stuck, nothing impossible happens."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import pytest

from jobwire_server.kernel.failpoint import FAILPOINTS
from tests.torture.campaign import Campaign

EVERY_START: Final = ("startup.before_recovery", "startup.after_recovery", "startup.before_serving")
ONCE_A_START: Final = (*EVERY_START, "recover.before_commit", "recover.after_commit")
FIRST_START: Final = ("migrate.before_commit", "migrate.after_commit")
UNDER_LOAD: Final = tuple(name for name in FAILPOINTS if name not in (*ONCE_A_START, *FIRST_START))
ANY_TIME_SERVING: Final = "any time, serving"
ANY_TIME_STARTING: Final = "any time, starting"
ARMED_SECONDS: Final = 10.0
"""By then an armed point under load has been passed many times."""


def plan(chance: random.Random, kills: int) -> list[str]:
    """Windows to kill in: each named point as often as the others, and as many kills at random times."""
    named = [*UNDER_LOAD, *ONCE_A_START]
    windows = [named[index % len(named)] for index in range(kills // 2)]
    windows += [ANY_TIME_SERVING, ANY_TIME_STARTING, ANY_TIME_SERVING] * (kills // 6 + 1)
    windows = windows[:kills]
    chance.shuffle(windows)
    return windows


async def die_at(campaign: Campaign, point: str) -> None:
    """Start a server that kills itself at a named point; at the latest kill it after a while."""
    hit = campaign.chance.randint(1, 80) if point in UNDER_LOAD else 1
    server = campaign.spawn(f"{point}=kill@{hit}")
    if await server.wait(ARMED_SECONDS) is None:
        await campaign.kill(server, f"{point} was armed but not passed")
    else:
        await campaign.bury(server, point)


async def die_serving(campaign: Campaign) -> None:
    """Kill a server some time after it got ready."""
    server = await campaign.start()
    await server.wait(campaign.chance.random() * 0.8)
    await campaign.kill(server, ANY_TIME_SERVING)


async def die_starting(campaign: Campaign) -> None:
    """Kill a server some time after its first word, mostly before it is ready."""
    server = campaign.spawn()
    await server.first_line()
    await server.wait(campaign.chance.random() * 0.15)
    await campaign.kill(server, ANY_TIME_STARTING)


async def die(campaign: Campaign, window: str) -> None:
    """One life and its death in `window`."""
    if window == ANY_TIME_SERVING:
        await die_serving(campaign)
    elif window == ANY_TIME_STARTING:
        await die_starting(campaign)
    else:
        await die_at(campaign, window)


def required(kills: int) -> set[str]:
    """Windows that must have been hit."""
    return set(plan(random.Random(0), kills))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.asyncio
async def test_nothing_acknowledged_is_lost_however_often_the_server_is_killed(
    tmp_path: Path, seed: int, kills: int, tell: Callable[[str], None]
) -> None:
    campaign = Campaign(tmp_path, seed)
    await campaign.kill(await campaign.start(), ANY_TIME_SERVING)
    try:
        async with campaign.clients():
            for window in plan(campaign.chance, kills):
                await die(campaign, window)
            server = await campaign.start()
        code = await campaign.finish(server)
    finally:
        await campaign.close()
    tell(campaign.report())
    assert campaign.verdict() == []
    assert code == 0
    assert required(kills) - set(campaign.windows) == set(), "these windows were never hit"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.asyncio
async def test_a_store_is_made_whole_however_often_its_making_is_interrupted(
    tmp_path: Path, seed: int, scale: int, tell: Callable[[str], None]
) -> None:
    for number in range(2 * scale):
        folder = tmp_path / f"store-{number}"
        folder.mkdir()
        campaign = Campaign(folder, seed + number)
        try:
            for point in (*["migrate.before_commit"] * (number + 1), "migrate.after_commit", *EVERY_START):
                await die_at(campaign, point)
            server = await campaign.start()
            async with campaign.clients(submitters=1):
                await server.wait(0.3)
            assert await campaign.finish(server) == 0
        finally:
            await campaign.close()
        tell(campaign.report())
        assert campaign.verdict() == []
        assert {*FIRST_START, *EVERY_START} <= set(campaign.windows)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.asyncio
async def test_no_child_of_a_killed_server_acts_after_its_successor_got_the_job(
    tmp_path: Path, seed: int, scale: int, tell: Callable[[str], None]
) -> None:
    campaign = Campaign(tmp_path, seed)
    await campaign.kill(await campaign.start(), ANY_TIME_SERVING)
    outlived = 0
    try:
        async with campaign.clients(submitters=1, job_types=("child",), longest_ms=1500):
            for _ in range(8 * scale):
                server = await campaign.start()
                await server.wait(0.3 + campaign.chance.random())
                children = psutil.Process(server.pid).children(recursive=True)
                server.send(signal.SIGKILL)
                await server.wait(5)
                campaign.windows["with children running" if children else "without children"] += 1
                successor = await campaign.start()
                outlived += sum(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
                await campaign.kill(successor, ANY_TIME_SERVING)
            server = await campaign.start()
        await campaign.finish(server)
    finally:
        await campaign.close()
    tell(campaign.report())
    assert campaign.verdict() == []
    assert outlived == 0
    assert campaign.windows["with children running"] > 0
