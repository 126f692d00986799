"""Times as people asked for them: `--time relative|iso|unix`."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.cli.invocation import Invocation, TimeStyle
from jobwire.cli.words import moment_text, seconds_of
from jobwire.durations import span_text

MomentText = Callable[[Timestamp], str]
"""Writes a time."""


def moments(invocation: Invocation, *, default: TimeStyle = TimeStyle.ISO) -> MomentText:
    """Return the writer for what `--time` says, else for `default`; relative times are those of now."""
    match invocation.time_style or default:
        case TimeStyle.ISO:
            return moment_text
        case TimeStyle.UNIX:
            return lambda moment: f"{moment.seconds}.{moment.nanos // 1_000_000:03d}"
        case TimeStyle.RELATIVE:
            now = invocation.wall_seconds()
            return lambda moment: relative_text(seconds_of(moment) - now)


def table_style(invocation: Invocation) -> TimeStyle:
    """How a table writes times, unless it is told."""
    return invocation.time_style or (TimeStyle.RELATIVE if invocation.stdout.isatty() else TimeStyle.ISO)


def relative_text(seconds: float) -> str:
    """`5m10s ago` for a time past (negative), `in 12.0s` for one to come."""
    return f"in {span_text(seconds)}" if seconds > 0 else f"{span_text(-seconds)} ago"
