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

_UNIT_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_PART = re.compile(r"(\d+)(\.\d+)?(us|ms|s|m|h|d|w)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:us|ms|s|m|h|d|w))+")
_LONGEST_TEXT = 100
_MAX_US = MAX_DURATION // timedelta(microseconds=1)


def parse_duration(value: Duration, *, name: str = "duration") -> timedelta:
    """Read a duration: 0 or longer, at most `MAX_DURATION`, rounded to microseconds.

    Raises ArgumentInvalid, with `name` in its text.
    """
    microseconds = _microseconds_of(value, name)
    if not 0 <= microseconds <= _MAX_US:
        raise ArgumentInvalid(f"{name} must lie between 0 and 100 years, not {value!r:.{_LONGEST_TEXT}}.")
    return timedelta(microseconds=microseconds)


def _microseconds_of(value: Duration, name: str) -> int:
    match value:
        case timedelta():
            return value // timedelta(microseconds=1)
        case bool():
            raise ArgumentInvalid(f"{name} must be a duration such as '30s', not {value!r}.")
        case int():
            return value * 1_000_000
        case float():
            return round(value * 1e6) if math.isfinite(value * 1e6) else -1
        case str():
            return _microseconds_of_text(value, name)
    raise ArgumentInvalid(
        f"{name} must be text such as '30s', a number of seconds or a timedelta, not {type(value).__name__}."
    )


def _microseconds_of_text(text: str, name: str) -> int:
    compact = text.strip().replace(" ", "")
    if len(compact) > _LONGEST_TEXT or not _WHOLE.fullmatch(compact):
        raise ArgumentInvalid(
            f"{name} {text[:_LONGEST_TEXT]!r} is not a duration. Write a number with a unit (us, ms, s, m, h, d, w), "
            "for example '30s' or '1h30m'."
        )
    return sum(
        int(whole) * _UNIT_US[unit] + round(float(f"0{part}") * _UNIT_US[unit])
        for whole, part, unit in _PART.findall(compact)
    )


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


def span_text(seconds: float) -> str:
    """A duration with the digits that matter: `5ms`, `1.50s`, `23.4s`, `4m10s`, `3h05m`, `2d4h`."""
    if seconds < 1:
        return f"{max(round(seconds * 1000), 0)}ms"
    if seconds < 10:
        return f"{seconds:.2f}s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def aware(value: datetime, *, name: str = "time") -> datetime:
    """Return the time in UTC. Raises ArgumentInvalid when it has no time zone: whose midnight would it be?"""
    if not isinstance(value, datetime):
        raise ArgumentInvalid(f"{name} must be a datetime, not {type(value).__name__}.")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ArgumentInvalid(
            f"{name} {value.isoformat()} has no time zone. Give it one, for example datetime.now(UTC)."
        )
    return value.astimezone(UTC)
