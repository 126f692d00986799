"""Broken programs are caught. All of them are judged beside each other: most of the time is waiting."""

from __future__ import annotations

import asyncio

import pytest

from jobwire.conformance.runner import Finding, Verdict
from jobwire.conformance.table import POINTS
from tests.conformance import plants, submitter_plants
from tests.conformance.judging import judged

AT_ONCE = 5
WORKERS = [(point, each.__name__) for point, planted in plants.PLANTS.items() for each in planted]
SUBMITTERS = [(point, each.__name__) for point, planted in submitter_plants.PLANTS.items() for each in planted]
ONLY_WAITING = {point.name for point in POINTS if point.only_waits}


@pytest.mark.asyncio
@pytest.mark.timeout(300)
@pytest.mark.slow
async def test_every_broken_program_is_caught_by_the_point_about_the_rule_it_breaks() -> None:
    findings: dict[tuple[str, str], Finding] = {}
    turns = asyncio.Semaphore(AT_ONCE)

    async def judge(point: str, name: str) -> None:
        if (point, name) in WORKERS:
            found = await judged(worker=f"tests.conformance.plants {name}", only=[point])
        else:
            found = await judged(submitter=f"tests.conformance.submitter_plants {name}", only=[point])
        (findings[point, name],) = found

    async def judge_in_turn(point: str, name: str) -> None:
        async with turns:
            await judge(point, name)

    async with asyncio.TaskGroup() as tasks:
        for point, name in WORKERS + SUBMITTERS:
            tasks.create_task(judge(point, name) if point in ONLY_WAITING else judge_in_turn(point, name))

    assert [plant for plant, found in findings.items() if found.verdict is not Verdict.FAILED] == []
    assert [plant for plant, found in findings.items() if not (found.expected and found.seen)] == []


def test_there_is_a_plant_for_every_point() -> None:
    assert {*plants.PLANTS, *submitter_plants.PLANTS} == {point.name for point in POINTS}
