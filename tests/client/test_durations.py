"""Durations and times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire.durations import aware, format_duration, parse_duration
from jobwire.errors import ArgumentInvalid


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("10us", 0.00001),
        ("2d", 172_800),
        ("1w", 604_800),
        (" 1h 5m ", 3900),
        (0, 0),
        (2.5, 2.5),
        (timedelta(minutes=1), 60),
    ],
)
def test_a_duration_is_read(written: str | float | timedelta, seconds: float) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written", ["", "30", "s", "-1s", "1x", "1s2", -1, float("nan"), float("inf"), 10**400, "9" * 50 + "d"]
)
def test_what_is_no_duration_is_refused_by_name(written: str | float) -> None:
    with pytest.raises(ArgumentInvalid, match="timeout"):
        parse_duration(written, name="timeout")


@pytest.mark.parametrize("written", [True, None, [], b"1s"])
def test_another_type_is_refused_by_name(written: object) -> None:
    with pytest.raises(ArgumentInvalid, match="timeout"):
        parse_duration(written, name="timeout")  # type: ignore[arg-type]


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_500)))
def test_a_written_duration_reads_as_itself(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


def test_a_time_becomes_utc() -> None:
    berlin = timezone(timedelta(hours=1))

    assert aware(datetime(2026, 1, 1, 12, tzinfo=berlin)) == datetime(2026, 1, 1, 11, tzinfo=UTC)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ArgumentInvalid, match="time zone"):
        aware(datetime(2026, 1, 1))  # noqa: DTZ001
