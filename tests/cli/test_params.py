"""Durations, times and pairs, as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobwire.cli.conditions import parse_condition
from jobwire.cli.params import Backoff, parse_backoff, parse_duration, parse_moment, parse_pair, parse_past_moment
from jobwire.durations import span_text
from jobwire.v1 import job_pb2

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "ahead", "back"),
    [
        ("1h", HOUR, -HOUR),
        ("+1h", HOUR, HOUR),
        ("-1h", -HOUR, -HOUR),
        ("now+1h", HOUR, HOUR),
        ("now-1h", -HOUR, -HOUR),
        ("now", timedelta(0), timedelta(0)),
    ],
)
def test_a_duration_alone_lies_ahead_or_back_as_the_flag_means(text: str, ahead: timedelta, back: timedelta) -> None:
    assert parse_moment(text) == ahead
    assert parse_past_moment(text) == back


def test_a_time_with_its_zone_is_read_into_utc() -> None:
    assert parse_moment("2026-11-21T13:31:04.5+01:00") == datetime(2026, 11, 21, 12, 31, 4, 500_000, tzinfo=UTC)
    assert parse_moment("2026-11-21T12:31:04Z") == datetime(2026, 11, 21, 12, 31, 4, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "2026-11-21T12:31:04", "now+", "now1h", "+", "5 parsecs", "1h 5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_moment(text)


@pytest.mark.parametrize("text", ["", "5", "5x", "-5s", "h", "1h-5m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_a_backoff_is_the_first_wait_and_perhaps_the_longest() -> None:
    assert parse_backoff("2s") == Backoff(timedelta(seconds=2), None)
    assert parse_backoff("1s..10m") == Backoff(timedelta(seconds=1), timedelta(minutes=10))
    with pytest.raises(ValueError, match="shorter than the first"):
        parse_backoff("10m..1s")


def test_a_pair_is_cut_at_the_first_equal_sign() -> None:
    assert parse_pair("a=b=c") == ("a", "b=c")
    assert parse_pair("a=") == ("a", "")
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_pair("=b")


def test_a_completed_job_has_reached_any_progress() -> None:
    condition = parse_condition("progress >= 50")

    assert not condition.is_met(job_pb2.JobStatus(state=job_pb2.JOB_STATE_PROCESSING, progress_percent=49.9))
    assert condition.is_met(job_pb2.JobStatus(state=job_pb2.JOB_STATE_PROCESSING, progress_percent=50))
    assert condition.is_met(job_pb2.JobStatus(state=job_pb2.JOB_STATE_COMPLETED))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0ms"), (0.0049, "5ms"), (1.5, "1.50s"), (23.44, "23.4s"), (250, "4m10s"), (11_100, "3h05m"),
     (187_200, "2d4h")],
)  # fmt: skip
def test_a_span_is_written_with_the_digits_that_matter(seconds: float, text: str) -> None:
    assert span_text(seconds) == text
