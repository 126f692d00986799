"""SIGTERM, at any moment: the server ends in its grace with exit code 0, and what it gives back costs no attempt."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from jobwire_server.domain.job import State
from tests.helpers.image import Event, Image
from tests.helpers.processes import ServerProcess
from tests.torture.campaign import Campaign

GRACE_SECONDS: Final = 1
MARGIN_SECONDS: Final = 2
OPTIONS: Final = ("--slots", "8", "--grace", f"{GRACE_SECONDS}s", "--cancel-grace", "1s")
OVERLOAD_PER_CPU: Final = 2.5
"""With more processes than this waiting for each CPU, a promise about seconds is a promise about the machine."""
STARTING: Final = "starting"
SERVING: Final = "serving"
RELEASED: Final = "jobs given back"
LAST_RESORT: Final = "ended where it stood, since the machine was too busy"
SIGNALS: Final = 60
LONG_MS: Final = 3_000


def given_back(earlier: Image, later: Image) -> list[Event]:
    """Events since `earlier` by which a lease was given back without costing an attempt."""
    releases = []
    attempts = {row.job_id: row.attempt for row in earlier.rows.values()}
    for event in later.events:
        if event.revision > earlier.revision:
            if event.previous_state == State.PROCESSING and event.attempt < attempts.get(event.job_id, 0):
                releases.append(event)
            attempts[event.job_id] = event.attempt
    return releases


def lost(image: Image) -> list[Event]:
    """Events by which a lease was lost (other than one that was taken away, since a cancel was not obeyed)."""
    return [
        event
        for event in image.events
        if event.previous_state == State.PROCESSING
        and event.state != State.CANCELLED
        and event.last_error is not None
        and json.loads(event.last_error)[0] == "LEASE_LOST"
    ]


async def terminate(campaign: Campaign, window: str) -> int | None:
    """One life that a SIGTERM ends at a random moment; returns its exit code."""
    if window == STARTING:
        server = campaign.spawn()
        await server.first_line()
        await server.wait(campaign.chance.random() * 0.1)
    else:
        server = await campaign.start()
        await server.wait(campaign.chance.random() * 1.0)
    server.send(signal.SIGTERM)
    code = await server.wait(GRACE_SECONDS + MARGIN_SECONDS)
    if code is None and os.getloadavg()[0] > OVERLOAD_PER_CPU * (os.cpu_count() or 1):
        campaign.windows["late on an overloaded machine"] += 1
        code = await server.wait(MARGIN_SECONDS)
    if code is None:
        campaign.windows["still there:\n" + await server.autopsy()] += 1
    await campaign.bury(server, window)
    if any("server.overdue" in line for line in server.lines):
        campaign.windows[LAST_RESORT] += 1
        campaign.unreleased |= {key for key, row in campaign.images[-1].rows.items() if row.state == State.PROCESSING}
    return code


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.asyncio
async def test_a_signalled_server_ends_in_its_grace_and_gives_back_what_it_cannot_finish(
    tmp_path: Path, seed: int, scale: int, tell: Callable[[str], None]
) -> None:
    signals = int(os.environ.get("KILLS") or SIGNALS * scale)
    campaign = Campaign(tmp_path, seed, options=OPTIONS)
    server = await campaign.start()
    server.send(signal.SIGTERM)
    codes = [await server.wait(GRACE_SECONDS + MARGIN_SECONDS)]
    await campaign.bury(server, SERVING)
    try:
        async with campaign.clients(longest_ms=LONG_MS):
            for number in range(signals):
                codes.append(await terminate(campaign, STARTING if number % 3 == 1 else SERVING))
                campaign.windows[RELEASED] += len(given_back(*campaign.images[-2:]))
            server = await campaign.start()
        codes.append(await campaign.finish(server))
    finally:
        await campaign.close()
    tell(campaign.report())
    assert campaign.verdict() == []
    assert codes == [0] * (signals + 2)
    assert {event.key for event in lost(campaign.images[-1])} <= campaign.unreleased
    running = {key for image in campaign.images for key, row in image.rows.items() if row.state == State.PROCESSING}
    assert running == campaign.unreleased
    assert campaign.windows[LAST_RESORT] <= signals // 6
    assert min(campaign.windows[window] for window in (STARTING, SERVING, RELEASED)) > 0


async def said(server: ServerProcess, word: str) -> None:
    """Wait until the server has logged `word`."""
    while not any(word in line for line in server.lines):
        assert await server.wait(0.01) is None, server.tail()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.asyncio
async def test_a_second_signal_ends_the_server_at_once_and_safely(
    tmp_path: Path, seed: int, scale: int, tell: Callable[[str], None]
) -> None:
    campaign = Campaign(tmp_path, seed, options=("--slots", "8", "--grace", "30s"))
    await campaign.kill(await campaign.start(), SERVING)
    codes = []
    try:
        async with campaign.clients(submitters=1, longest_ms=LONG_MS):
            for _ in range(6 * scale):
                server = await campaign.start()
                await server.wait(0.5)
                server.send(signal.SIGTERM)
                await said(server, "server.draining")
                await server.wait(campaign.chance.random() * 0.2)
                server.send(campaign.chance.choice([signal.SIGTERM, signal.SIGINT]))
                codes.append(await server.wait(MARGIN_SECONDS))
                await campaign.bury(server, "draining")
            server = await campaign.start()
        await campaign.finish(server)
    finally:
        await campaign.close()
    tell(campaign.report())
    assert campaign.verdict() == []
    assert set(codes) <= {-signal.SIGTERM, -signal.SIGINT, 0}, "0 = the drain had ended before the second signal"
    assert -signal.SIGTERM in codes or -signal.SIGINT in codes
