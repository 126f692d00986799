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
    """Read a time to come: RFC 3339 with its offset (then aware), or a distance from now: `1h`, `+1h`, `now-15m`."""
    return _moment(text, bare_sign=1)


def parse_past_moment(text: str) -> datetime | timedelta:
    """Read a time past: as `parse_moment`, but `1h` is an hour ago."""
    return _moment(text, bare_sign=-1)


def _moment(text: str, *, bare_sign: int) -> datetime | timedelta:
    stripped = text.strip()
    if stripped == "now":
        return timedelta(0)
    relative = stripped.removeprefix("now")
    if relative[:1] in {"+", "-"}:
        return parse_duration(relative[1:]) * (1 if relative[0] == "+" else -1)
    try:
        return _absolute(stripped)
    except ValueError:
        pass
    try:
        return parse_duration(stripped) * bare_sign
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time: write 2026-11-21T12:31:04Z (with its time zone), now+1h, or now-15m"
        ) from None


def _absolute(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("it has no time zone")
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


_SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str) -> int:
    """Read `512M`, `2G`, `64K` or a number of bytes. Raises ValueError with the rule."""
    digits = text.rstrip("KMG")
    unit = text[len(digits) :]
    if not (digits.isascii() and digits.isdigit()) or unit not in _SIZE_UNITS:
        raise ValueError(f"{text!r} is not a size: write 512M, 2G, 64K or a number of bytes")
    return int(digits) * _SIZE_UNITS[unit]


def parse_queue(text: str) -> tuple[str, int]:
    """Read `mail` or `mail:3`: a queue and its weight against the others. Raises ValueError with the rule."""
    name, colon, weight = text.partition(":")
    if not name or (colon and not (weight.isascii() and weight.isdigit() and 1 <= int(weight) <= 1000)):
        raise ValueError(f"{text!r} is not QUEUE or QUEUE:WEIGHT, with a weight from 1 to 1000")
    return name, int(weight or 1)


DURATION = Parsed("duration", parse_duration)
SIZE = Parsed("size", parse_size)
QUEUE = Parsed("queue", parse_queue)
MOMENT = Parsed("time", parse_moment)
PAST_MOMENT = Parsed("time", parse_past_moment)
BACKOFF = Parsed("backoff", parse_backoff)
PAIR = Parsed("key=value", parse_pair)


def _parse_states(text: str) -> tuple[int, ...]:
    from jobwire.cli.words import state_named  # noqa: PLC0415 - other flags need no protobuf

    return tuple(state_named(word) for word in text.split(","))


STATES = Parsed("states", _parse_states)
