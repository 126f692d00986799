"""Zombies: workers that stop for a while and go on as if nothing had happened."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from jobwire_server.domain.job import State
from tests.helpers.checker import Violation
from tests.helpers.history import read_answers
from tests.torture.campaign import Campaign
from tests.torture.clients import WIRE_TYPES
from tests.torture.remote import PROGRAM, workers
from tests.torture.zombies import LEASE_SECONDS, Torment

WORKERS: Final = 12
PAUSES: Final = 200
ANSWERS: Final = {True: "stands", False: "lost", None: "unanswered"}
LAUNCHER: Final = (sys.executable, "-m", "tests.torture.plants.launcher")


async def haunt(campaign: Campaign, pauses: int, program: Sequence[str] = PROGRAM) -> list[Violation]:
    """Run a campaign whose workers are stopped so many times, to its end; returns what was broken."""
    server = await campaign.start()
    try:
        async with (
            workers(campaign, WORKERS, program=program) as all_workers,
            campaign.clients(
                submitters=4, job_types=WIRE_TYPES, longest_ms=1200, pace_seconds=0.15, failing=0.4, meddling=False
            ),
        ):
            await Torment(campaign, pauses).run(all_workers)
        await campaign.finish(server)
    finally:
        await campaign.close()
    return campaign.verdict()


def zombie_campaign(folder: Path, seed: int, *, plant: str = "") -> Campaign:
    """A server without a pool and with short leases."""
    campaign = Campaign(folder, seed, app=None, options=("--grace", "2s"), lease_seconds=LEASE_SECONDS, deaf=True)
    if plant:
        campaign.command = (*LAUNCHER, plant)
    return campaign


def told(campaign: Campaign) -> str:
    """What workers were answered, and how many leases ran out."""
    answers = Counter(f"{answer.said} {ANSWERS[answer.stands]}" for answer in read_answers(campaign.answers))
    lost = sum(
        event.previous_state == State.PROCESSING and "LEASE_LOST" in (event.last_error or "") and event.attempt > 0
        for event in campaign.images[-1].events
    )
    return ", ".join(f"{count} {name}" for name, count in sorted(answers.items())) + f"; {lost} leases ran out"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.asyncio
async def test_what_a_zombie_writes_changes_nothing_and_no_lease_that_is_kept_runs_out(
    tmp_path: Path, seed: int, scale: int, tell: Callable[[str], None]
) -> None:
    campaign = zombie_campaign(tmp_path, seed)
    violations = await haunt(campaign, PAUSES * scale)
    tell(campaign.report())
    tell(told(campaign))
    tell("\n".join(f"{violation}" for violation in violations))
    assert violations == []
    refused = [answer for answer in read_answers(campaign.answers) if answer.stands is False]
    assert {answer.said for answer in refused} >= {"outcome", "beat"}, "no zombie wrote too late"
    assert len(campaign.late_writes) > 0
