"""Judges a campaign: folds what its clients and handlers wrote down with what the store file holds.

Each promise is a generator of complaints, in one of four modules: about the log alone, about what clients were told,
about the runs of handlers, and about what remote workers were told. No complaint means that nothing promised was
broken as far as anybody could see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from tests.helpers import folds_of_clients, folds_of_log, folds_of_runs, folds_of_workers
from tests.helpers.evidence import Evidence

MOST_PER_PROMISE: Final = 5
"""Complaints told per promise: one cause often breaks a promise for every job."""


class Violation(NamedTuple):
    """One broken promise."""

    promise: str
    complaint: str


@dataclass(frozen=True, slots=True)
class Promise:
    """A sentence, and the fold that complains where it does not hold."""

    name: str
    complaints: Callable[[Evidence], Iterator[str]]


PROMISES: Final[Sequence[Promise]] = (
    Promise("every life is legal", folds_of_log.illegal_lives),
    Promise("a row is its last event", folds_of_log.rows_beside_their_log),
    Promise("the log is only appended to", folds_of_log.rewritten_history),
    Promise("what nobody changed is byte-identical over a restart", folds_of_log.altered_rows),
    Promise("recovery ends before the first lease", folds_of_log.leases_before_recovery),
    Promise("nothing is stuck", folds_of_log.stuck_jobs),
    Promise("an acknowledged job is there", folds_of_clients.lost_jobs),
    Promise("every job was submitted", folds_of_clients.phantoms),
    Promise("a submission makes its jobs once", folds_of_clients.doubled_submissions),
    Promise("what was shown is durable", folds_of_clients.undone_sights),
    Promise("time does not run backwards", folds_of_clients.stale_sights),
    Promise("a resumed watch has no gap and no repeat", folds_of_clients.broken_watches),
    Promise("a watch of one job ends with its end", folds_of_clients.unfinished_watches),
    Promise("every effect is explained by an attempt", folds_of_runs.unexplained_effects),
    Promise("a lease is run once", folds_of_runs.repeated_runs),
    Promise("no old run acts after its successor", folds_of_runs.old_runs),
    Promise("a completion is the work of its own lease", folds_of_runs.foreign_completions),
    Promise("a report counts while its lease stands, and only then", folds_of_workers.misjudged_reports),
    Promise("a worker is told the truth about its lease", folds_of_workers.misjudged_beats),
    Promise("a lease that is kept does not run out", folds_of_workers.hasty_reclaims),
    Promise("a worker that lives keeps its leases", folds_of_workers.groundless_losses),
    Promise("a late write changes not one byte", folds_of_workers.effects_of_late_writes),
    Promise("progress is that of the newest lease", folds_of_workers.foreign_progress),
)


def check(evidence: Evidence) -> list[Violation]:
    """Return what was broken, at most `MOST_PER_PROMISE` complaints per promise."""
    return [
        Violation(promise.name, complaint)
        for promise in PROMISES
        for complaint in islice(promise.complaints(evidence), MOST_PER_PROMISE)
    ]
