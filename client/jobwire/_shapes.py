"""Typed values of JSON ones: what `decode(…, type)` and the annotations of handlers ask for.

| Asked for | JSON |
| --- | --- |
| `str`, `int`, `float`, `bool`, `None`, `Literal`, an `Enum` | the value; a number without a fraction is a float, too |
| `list`, `tuple`, `set`, `Sequence` …, `dict`, `Mapping` … | an array or object, with what stands in the brackets |
| dataclass, `TypedDict` | an object with these fields and no others |
| pydantic model or dataclass, msgspec struct | what the library itself makes of it |
| a class with `model_validate` | what that makes of it |
| protobuf message | its ProtoJSON |
| `datetime`, `date`, `time`, `UUID`, `Decimal` | text |
| `timedelta` | seconds |
| `bytes` | text in base64 |
| `X | Y` | the first that fits |
| `Any`, `object` | anything |
"""

from __future__ import annotations

import base64
import dataclasses
import types
import typing
import uuid
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
)
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cached_property
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from jobwire._foreign import Misfit, Shape, foreign_shape, joined


def shape_of(wanted: Any) -> Shape:
    """Work out how to make values that an annotation asks for. Raises TypeError when no JSON can become such a one."""
    if (foreign := foreign_shape(wanted)) is not None:
        return foreign
    wanted = unwrapped(wanted)
    origin = typing.get_origin(wanted)
    if wanted in (Any, object) or isinstance(wanted, TypeVar):
        return _anything
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(wanted))
    if origin is typing.Literal:
        return _literal(typing.get_args(wanted))
    kind = origin or wanted
    if not isinstance(kind, type):
        return _anything  # a form that cannot be checked here: trust it
    return _of_class(kind, typing.get_args(wanted))


def unwrapped(wanted: Any) -> Any:
    """An annotation without `Annotated`, `NewType`, the name of an alias, and with a class for None."""
    if wanted is None:
        return types.NoneType
    if typing.get_origin(wanted) is typing.Annotated:
        return unwrapped(typing.get_args(wanted)[0])
    if isinstance(wanted, typing.NewType):
        return unwrapped(wanted.__supertype__)
    if type(wanted).__name__ == "TypeAliasType":  # typing's since 3.12
        return unwrapped(wanted.__value__)
    return wanted


def is_compound(wanted: Any) -> bool:
    """Whether an annotation can take an object or an array of JSON."""
    wanted = unwrapped(wanted)
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        return any(is_compound(option) for option in typing.get_args(wanted))
    kind = origin or wanted
    if not isinstance(kind, type):
        return kind is Any
    return kind not in _SIMPLE and not issubclass(kind, Enum)


def without_none(wanted: Any) -> Any:
    """`X` for `X | None`, anything else as it is."""
    wanted = unwrapped(wanted)
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(wanted) if option is not types.NoneType]
        return unwrapped(options[0]) if len(options) == 1 else wanted
    return wanted


def name_of(wanted: Any) -> str:
    """How an annotation is written."""
    return wanted.__name__ if isinstance(wanted, type) and not typing.get_args(wanted) else str(wanted)


# --- forms ----------------------------------------------------------------------------------------------------------


def _anything(value: Any, _path: str) -> Any:
    return value


def _union(options: tuple[Any, ...]) -> Shape:
    shapes = [shape_of(option) for option in options if option is not types.NoneType]
    takes_none = len(shapes) < len(options)

    def shape(value: Any, path: str) -> Any:
        if value is None and takes_none:
            return None
        if len(shapes) == 1:  # whose complaint says more
            return shapes[0](value, path)
        for each in shapes:
            try:
                return each(value, path)
            except Misfit:
                continue
        raise Misfit(f"{path or 'it'} is {type(value).__name__}, which fits none of the types allowed")

    return shape


def _literal(options: tuple[Any, ...]) -> Shape:
    def shape(value: Any, path: str) -> Any:
        for option in options:
            if option == value and type(option) is type(value):
                return option
        raise Misfit(f"{path or 'it'} is {value!r:.80}, not one of {', '.join(map(repr, options))}")

    return shape


def _of_class(kind: type[Any], arguments: tuple[Any, ...]) -> Shape:
    if (builtin := _of_builtin(kind, arguments)) is not None:
        return builtin
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return _Fields(kind)
    if issubclass(kind, Enum):
        return _made_by(kind, ValueError)
    if issubclass(kind, Message):
        return _message(kind)
    model_validate = getattr(kind, "model_validate", None)
    if callable(model_validate):
        return _made_by(model_validate, TypeError, ValueError)
    raise TypeError(f"no JSON can become a {kind.__name__}")


def _of_builtin(kind: type[Any], arguments: tuple[Any, ...]) -> Shape | None:
    if kind in _FROM_TEXT:
        return _from_text(kind, _FROM_TEXT[kind])
    if kind in _ARRAYS:
        return _array(kind, arguments)
    if kind in _OBJECTS:
        return _object(arguments)
    if kind is timedelta:
        return _seconds
    return _simple(kind) if kind in _SIMPLE else None


# --- classes --------------------------------------------------------------------------------------------------------


def _simple(kind: type[Any]) -> Shape:
    def shape(value: Any, path: str) -> Any:
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        raise _refused(value, kind, path)

    def shape_float(value: Any, path: str) -> Any:
        if isinstance(value, float | int) and not isinstance(value, bool):
            return float(value)
        raise _refused(value, kind, path)

    return shape_float if kind is float else shape


def _seconds(value: Any, path: str) -> Any:
    if isinstance(value, float | int) and not isinstance(value, bool):
        try:
            return timedelta(seconds=value)
        except (OverflowError, ValueError) as error:
            raise Misfit(f"{path or 'it'}: {error}") from error
    raise _refused(value, timedelta, path)


def _from_text(kind: type[Any], parse: Callable[[str], Any]) -> Shape:
    def shape(value: Any, path: str) -> Any:
        if not isinstance(value, str):
            raise _refused(value, kind, path)
        try:
            return parse(value)
        except (ValueError, InvalidOperation) as error:
            raise Misfit(f"{path or 'it'} is no {kind.__name__}: {error}") from error

    return shape


def _made_by(make: Callable[[Any], Any], *faults: type[Exception]) -> Shape:
    def shape(value: Any, path: str) -> Any:
        try:
            return make(value)
        except faults as error:
            raise Misfit(f"{path or 'it'}: {error}") from error

    return shape


def _message(kind: type[Message]) -> Shape:
    from google.protobuf import json_format  # noqa: PLC0415 - only for messages in JSON

    is_well_known = kind.DESCRIPTOR.file.package == "google.protobuf"  # a Timestamp is text in JSON

    def shape(value: Any, path: str) -> Any:
        if not isinstance(value, dict) and not is_well_known:
            raise _refused(value, kind, path, "a message")
        try:
            return json_format.ParseDict(value, kind())
        except (json_format.ParseError, TypeError, AttributeError) as error:
            raise Misfit(f"{path or 'it'} is no {kind.DESCRIPTOR.full_name}: {error}") from error

    return shape


def _array(kind: type[Any], arguments: tuple[Any, ...]) -> Shape:
    make = _ARRAYS[kind]
    is_row = kind is tuple and bool(arguments) and arguments[-1] is not Ellipsis
    columns = [shape_of(argument) for argument in arguments if argument is not Ellipsis]

    def shape(values: Any, path: str) -> Any:
        if not isinstance(values, list):
            raise _refused(values, kind, path)
        if is_row and len(values) != len(columns):
            raise Misfit(f"{path or 'it'} has {len(values)} elements, not {len(columns)}")
        if not columns:
            return make(values)
        shapes = columns if is_row else columns * len(values)
        pairs = enumerate(zip(shapes, values, strict=True))
        return make(inner(value, f"{path}[{place}]") for place, (inner, value) in pairs)

    return shape


def _object(arguments: tuple[Any, ...]) -> Shape:
    keys, inner = (_key(arguments[0]), shape_of(arguments[1])) if len(arguments) == 2 else (_anything, _anything)

    def shape(values: Any, path: str) -> Any:
        if not isinstance(values, dict):
            raise _refused(values, dict, path)
        if keys is _anything and inner is _anything:
            return values
        return {keys(key, joined(path, key)): inner(value, joined(path, key)) for key, value in values.items()}

    return shape


def _key(wanted: Any) -> Shape:
    """Keys of JSON are text."""
    return _from_text(int, int) if unwrapped(wanted) is int else shape_of(wanted)


class _Fields:
    """The shape of a dataclass or TypedDict. Its fields are looked at when the first value comes: it may be made of
    itself."""

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind

    @cached_property
    def _hints(self) -> Mapping[str, Any]:
        hints = typing.get_type_hints(self._kind, include_extras=True)
        if dataclasses.is_dataclass(self._kind):
            return {field.name: hints[field.name] for field in dataclasses.fields(self._kind) if field.init}
        return hints

    @cached_property
    def _required(self) -> frozenset[str]:
        if dataclasses.is_dataclass(self._kind):
            nothing = dataclasses.MISSING
            fields = dataclasses.fields(self._kind)
            return frozenset(f.name for f in fields if f.init and f.default is nothing and f.default_factory is nothing)
        # Python overlooks both words where annotations are kept as text.
        marks = {name: typing.get_origin(hint) for name, hint in self._hints.items()}
        by_class = cast("Any", self._kind).__required_keys__
        return frozenset(
            name for name, mark in marks.items()
            if mark is typing.Required or (name in by_class and mark is not typing.NotRequired)
        )  # fmt: skip

    @cached_property
    def _shapes(self) -> Mapping[str, Shape]:
        return {name: shape_of(_bare(hint)) for name, hint in self._hints.items()}

    def __call__(self, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise Misfit(f"{path or 'it'} is {type(value).__name__}, not an object")
        shapes = self._shapes
        if unknown := sorted(value.keys() - shapes.keys()):
            raise Misfit(f"it has no field {joined(path, unknown[0]):.80}")
        if absent := sorted(self._required - value.keys()):
            raise Misfit(f"{joined(path, absent[0])} is missing")
        shaped = {name: shapes[name](inner, joined(path, name)) for name, inner in value.items()}
        try:
            return self._kind(**shaped)
        except (TypeError, ValueError) as error:  # its own __post_init__ refused it
            raise Misfit(f"{path or 'it'}: {error}") from error


def _bare(hint: Any) -> Any:
    """A field's annotation without `Required`, `NotRequired` and the like."""
    while typing.get_origin(hint) in (typing.Required, typing.NotRequired):
        (hint,) = typing.get_args(hint)
    return hint


def _refused(value: Any, kind: type[Any], path: str, word: str = "") -> Misfit:
    return Misfit(f"{path or 'it'} is {type(value).__name__}, not {word or kind.__name__}")


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_FROM_TEXT: Mapping[type[Any], Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    uuid.UUID: uuid.UUID,
    Decimal: Decimal,
    bytes: _from_base64,
}
_SIMPLE = frozenset({str, int, float, bool, types.NoneType, timedelta, *_FROM_TEXT})
_ARRAYS: Mapping[type[Any], Callable[[Any], Any]] = {
    list: list, Sequence: list, MutableSequence: list, Collection: list, Iterable: list,
    tuple: tuple, set: set, frozenset: frozenset, AbstractSet: frozenset,
}  # fmt: skip
_OBJECTS = frozenset[type[Any]]({dict, Mapping, MutableMapping})
