"""The resume rules by themselves: random logs, random cuts, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire import errors
from jobwire._following import Contact, EndWait, EventFollow, EventQuery, JobFollow, Limit
from jobwire.models import Job, JobEvent, JobSpec, JobState, JobStatus, WatchCursor
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

CUT = errors.ServerUnreachable("Cut.", errors.ErrorDetails(facts={"sent": "maybe"}))
UNSENT = errors.ServerUnreachable("Refused.", errors.ErrorDetails(facts={"sent": "no"}))
NO_LIMIT = Limit(None, 0.0)


def contact(*, patience: float | None = None, chance: Callable[[], float] = lambda: 1.0) -> Contact:
    return Contact(first_seconds=10.0, patience_seconds=patience, now=0.0, chance=chance)


def events_after(log: Sequence[int], request: pb.WatchJobsRequest, start: int) -> Iterator[pb.WatchJobsResponse]:
    """What a server sends: a first response at once, then each event; bookmarks for what does not match (odd ones)."""
    place = request.after.revision if request.HasField("after") else start
    yield pb.WatchJobsResponse(cursor=pb.WatchCursor(epoch="e", revision=place))
    for revision in log:
        if revision > place:
            matches = revision % 2 == 0
            event = pb.JobEvent(revision=revision, event_type=pb.JOB_EVENT_TYPE_UPDATED, job_id=f"j{revision % 5}")
            cursor = pb.WatchCursor(epoch="e", revision=revision)
            yield pb.WatchJobsResponse(events=[event] if matches else [], cursor=cursor)


@given(
    gaps=st.lists(st.integers(1, 3), max_size=40),
    lengths=st.lists(st.integers(0, 6), max_size=30),
    start=st.integers(0, 10),
)
def test_whatever_is_cut_every_matching_event_comes_once_and_in_order(
    gaps: list[int], lengths: list[int], start: int
) -> None:
    log = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    follow = EventFollow(EventQuery(after=WatchCursor("e", start)), limit=NO_LIMIT, contact=contact())
    seen: list[JobEvent] = []

    for length in [*lengths, 10_000]:
        request, _ = follow.open(0.0)
        assert isinstance(request, pb.WatchJobsRequest)
        for _, response in zip(range(length), events_after(log, request, start), strict=False):
            seen.extend(follow.take(response, 0.0))
        follow.failed(CUT, 0.0)

    assert [event.revision for event in seen] == [
        revision for revision in log if revision > start and revision % 2 == 0
    ]
    assert follow.cursor == WatchCursor("e", max([start, *log]))


def update(revision: int, state: int = job_pb2.JOB_STATE_PROCESSING, **fields: object) -> pb.WatchJobResponse:
    status = job_pb2.JobStatus(revision=revision, state=state, **fields)  # type: ignore[arg-type]
    return pb.WatchJobResponse(status=status)


def job_follow(limit: Limit = NO_LIMIT) -> JobFollow:
    return JobFollow("j1", full=False, after_revision=None, limit=limit, contact=contact())


def test_a_status_that_was_seen_is_not_repeated_but_progress_is_news() -> None:
    follow = job_follow()

    assert len(follow.take(update(5), 0.0)) == 1
    assert len(follow.take(update(5), 0.0)) == 0
    assert len(follow.take(update(4), 0.0)) == 0
    assert len(follow.take(update(5, progress_percent=10.0), 0.0)) == 1


def test_a_stream_that_ends_well_before_the_job_does_is_a_cut() -> None:
    follow = job_follow()
    follow.take(update(5), 0.0)

    assert follow.ended(0.0) > 0
    request, _ = follow.open(0.0)

    assert isinstance(request, pb.WatchJobRequest)
    assert request.after_revision == 5
    assert not follow.is_done


def test_pauses_grow_to_ten_seconds_and_start_over_after_an_answer() -> None:
    follow = job_follow()
    follow.take(update(5), 0.0)

    pauses = [follow.failed(UNSENT, 0.0) for _ in range(8)]
    follow.take(update(6), 0.0)

    assert pauses == pytest.approx([0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0])
    assert follow.failed(UNSENT, 0.0) == pytest.approx(0.4)


def test_a_draining_server_is_left_at_once_but_only_once() -> None:
    follow = job_follow()
    follow.take(update(5), 0.0)
    draining = errors.Draining("Draining.")

    assert follow.failed(draining, 0.0) == pytest.approx(0.2)
    assert follow.failed(draining, 0.0) > 0.4


def test_a_long_silent_stream_was_a_contact() -> None:
    wait = EndWait("j1", limit=NO_LIMIT, contact=contact(patience=5.0), grace_seconds=1.0)

    wait.call(0.0)
    pause = wait.failed(CUT, 50.0)  # the first poll broke off after 50 s without any answer: no reason to give up
    wait.call(50.0)

    assert pause > 0
    with pytest.raises(errors.ServerUnreachable):
        wait.failed(UNSENT, 56.0)


def test_a_server_that_never_answered_is_given_up_after_the_deadline_of_a_call() -> None:
    follow = job_follow()
    follow.open(0.0)
    follow.failed(UNSENT, 9.0)

    with pytest.raises(errors.ServerUnreachable):
        follow.failed(UNSENT, 10.0)


def test_a_pause_does_not_outlast_the_limit() -> None:
    follow = job_follow(Limit(timedelta(seconds=1), 0.0))
    follow.take(update(5), 0.0)

    assert follow.failed(UNSENT, 0.9) == pytest.approx(0.1)
    with pytest.raises(errors.WaitTimeout, match="Refused"):
        follow.failed(UNSENT, 1.0)


def test_a_position_lost_twice_in_a_row_is_raised() -> None:
    follow = EventFollow(EventQuery(snapshot=True), limit=NO_LIMIT, contact=contact())
    follow.take(pb.WatchJobsResponse(initial_state_complete=True, cursor=pb.WatchCursor(epoch="e", revision=3)), 0.0)
    lost = errors.RevisionCompacted("Gone.")

    follow.failed(lost, 0.0)
    request, _ = follow.open(0.0)

    assert isinstance(request, pb.WatchJobsRequest)
    assert request.send_initial_state
    assert not request.HasField("after")
    with pytest.raises(errors.RevisionCompacted):
        follow.failed(lost, 0.0)


@pytest.mark.parametrize(
    "query",
    [
        {"after": WatchCursor("e", 1), "snapshot": True},
        {"until_all_terminal": True},
        {"job_ids": (1,)},
    ],
)
def test_a_query_that_contradicts_itself_is_refused(query: dict) -> None:
    with pytest.raises(errors.ArgumentInvalid):
        EventFollow(EventQuery(**query), limit=NO_LIMIT, contact=contact())


def test_a_watch_of_named_jobs_ends_when_all_have_ended() -> None:
    query = EventQuery(job_ids=("a",), snapshot=True, until_all_terminal=True)
    follow = EventFollow(query, limit=NO_LIMIT, contact=contact())

    follow.ended(0.0)

    assert follow.is_done


def test_a_watch_without_an_end_does_not_take_the_end_of_a_stream_for_its_own() -> None:
    follow = EventFollow(EventQuery(), limit=NO_LIMIT, contact=contact())

    follow.ended(0.0)

    assert not follow.is_done


def test_a_server_that_does_not_hold_its_polls_is_not_asked_in_a_tight_circle() -> None:
    wait = EndWait("j1", limit=NO_LIMIT, contact=contact(), grace_seconds=1.0)
    job = Job(job_id="j1", spec=JobSpec(type="t"), status=JobStatus(state=JobState.PENDING))
    pauses = []

    for _ in range(7):
        wait.call(0.0)
        assert wait.take(job, 0.0) is None
        pauses.append(wait.breath(0.0))

    assert pauses[0] > 0
    assert pauses[-1] == 1.0
    assert wait.breath(60.0) == 0.0


def test_a_poll_asks_for_the_end_only_and_for_no_more_time_than_there_is() -> None:
    wait = EndWait("j1", limit=Limit(timedelta(seconds=90), 0.0), contact=contact(), grace_seconds=1.0)

    first, second = wait.call(0.0), wait.call(80.0)

    assert isinstance(first.request, pb.GetJobRequest)
    assert isinstance(second.request, pb.GetJobRequest)
    assert first.request.wait_revision == 2**63 - 1
    assert (first.request.wait_timeout.seconds, first.seconds) == (60, 61.0)
    assert (second.request.wait_timeout.seconds, second.seconds) == (10, 11.0)
