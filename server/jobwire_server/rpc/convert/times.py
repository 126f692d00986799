"""Instants and durations: microseconds here, seconds and nanos on the wire."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from jobwire_server.domain.errors import Violation

_SECOND_US = 1_000_000
_SECOND_NANOS = 1_000_000_000


def time_us(stamp: Timestamp, field: str, violations: list[Violation]) -> int:
    """Read an instant. Nanos below a microsecond are cut off; whether it lies in a sane year is not judged here."""
    if not 0 <= stamp.nanos < _SECOND_NANOS:
        violations.append(Violation(field, "its nanos must be 0 to 999999999"))
    return stamp.seconds * _SECOND_US + stamp.nanos // 1000


def duration_us(duration: Duration, field: str, violations: list[Violation]) -> int:
    """Read a duration. A part of a microsecond counts as a whole one, so that what is not zero stays so."""
    nanos = duration.nanos
    if abs(nanos) >= _SECOND_NANOS or duration.seconds * nanos < 0:
        violations.append(Violation(field, "its nanos must be within ±999999999 and have the sign of its seconds"))
    return duration.seconds * _SECOND_US + (-(-nanos // 1000) if nanos >= 0 else nanos // 1000)


def put_time(stamp: Timestamp, value_us: int) -> None:
    """Write an instant."""
    stamp.seconds, rest_us = divmod(value_us, _SECOND_US)
    stamp.nanos = rest_us * 1000


def put_duration(duration: Duration, value_us: int) -> None:
    """Write a duration that is not negative."""
    duration.seconds, rest_us = divmod(value_us, _SECOND_US)
    duration.nanos = rest_us * 1000
