"""Values that people type: durations, times, pairs. One parser for every flag."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:  # generic for type checkers only: older releases of click cannot be subscripted
    _ParamType = click.ParamType


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `5m`, `1h30m`, `7d`, `250ms`. Raises ValueError with the rule."""
    # Imported here: help pages need no SDK.
    from jobwire import durations, errors  # noqa: PLC0415

    try:
        return durations.parse_duration(text)
    except errors.ArgumentInvalid:
        raise ValueError(f"{text!r} is not a duration: write 250ms, 90s, 5m, 1h30m, or 7d") from None


def parse_moment(text: str) -> datetime | timedelta:
    """Read a time: RFC 3339 with its offset (then aware), or a distance from now (`now+1h`, `+1h`, `-15m`)."""
    stripped = text.strip()
    relative = stripped.removeprefix("now")
    if relative[:1] in {"+", "-"}:
        distance = parse_duration(relative[1:])
        return distance if relative[0] == "+" else -distance
    if stripped == "now":
        return timedelta(0)
    try:
        moment = datetime.fromisoformat(stripped)
    except ValueError:
        raise ValueError(f"{text!r} is not a time: write 2026-11-21T12:31:04Z, now+1h, or -15m") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: add Z for UTC, or an offset such as +01:00")
    return moment.astimezone(UTC)


def parse_backoff(text: str) -> Backoff:
    """Read `2s` (the first backoff) or `1s..10m` (the first and the longest)."""
    first, dots, longest = text.partition("..")
    backoff = Backoff(parse_duration(first), parse_duration(longest) if dots else None)
    if backoff.longest is not None and backoff.longest < backoff.first:
        raise ValueError(f"{text!r} is no backoff: the longest is shorter than the first")
    return backoff


class Backoff(NamedTuple):
    """Backoff before the second attempt, and the upper bound of one backoff (None: the server's default)."""

    first: timedelta
    longest: timedelta | None


class Parsed(_ParamType):
    """A value read by one of the functions above."""

    def __init__(self, name: str, parse: Any) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.ParamType."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_pair(text: str) -> tuple[str, str]:
    """Read `key=value`; the value may be empty and may hold more equal signs."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return key, value


DURATION = Parsed("duration", parse_duration)
MOMENT = Parsed("time", parse_moment)
BACKOFF = Parsed("backoff", parse_backoff)
PAIR = Parsed("key=value", parse_pair)


def _parse_states(text: str) -> tuple[int, ...]:
    from jobwire.cli.words import state_named  # noqa: PLC0415 - other flags need no protobuf

    return tuple(state_named(word) for word in text.split(","))


STATES = Parsed("states", _parse_states)
