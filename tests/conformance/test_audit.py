"""The judge of event logs: a sound log has no complaints, and each kind of corruption has one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jobwire.conformance.audit import complaints
from jobwire.v1 import job_pb2, job_service_pb2

Step = tuple[str, int]

SOUND: Sequence[Step] = (("PENDING", 0), ("PROCESSING", 1), ("RETRYING", 1), ("PENDING", 1), ("PROCESSING", 2),
                         ("COMPLETED", 2))  # fmt: skip
RELEASED: Sequence[Step] = (("PENDING", 0), ("PROCESSING", 1), ("PENDING", 0), ("PROCESSING", 1), ("SCHEDULED", 0),
                            ("PENDING", 0), ("PROCESSING", 1), ("PROCESSING", 1), ("CANCELLED", 1))  # fmt: skip


@pytest.mark.parametrize("steps", [SOUND, RELEASED])
def test_a_sound_log_has_no_complaints(steps: Sequence[Step]) -> None:
    assert complaints(log(steps), {"a": status(*steps[-1])}) == []


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((("PENDING", 0), ("PROCESSING", 1), ("PROCESSING", 2)), "a second lease while the first was live"),
        ((("PENDING", 0), ("PROCESSING", 2)), "counts wrong"),
        ((("PENDING", 0), ("PROCESSING", 1), ("RETRYING", 0)), "counts wrong"),
        ((("PENDING", 0), ("PROCESSING", 1), ("PENDING", -1)), "counts wrong"),
        ((("PENDING", 0), ("COMPLETED", 0)), "no way of a job"),
        ((("PENDING", 0), ("PROCESSING", 1), ("COMPLETED", 1), ("PENDING", 1)), "no way of a job"),
    ],
)
def test_a_wrong_step_is_named(steps: Sequence[Step], said: str) -> None:
    (complaint,) = complaints(log(steps), {})
    assert complaint.startswith("job a: ")
    assert complaint.endswith(said) or said in complaint


def test_a_job_without_events_is_lost() -> None:
    assert complaints([], {"a": status("PENDING", 0)}) == ["job a has no events: it is lost"]


def test_a_job_is_created_once() -> None:
    twice = log(SOUND[:1]) + log(SOUND[:1])
    assert complaints(twice, {}) == ["job a: it was created 2 times"]


def test_the_last_event_says_what_the_job_is() -> None:
    now = status("FAILED", 2)
    assert complaints(log(SOUND), {"a": now}) == [], "a job that has not ended may have moved since"

    now.finish_time.GetCurrentTime()
    (complaint,) = complaints(log(SOUND), {"a": now})
    assert complaint == "job a is FAILED, and the last event says COMPLETED"


def log(steps: Sequence[Step]) -> list[job_service_pb2.JobEvent]:
    created, updated = job_service_pb2.JOB_EVENT_TYPE_CREATED, job_service_pb2.JOB_EVENT_TYPE_UPDATED
    return [
        job_service_pb2.JobEvent(job_id="a", event_type=updated if number else created, status=status(*step))
        for number, step in enumerate(steps)
    ]


def status(word: str, attempt: int) -> job_pb2.JobStatus:
    return job_pb2.JobStatus(state=job_pb2.JobState.Value(f"JOB_STATE_{word}"), attempt=attempt)
