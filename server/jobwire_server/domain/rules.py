"""What the tables of `validation` are made of: a row, the tests of single values, the walk over a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, Generic, NamedTuple, TypeVar

from jobwire_server.domain.errors import Violation
from jobwire_server.domain.limits import MAX_TIME_US, MIN_TIME_US

T = TypeVar("T")

MAX_VIOLATIONS: Final = 20


class Rule(NamedTuple, Generic[T]):
    """One row of a message's table: the message is acceptable when `accepts` says so."""

    field: str
    accepts: Callable[[T], bool]
    sentence: str


is_id: Final = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
is_queue: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}").fullmatch
_is_free_of_controls: Final = re.compile("[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*").fullmatch
_is_text: Final = re.compile("[^\x00\ud800-\udfff]*").fullmatch
_is_token: Final = re.compile(r"[\x20-\x7e]*").fullmatch

ID_SENTENCE: Final = "must be 1 to 64 characters of [A-Za-z0-9._-]"
QUEUE_SENTENCE: Final = "must match [a-z0-9][a-z0-9._-]{0,127}, for example 'default'"
TIME_SENTENCE: Final = "must lie within the years 1 to 9999"
TEXT_SENTENCE: Final = "must not contain NUL characters or lone surrogates"


def id_ok(value: str) -> bool:
    return is_id(value) is not None


def queue_ok(value: str) -> bool:
    return is_queue(value) is not None


def text_ok(value: str, max_chars: int, min_chars: int = 0) -> bool:
    """Storable text: no NUL, and encodable."""
    return min_chars <= len(value) <= max_chars and _is_text(value) is not None


def line_ok(value: str, max_chars: int, min_chars: int = 0) -> bool:
    """Text without any control character."""
    return min_chars <= len(value) <= max_chars and _is_free_of_controls(value) is not None


def token_ok(value: str, max_chars: int) -> bool:
    return len(value) <= max_chars and _is_token(value) is not None


def time_ok(value_us: int | None) -> bool:
    return value_us is None or MIN_TIME_US <= value_us <= MAX_TIME_US


def line_sentence(max_chars: int) -> str:
    return f"must be 1 to {max_chars} characters without control characters"


def broken(rules: Iterable[Rule[T]], message: T, prefix: str) -> Iterable[Violation]:
    return (Violation(prefix + rule.field, rule.sentence) for rule in rules if not rule.accepts(message))


def collect(violations: Iterable[Violation]) -> list[Violation]:
    return list(islice(violations, MAX_VIOLATIONS))


def prefix_of(path: str) -> str:
    return f"{path}." if path else ""


def entry_path(field: str, key: str) -> str:
    """Path of one pair of a map; its key is escaped and cut, since it may be the very thing that is wrong."""
    return f"{field}[{key[:64]!a}]"


def utf8_bytes(text: str) -> bytes:
    # Lone surrogates are refused elsewhere; here they only must not raise.
    return text.encode("utf-8", "surrogatepass")
