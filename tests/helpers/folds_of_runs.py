"""Promises about the runs of handlers: each is explained by a lease, and only the holder of a lease ends it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from jobwire_server.domain.job import State
from tests.helpers.evidence import Evidence
from tests.helpers.history import Moment


def unexplained_effects(evidence: Evidence) -> Iterator[str]:
    """Whatever a handler did belongs to an attempt that the log had counted."""
    leased = {
        (event.job_id, event.fence, event.attempt) for event in evidence.final.events if event.state == State.PROCESSING
    }
    for effect in evidence.effects:
        if (effect.job_id, effect.fence, effect.attempt) not in leased:
            yield f"no lease explains {effect}"


def repeated_runs(evidence: Evidence) -> Iterator[str]:
    """One lease starts its handler at most once."""
    started: set[tuple[str, int]] = set()
    for effect in evidence.effects:
        if effect.moment is Moment.START:
            if (effect.job_id, effect.fence) in started:
                yield f"a second start under one lease: {effect}"
            started.add((effect.job_id, effect.fence))


def old_runs(evidence: Evidence) -> Iterator[str]:
    """Once a later run of a job has acted, no earlier one acts any more.

    Not said of jobs that somebody took from their worker by force, nor of workers that were deaf for a while: they may
    need a moment to hear of that.
    """
    if evidence.deaf:
        return
    forced = {call.args["job_id"] for call in evidence.calls if call.op == "cancel" and call.args["force"]}
    newest: dict[str, int] = {}
    for effect in evidence.effects:
        if effect.job_id in forced:
            continue
        if effect.fence < newest.get(effect.job_id, 0):
            yield f"{effect} came after fence {newest[effect.job_id]} had acted"
        newest[effect.job_id] = max(effect.fence, newest.get(effect.job_id, 0))


def foreign_completions(evidence: Evidence) -> Iterator[str]:
    """A COMPLETED job holds the result of the very lease that the log says completed it, and that run had finished."""
    finished = {(effect.job_id, effect.fence) for effect in evidence.effects if effect.moment is Moment.END}
    for row in evidence.final.rows.values():
        if row.type not in evidence.logged_types or row.state != State.COMPLETED:
            continue
        fence = json.loads(row.result or b"{}").get("fence")
        if fence != row.fence:
            yield f"job {row.job_id} was completed under fence {row.fence} with the result of fence {fence}"
        elif (row.job_id, row.fence) not in finished:
            yield f"job {row.job_id} is COMPLETED under fence {row.fence}, and no handler got to its end"
