"""Judging programs of this folder, without the command around it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jobwire._ambient import Ambient
from jobwire.conformance.runner import Finding, Plan, certify, chosen
from jobwire.conformance.stage import Commands


async def judged(
    *, worker: str | None = None, submitter: str | None = None, only: Sequence[str] = (), jobs: int = 60
) -> Sequence[Finding]:
    """Judge a module (with arguments, if any) that is run by this Python."""
    commands = Commands(_command(worker), _command(submitter))
    plan = Plan(commands, chosen(commands, names=only, fast=False), jobs, parallel=4)
    told: list[Finding] = []
    findings = await certify(plan, told.append, Ambient())
    assert told == list(findings)
    return findings


def _command(module: str | None) -> Sequence[str] | None:
    return None if module is None else [sys.executable, "-m", *module.split()]
