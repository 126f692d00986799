"""Programs that keep every rule pass every point."""

from __future__ import annotations

import pytest

from jobwire.conformance.runner import Verdict
from jobwire.conformance.table import POINTS, Subject
from tests.conformance.judging import judged

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240), pytest.mark.slow]


async def test_a_worker_with_a_stream_that_keeps_every_rule_passes_every_point() -> None:
    findings = await judged(worker="tests.conformance.reference_worker", jobs=200)

    assert [found for found in findings if found.verdict is not Verdict.PASSED] == []
    assert [found.point for found in findings] == [point for point in POINTS if point.subject is Subject.WORKER]


async def test_a_worker_of_unary_calls_passes_every_point_but_those_about_streams() -> None:
    findings = await judged(worker="tests.conformance.reference_puller", jobs=200)

    assert [found for found in findings if found.verdict is Verdict.FAILED] == []
    for found in findings:
        assert (found.verdict is Verdict.NOT_APPLICABLE) == found.point.is_about_stream, found.point.name


async def test_a_submitter_that_keeps_every_rule_passes_every_point() -> None:
    findings = await judged(submitter="tests.conformance.reference_submitter")

    assert [found for found in findings if found.verdict is not Verdict.PASSED] == []
    assert len(findings) == sum(point.subject is Subject.SUBMITTER for point in POINTS)
