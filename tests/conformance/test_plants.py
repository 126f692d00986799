"""Each broken program is caught by the point that is about the rule it breaks.

All of them are judged beside each other first: most of the time is waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
import pytest_asyncio

from jobwire.conformance.runner import Finding, Verdict
from jobwire.conformance.table import POINTS, Subject
from tests.conformance import plants, submitter_plants
from tests.conformance.judging import judged

AT_ONCE = 5
WORKERS = [(point, each.__name__) for point, planted in plants.PLANTS.items() for each in planted]
SUBMITTERS = [(point, each.__name__) for point, planted in submitter_plants.PLANTS.items() for each in planted]

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300), pytest.mark.slow, pytest.mark.xdist_group("plants")]

Findings = Mapping[tuple[str, str], Finding]


@pytest_asyncio.fixture(scope="module")
async def findings() -> Findings:
    """What the tool found of every plant, by point and name."""
    found: dict[tuple[str, str], Finding] = {}
    turns = asyncio.Semaphore(AT_ONCE)

    async def judge(point: str, name: str, subject: Subject) -> None:
        if point == "frozen-stream":  # it only waits, for a minute
            (found[point, name],) = await judged(worker=f"tests.conformance.plants {name}", only=[point])
            return
        async with turns:
            if subject is Subject.WORKER:
                (found[point, name],) = await judged(worker=f"tests.conformance.plants {name}", only=[point])
            else:
                program = f"tests.conformance.submitter_plants {name}"
                (found[point, name],) = await judged(submitter=program, only=[point])

    async with asyncio.TaskGroup() as tasks:
        for point, name in WORKERS:
            tasks.create_task(judge(point, name, Subject.WORKER))
        for point, name in SUBMITTERS:
            tasks.create_task(judge(point, name, Subject.SUBMITTER))
    return found


@pytest.mark.parametrize(("point", "name"), WORKERS + SUBMITTERS)
async def test_a_broken_program_is_caught_by_the_point_about_the_rule_it_breaks(
    point: str, name: str, findings: Findings
) -> None:
    found = findings[point, name]
    assert found.verdict is Verdict.FAILED
    assert found.expected
    assert found.seen


async def test_there_is_a_plant_for_every_point() -> None:
    assert {*plants.PLANTS, *submitter_plants.PLANTS} == {point.name for point in POINTS}
