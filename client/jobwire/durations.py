"""Durations and times as people write them: one parser for the client, the command line and the worker."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from jobwire.errors import ArgumentInvalid

Duration = str | int | float | timedelta
"""`"30s"`, `"1h30m"`, `"250ms"`, a number of seconds, or a `timedelta`."""

MAX_DURATION = timedelta(days=36_500)
"""Longest duration that the contract's clocks are asked to carry: 100 years."""

_UNIT_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(value: Duration, *, name: str = "duration") -> timedelta:
    """Read a duration: 0 or longer, at most `MAX_DURATION`, rounded to microseconds.

    Raises ArgumentInvalid, with `name` in its text.
    """
    seconds = _seconds_of(value, name)
    if not math.isfinite(seconds) or not 0 <= seconds <= MAX_DURATION.total_seconds():
        raise ArgumentInvalid(f"{name} must lie between 0 and 100 years, not {value!r}.")
    return timedelta(microseconds=round(seconds * 1e6))


def _seconds_of(value: Duration, name: str) -> float:
    match value:
        case timedelta():
            return value.total_seconds()
        case bool():
            raise ArgumentInvalid(f"{name} must be a duration such as '30s', not {value!r}.")
        case int() | float():
            try:
                return float(value)
            except OverflowError:
                return math.inf
        case str():
            return _seconds_of_text(value, name)
    raise ArgumentInvalid(
        f"{name} must be text such as '30s', a number of seconds or a timedelta, not {type(value).__name__}."
    )


def _seconds_of_text(text: str, name: str) -> float:
    compact = text.strip().replace(" ", "")
    if not _WHOLE.fullmatch(compact):
        raise ArgumentInvalid(
            f"{name} {text!r} is not a duration. Write a number with a unit (us, ms, s, m, h, d, w), "
            "for example '30s' or '1h30m'."
        )
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(compact))


def format_duration(value: timedelta) -> str:
    """Write a duration so that `parse_duration` reads it back: `1h30m`, `250ms`, `0s`."""
    rest = value // timedelta(microseconds=1)
    parts = []
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    milliseconds, microseconds = divmod(rest, 1000)
    if milliseconds:
        parts.append(f"{milliseconds}ms")
    if microseconds:
        parts.append(f"{microseconds}us")
    return "".join(parts) or "0s"


def aware(value: datetime, *, name: str = "time") -> datetime:
    """Return the time in UTC. Raises ArgumentInvalid when it has no time zone: whose midnight would it be?"""
    if not isinstance(value, datetime):
        raise ArgumentInvalid(f"{name} must be a datetime, not {type(value).__name__}.")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ArgumentInvalid(
            f"{name} {value.isoformat()} has no time zone. Give it one, for example datetime.now(UTC)."
        )
    return value.astimezone(UTC)
