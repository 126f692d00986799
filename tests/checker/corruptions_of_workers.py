"""Worlds that break what remote workers are promised, and what is promised about them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from tests.checker.sound_world import LEASE_US, WORKER
from tests.helpers.evidence import Evidence
from tests.helpers.history import Answer, Said

Corruption = Callable[[Evidence, random.Random], Evidence | None]


def _change_answer(
    evidence: Evidence,
    chance: random.Random,
    fitting: Callable[[Answer], bool],
    change: Callable[[Answer], Answer],
) -> Evidence | None:
    found = [index for index, answer in enumerate(evidence.answers) if fitting(answer)]
    if not found:
        return None
    index = chance.choice(found)
    answers = [*evidence.answers]
    answers[index] = change(answers[index])
    return replace(evidence, answers=answers)


def accept_a_late_report(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A worker whose lease was lost is told that its outcome was recorded."""
    return _change_answer(
        evidence,
        chance,
        lambda answer: answer.said is Said.OUTCOME and not answer.stands,
        lambda answer: answer._replace(stands=True),
    )


def refuse_what_was_recorded(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A worker whose outcome was recorded is told that its lease was lost."""
    return _change_answer(
        evidence,
        chance,
        lambda answer: answer.said is Said.OUTCOME and answer.stands is True,
        lambda answer: answer._replace(stands=False),
    )


def call_a_lost_lease_valid(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A worker is told that its lease stands, long after its end."""
    return _change_answer(
        evidence,
        chance,
        lambda answer: answer.said is Said.BEAT and not answer.stands,
        lambda answer: answer._replace(stands=True, asked_us=answer.asked_us + LEASE_US),
    )


def call_a_live_lease_lost(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A worker is told that its lease is lost, long before its end."""
    return _change_answer(
        evidence,
        chance,
        lambda answer: answer.said is Said.BEAT and answer.stands is True,
        lambda answer: answer._replace(stands=False, answered_us=answer.answered_us - LEASE_US),
    )


def reclaim_too_early(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A lease runs out though its worker had just been told that it stands."""
    lost_us = {(answer.job_id, answer.fence): answer.asked_us for answer in evidence.answers if not answer.stands}
    return _change_answer(
        evidence,
        chance,
        lambda answer: answer.said is Said.BEAT and answer.stands is True and (answer.job_id, answer.fence) in lost_us,
        lambda answer: answer._replace(asked_us=lost_us[answer.job_id, answer.fence] - LEASE_US // 2),
    )


def forget_that_a_worker_was_killed(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A lease of which its worker never spoke runs out early, and nobody had killed the worker."""
    return replace(evidence, killed_us={}) if evidence.killed_us else None


def blame_a_kill_that_came_before(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A lease of which its worker never spoke runs out early, and the worker had been killed before it began only."""
    before = {name: [evidence.final.events[0].time_us - LEASE_US] for name in evidence.killed_us}
    return replace(evidence, killed_us=before) if before else None


def reclaim_what_was_kept_until_a_kill(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """As `reclaim_too_early`, and the worker was killed meanwhile: it had spoken of the lease, which has its time."""
    broken = reclaim_too_early(evidence, chance)
    return broken and replace(
        broken, killed_us={**broken.killed_us, WORKER: [event.time_us for event in broken.final.events]}
    )


def disturb_nobody(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """Leases ran out, and nobody had disturbed their worker."""
    return None if all(answer.stands for answer in evidence.answers) else replace(evidence, undisturbed=True)


def alter_a_row_by_a_late_write(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A late write leaves a trace."""
    if not evidence.late_writes:
        return None
    late = chance.choice(evidence.late_writes)
    altered = late._replace(after="another digest")
    return replace(evidence, late_writes=[altered if each is late else each for each in evidence.late_writes])


def show_the_progress_of_an_old_lease(evidence: Evidence, chance: random.Random) -> Evidence | None:
    """A row shows what an earlier attempt said of its progress."""
    shown = [key for key, row in evidence.final.rows.items() if row.progress_message is not None]
    if not shown:
        return None
    key = chance.choice(shown)
    row = evidence.final.rows[key]._replace(progress_message="fence 0")
    final = replace(evidence.final, rows={**evidence.final.rows, key: row})
    return replace(evidence, images=[*evidence.images[:-1], final])


REPORTS: Final = "a report counts while its lease stands, and only then"
BEATS: Final = "a worker is told the truth about its lease"

CORRUPTIONS_OF_WORKERS: Final[Mapping[Corruption, str]] = {
    accept_a_late_report: REPORTS,
    refuse_what_was_recorded: REPORTS,
    call_a_lost_lease_valid: BEATS,
    call_a_live_lease_lost: BEATS,
    reclaim_too_early: "a lease that is kept does not run out",
    forget_that_a_worker_was_killed: "a lease that is kept does not run out",
    blame_a_kill_that_came_before: "a lease that is kept does not run out",
    reclaim_what_was_kept_until_a_kill: "a lease that is kept does not run out",
    disturb_nobody: "a worker that lives keeps its leases",
    alter_a_row_by_a_late_write: "a late write changes not one byte",
    show_the_progress_of_an_old_lease: "progress is that of the newest lease",
}
