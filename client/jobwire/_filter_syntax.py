"""From the text of a filter to its conditions, place by place. What fields mean is known to `filtering`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from jobwire.durations import parse_duration
from jobwire.errors import ArgumentInvalid, ErrorDetails

_BARE = re.compile(r"[A-Za-z0-9_.@/+-][A-Za-z0-9_.@/+:-]*")
"""Texts that are written without quotes. (More is read without quotes than is written so.)"""
_SHOWN = 100


class Span(NamedTuple):
    """A part of the text."""

    start: int
    end: int


class FilterInvalid(ArgumentInvalid):
    """A filter cannot be read, or asks for what cannot be looked for. `str()` shows the place."""

    text: str = ""
    span: Span = Span(0, 0)

    @property
    def picture(self) -> tuple[str, str]:
        """The text, cut to what a terminal bears, and a line of carets under the bad place."""
        start = max(self.span.end - _SHOWN, 0)
        shown = "".join(" " if letter.isspace() else letter for letter in self.text[start : start + _SHOWN + 20])
        begin = max(self.span.start - start, 0)
        return shown, " " * begin + "^" * max(self.span.end - start - begin, 1)

    def __str__(self) -> str:
        return "\n".join((self.message, *(f"    {line}" for line in self.picture), self.hint))


def refusal(text: str, span: Span, what: str, advice: str) -> FilterInvalid:
    """Make the error: `what` is a clause that names the place, `advice` what to write instead."""
    error = FilterInvalid(f"The filter cannot be used: {what}.", ErrorDetails(hint=advice))
    error.text, error.span = text, span
    return error


class Form(StrEnum):
    """How a value is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    CONTAINS = "contains"


def quoted(text: str) -> str:
    """Write a text so that it is read back: bare where it can be, else in quotes."""
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Value:
    """One of the values of a condition."""

    text: str
    form: Form = Form.EXACT
    span: Span = dataclasses.field(default=Span(0, 0), compare=False)

    def fits(self, known: str) -> bool:
        """Tell whether `known` is what the value asks for."""
        match self.form:
            case Form.EXACT:
                return known == self.text
            case Form.PREFIX:
                return known.startswith(self.text)
            case Form.CONTAINS:
                return self.text.casefold() in known.casefold()

    def __str__(self) -> str:
        match self.form:
            case Form.EXACT:
                return quoted(self.text)
            case Form.PREFIX:
                return quoted(self.text) + "*" if self.text else "*"
            case Form.CONTAINS:
                return "~" + quoted(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """A field has one of some values, or (negated) none of them."""

    field: str
    key: str = ""
    """Of a label."""
    values: tuple[Value, ...]
    negated: bool = False
    span: Span = dataclasses.field(default=Span(0, 0), compare=False)

    @property
    def name(self) -> str:
        """The field as it is written."""
        return f"{self.field}.{quoted(self.key)}" if self.key else self.field

    def replaced(self, values: Iterable[Value]) -> OneOf:
        """The same with other values."""
        return replace(self, values=tuple(values))

    def __str__(self) -> str:
        return f"{'-' if self.negated else ''}{self.name}:{','.join(map(str, self.values))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A field is above or below a limit."""

    field: str
    sign: str
    """`>`, `>=`, `<` or `<=`."""
    limit: str
    """As it is written."""
    negated: bool = False
    span: Span = dataclasses.field(default=Span(0, 0), compare=False)
    limit_span: Span = dataclasses.field(default=Span(0, 0), compare=False)

    @property
    def name(self) -> str:
        """The field as it is written."""
        return self.field

    @property
    def is_above(self) -> bool:
        """True for `>` and `>=`."""
        return self.sign.startswith(">")

    @property
    def duration(self) -> timedelta:
        """The limit of a duration, once it was checked."""
        return parse_duration(self.limit)

    @property
    def moment(self) -> datetime:
        """The limit of a time, once it was checked."""
        return datetime.fromisoformat(self.limit)

    def admits(self, known: float, limit: float) -> bool:
        """Tell whether `known` is on the right side of `limit`."""
        match self.sign:
            case ">":
                return known > limit
            case ">=":
                return known >= limit
            case "<":
                return known < limit
            case _:
                return known <= limit

    def replaced(self, limit: str) -> Limit:
        """The same with the limit in its usual form."""
        return replace(self, limit=limit)

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.limit}"


Condition = OneOf | Limit


def read(text: str, *, is_field: Callable[[str], bool], fields: Sequence[str]) -> Iterator[Condition]:
    """Yield the conditions of a text. Raises FilterInvalid."""
    reader = _Reader(text, is_field, fields)
    while reader.skip_blanks():
        yield reader.condition()


class _Reader:
    """A place in a text, and what can be read from there."""

    def __init__(self, text: str, is_field: Callable[[str], bool], fields: Sequence[str]) -> None:
        self._text = text
        self._at = 0
        self._is_field = is_field
        self._fields = fields

    def skip_blanks(self) -> bool:
        """Go to the next condition; False at the end."""
        while self._next.isspace():
            self._at += 1
        return self._at < len(self._text)

    def condition(self) -> Condition:
        start = self._at
        negated = self._take("-")
        name, key = self._name(start)
        if self._take(":"):
            values = tuple(self._values(start))
            return OneOf(field=name, key=key, values=values, negated=negated, span=Span(start, self._at))
        sign = self._sign(start)
        limit_start = self._at
        limit = self._until_blank()
        if not limit:
            raise self._refusal(start, f"nothing stands behind {sign}", "write age>1h, without blanks")
        return Limit(field=name, sign=sign, limit=limit, negated=negated, span=Span(start, self._at),
                     limit_span=Span(limit_start, self._at))  # fmt: skip

    # --- parts of a condition ---

    def _name(self, start: int) -> tuple[str, str]:
        begin = self._at
        while self._next.isalnum() or self._next == "_":
            self._at += 1
        name = self._text[begin : self._at]
        if name == "label" and self._take("."):
            return name, self._label_key(start)
        if not self._is_field(name) or name == "label" or not self._next or self._next not in ":<>":
            raise self._wrong_name(start, begin, name)
        return name, ""

    def _label_key(self, start: int) -> str:
        if self._next == '"':
            key = self._in_quotes()
        else:
            begin = self._at
            while self._next and self._next not in ':<>,"' and not self._next.isspace():
                self._at += 1
            key = self._text[begin : self._at]
        if not key or self._next != ":":
            raise self._refusal(start, "a label needs its key and a value", "write label.customer:42")
        return key

    def _wrong_name(self, start: int, begin: int, name: str) -> FilterInvalid:
        import difflib  # noqa: PLC0415 - only for mistakes

        self._until_blank()
        word = self._text[begin : self._at]
        if name == "label":
            return self._refusal(start, "a label needs its key and a value", "write label.customer:42")
        if word in {"AND", "and", "&&", "OR", "or", "||"}:
            return self._refusal(start, f"{word} is not needed: conditions beside each other must all hold",
                         "for any of several values write state:failed,retrying")  # fmt: skip
        known = ", ".join("label.KEY" if entry == "label" else entry for entry in self._fields)
        if self._is_field(name):
            return self._refusal(start, f"{name} needs its value behind a colon, without blanks", f"write {name}:VALUE")
        if not any(sign in word for sign in ":<>="):
            return self._refusal(
                start, f"{word!r} does not say what it is about", f"write type:{word}; fields are {known}"
            )
        near = difflib.get_close_matches(name, self._fields, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        self._at = begin + max(len(name), 1)
        return self._refusal(begin, f"there is no field {name!r}", f"{meant}fields are {known}")

    def _sign(self, start: int) -> str:
        for sign in (">=", "<=", ">", "<"):
            if self._text.startswith(sign, self._at):
                self._at += len(sign)
                return sign
        raise self._refusal(start, "a value is missing", "write state:failed or age>1h")

    def _values(self, start: int) -> Iterator[Value]:
        while True:
            yield self._value(start)
            if not self._take(","):
                return

    def _value(self, start: int) -> Value:
        begin = self._at
        contains = self._take("~")
        in_quotes = self._next == '"'
        text = self._in_quotes() if in_quotes else self._bare()
        is_prefix = self._take("*")
        if self._next and self._next != "," and not self._next.isspace():
            self._at += 1
            what = "* stands only at the end of a value" if is_prefix else "quotes go around a whole value"
            raise self._refusal(begin, what, 'write type:email.* or error:~"timed out"')
        if contains and is_prefix:
            raise self._refusal(begin, "~ and * exclude each other: ~ looks anywhere already", "leave out the *")
        if not text and not is_prefix and not in_quotes:
            raise self._refusal(start, "a value is missing", "write state:failed, without a blank behind the colon")
        form = Form.CONTAINS if contains else Form.PREFIX if is_prefix else Form.EXACT
        return Value(text, form, Span(begin, self._at))

    def _bare(self) -> str:
        begin = self._at
        while self._next and self._next not in ',*"' and not self._next.isspace():
            self._at += 1
        return self._text[begin : self._at]

    def _in_quotes(self) -> str:
        begin = self._at
        self._at += 1
        letters = []
        while self._next != '"':
            if self._next == "\\" and self._text[self._at + 1 : self._at + 2] in {"\\", '"'}:
                self._at += 1
            if not self._next:
                raise self._refusal(begin, "the quotes are not closed", 'end the value with "')
            letters.append(self._next)
            self._at += 1
        self._at += 1
        return "".join(letters)

    def _until_blank(self) -> str:
        begin = self._at
        while self._next and not self._next.isspace():
            self._at += 1
        return self._text[begin : self._at]

    # --- letters ---

    @property
    def _next(self) -> str:
        """The letter here; "" at the end."""
        return self._text[self._at : self._at + 1]

    def _take(self, letter: str) -> bool:
        if self._next != letter:
            return False
        self._at += 1
        return True

    def _refusal(self, start: int, what: str, advice: str) -> FilterInvalid:
        return refusal(
            self._text, Span(start, min(max(self._at, start + 1), max(len(self._text), start + 1))), what, advice
        )
