"""Kinds of values, and how their text is read and written, whatever place it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from jobwire_server.kernel.telemetry import LogFormat, LogLevel

_URL_PASSWORD: Final = re.compile(r"(://[^:@/\s]*:)\S*@")
"""From the first colon to the last @: rather too much than a part of a password."""
_PARAMETER_PASSWORD: Final = re.compile(r"((?:^|[?&\s])password=)[^&\s]+", re.IGNORECASE)


class Kind(StrEnum):
    """What a setting holds, and so how its text is read."""

    TEXT = "text"
    APP = "module:app"
    PATH = "path"
    FLAG = "flag"
    COUNT = "count"
    DURATION = "duration"
    SIZE = "size"
    LOG_FORMAT = "log format"
    LOG_LEVEL = "log level"


_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """Read `90s`, `5m`, `1h30m`, `250ms` or `7d` as seconds; raise ValueError for anything else."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: write 250ms, 90s, 5m, 2h or 7d")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


_SIZE_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_size(text: str) -> int:
    """Read `512M`, `2G`, `64K` or a number of bytes; raise ValueError for anything else."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: write 512M, 2G, 64K or a number of bytes")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _read_flag(value: Any) -> bool:
    match value:
        case bool():
            return value
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
        case _:
            raise ValueError(f"{value!r} is neither true nor false")


def _read_count(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def _read_text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _read_choice(choices: type[StrEnum]) -> Callable[[Any], StrEnum]:
    def read(value: Any) -> StrEnum:
        try:
            return choices(value)
        except ValueError:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}") from None

    return read


_READERS: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.TEXT: _read_text,
    Kind.APP: _read_text,
    Kind.PATH: lambda value: Path(_read_text(value)),
    Kind.FLAG: _read_flag,
    Kind.COUNT: _read_count,
    Kind.DURATION: lambda value: parse_duration(_read_text(value)),
    Kind.SIZE: lambda value: parse_size(str(value)),
    Kind.LOG_FORMAT: _read_choice(LogFormat),
    Kind.LOG_LEVEL: _read_choice(LogLevel),
}


def read(kind: Kind, value: Any) -> Any:
    """Read a value as somebody wrote it; raise ValueError with what would be right."""
    return _READERS[kind](value)


def written(kind: Kind, value: Any) -> Any:
    """Return what a configuration file says for a value that was read: text, number or truth."""
    match kind:
        case Kind.DURATION:
            return f"{round(value * 1000)}ms" if value % 1 else f"{value:.0f}s"
        case Kind.FLAG | Kind.COUNT | Kind.SIZE:
            return value
        case _:
            return str(value)


def redacted(text: str) -> str:
    """Return an address without the password in it."""
    return _PARAMETER_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1***@", text))
