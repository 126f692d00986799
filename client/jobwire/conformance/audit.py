"""Judges the event log of a queue: nothing lost, no two live leases, attempts counted right. Pure."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from jobwire.v1 import job_pb2, job_service_pb2

_NEXT: Final[Mapping[str, frozenset[str]]] = {
    "SCHEDULED": frozenset({"SCHEDULED", "PENDING", "CANCELLED", "EXPIRED"}),
    "PENDING": frozenset({"PENDING", "PROCESSING", "CANCELLED", "EXPIRED"}),
    "PROCESSING": frozenset({
        "PROCESSING", "PENDING", "SCHEDULED", "RETRYING", "COMPLETED", "FAILED", "CANCELLED", "EXPIRED",
    }),
    "RETRYING": frozenset({"RETRYING", "PENDING", "CANCELLED", "EXPIRED"}),
}  # fmt: skip
"""Where a job may go. Out of a terminal state leads RetryJob alone, which no point calls."""
_GIVEN_BACK: Final = frozenset({"PENDING", "SCHEDULED"})


def complaints(events: Sequence[job_service_pb2.JobEvent], jobs: Mapping[str, job_pb2.JobStatus]) -> list[str]:
    """Say what is wrong with a log, a sentence each; empty = it is sound.

    `events`: all of a queue, in order. `jobs`: what the server says now of each job that must be in it; those that
    have not ended may have moved since the log was read.
    """
    by_job: dict[str, list[job_service_pb2.JobEvent]] = defaultdict(list)
    for event in events:
        by_job[event.job_id].append(event)
    found = [f"job {job_id} has no events: it is lost" for job_id in jobs if job_id not in by_job]
    for job_id, history in by_job.items():
        found += [f"job {job_id}: {complaint}" for complaint in _about_one(history)]
        now = jobs.get(job_id)
        if now is not None and now.HasField("finish_time") and history[-1].status.state != now.state:
            found.append(f"job {job_id} is {_word(now)}, and the last event says {_word(history[-1].status)}")
    return found


def _about_one(history: Sequence[job_service_pb2.JobEvent]) -> Iterator[str]:
    created = [event for event in history if event.event_type == job_service_pb2.JOB_EVENT_TYPE_CREATED]
    if len(created) != 1 or history[0] is not created[0]:
        yield f"it was created {len(created)} times"
    for before, after in itertools.pairwise(history):
        yield from _about_step(before.status, after.status)


def _about_step(before: job_pb2.JobStatus, after: job_pb2.JobStatus) -> Iterator[str]:
    step = f"{_word(before)} (attempt {before.attempt}) → {_word(after)} (attempt {after.attempt})"
    if _word(after) not in _NEXT.get(_word(before), frozenset()):
        yield f"{step} is no way of a job"
    elif _word(after) != "PROCESSING":
        given_back = _word(before) == "PROCESSING" and _word(after) in _GIVEN_BACK
        if after.attempt != before.attempt and not (given_back and after.attempt == before.attempt - 1):
            yield f"{step} counts wrong"
    elif _word(before) == "PROCESSING":
        if (before.attempt, before.start_time) != (after.attempt, after.start_time):
            yield f"{step} is a second lease while the first was live"
    elif after.attempt != before.attempt + 1:
        yield f"{step} counts wrong"


def _word(status: job_pb2.JobStatus) -> str:
    return job_pb2.JobState.Name(status.state).removeprefix("JOB_STATE_")
