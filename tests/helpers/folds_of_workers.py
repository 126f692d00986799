"""Promises made to remote workers, and about them: what a lease is worth, and what a late word is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from jobwire_server.domain.job import State
from tests.helpers.evidence import Evidence
from tests.helpers.history import Said
from tests.helpers.image import Event

CLOCKS_US: Final = 100_000
"""Most by which the store's clock, which only starts as the machine's, may have parted from it."""


class _Lease(NamedTuple):
    """One lease in the log."""

    granted: Event
    end: Event | None

    @property
    def is_lost(self) -> bool:
        """It ended without its holder: the fence rose."""
        return self.end is not None and self.end.fence > self.granted.fence

    @property
    def has_run_out(self) -> bool:
        """It ended by time (and not by somebody's order)."""
        if not self.is_lost or self.end is None or self.end.last_error is None:
            return False
        return json.loads(self.end.last_error)[0] in {"LEASE_LOST", "POISONED"} and self.end.state != State.CANCELLED


def misjudged_reports(evidence: Evidence) -> Iterator[str]:
    """A report is recorded exactly when its own lease stands: the log says that this lease was ended by its holder.

    One that is repeated may be refused although the first was recorded, once the job has a newer lease.
    """
    leases = _leases(evidence)
    reports = [answer for answer in evidence.answers if answer.said is Said.OUTCOME]
    hopeful = {(answer.job_id, answer.fence) for answer in reports if answer.stands is not False}
    for answer in reports:
        if answer.stands is None:
            continue
        lease = leases.get((answer.job_id, answer.fence))
        if lease is None:
            yield f"no lease explains {answer}"
        elif answer.stands and (lease.end is None or lease.is_lost):
            yield f"recorded, and the log does not say so: {answer}, {lease}"
        elif lease.end is not None and not lease.is_lost and (answer.job_id, answer.fence) not in hopeful:
            yield f"refused, and the log says that it was recorded: {answer}, {lease.end}"


def misjudged_beats(evidence: Evidence) -> Iterator[str]:
    """A lease is called valid, or lost, only when it was so at some moment between the question and the answer."""
    leases = _leases(evidence)
    for answer in evidence.answers:
        if answer.said is Said.OUTCOME:
            continue
        lease = leases.get((answer.job_id, answer.fence))
        end = None if lease is None else lease.end
        if lease is None:
            yield f"no lease explains {answer}"
        elif answer.stands and end is not None and end.time_us + CLOCKS_US < answer.asked_us:
            yield f"called valid after its end: {answer}, {end}"
        elif not answer.stands and (end is None or end.time_us - CLOCKS_US > answer.answered_us):
            yield f"called lost before its end: {answer}, {lease}"


def hasty_reclaims(evidence: Evidence) -> Iterator[str]:
    """A lease runs out no sooner than its full time after it was granted, and after each heartbeat with an answer.

    Except for one that the worker had not spoken of yet when it was killed: it is lost as soon as the worker is back
    (docs/adr/0016).
    """
    kept_us: dict[tuple[str, int], int] = {}
    for answer in evidence.answers:
        if answer.said is Said.BEAT and answer.stands:
            run = answer.job_id, answer.fence
            kept_us[run] = max(answer.asked_us, kept_us.get(run, 0))
    if not evidence.lease_us:
        return
    for run, lease in _leases(evidence).items():
        if lease.has_run_out and lease.end is not None:
            if run not in kept_us and _was_killed(evidence, lease.granted, lease.end):
                continue
            kept = max(lease.granted.time_us, kept_us.get(run, 0) - CLOCKS_US)
            if lease.end.time_us < kept + evidence.lease_us:
                yield f"{lease.end} came {lease.end.time_us - kept} us after {run} was last kept"


def _was_killed(evidence: Evidence, granted: Event, end: Event) -> bool:
    """The process that was given the lease was killed, and the worker started again, before the lease ended."""
    killed_us = evidence.killed_us.get(granted.worker_id or "", ())
    return any(granted.time_us - CLOCKS_US <= moment <= end.time_us + CLOCKS_US for moment in killed_us)


def groundless_losses(evidence: Evidence) -> Iterator[str]:
    """While nobody disturbs a worker, no lease of it runs out, however long its handlers take."""
    if evidence.undisturbed:
        for run, lease in _leases(evidence).items():
            if lease.has_run_out:
                yield f"the lease {run} ran out, and its worker lived: {lease.end}"


def effects_of_late_writes(evidence: Evidence) -> Iterator[str]:
    """A write under a lost lease changes not one byte."""
    for late in evidence.late_writes:
        if late.before != late.after:
            yield f"job {late.job_id} was altered by a late write under fence {late.fence}"


def foreign_progress(evidence: Evidence) -> Iterator[str]:
    """The progress that stands in a row is that of its newest lease. Handlers say "fence N"."""
    newest = dict(_leases(evidence).keys())  # in order of revision: the last one stays
    for row in evidence.final.rows.values():
        said = re.fullmatch(r"fence (\d+)", row.progress_message or "")
        if said is not None and int(said[1]) != newest.get(row.job_id):
            yield f"job {row.job_id} shows the progress of fence {said[1]}, its newest is {newest.get(row.job_id)}"


def _leases(evidence: Evidence) -> Mapping[tuple[str, int], _Lease]:
    """Every lease of the log, by job and fence, in the order in which they were granted within each job."""
    leases: dict[tuple[str, int], _Lease] = {}
    for life in evidence.lives.values():
        granted: Event | None = None
        for event in life:
            if granted is not None and event.state != State.PROCESSING:
                leases[granted.job_id, granted.fence] = _Lease(granted, event)
                granted = None
            elif event.state == State.PROCESSING and event.previous_state == State.PENDING:
                granted = event
                leases[event.job_id, event.fence] = _Lease(event, None)
    return leases
