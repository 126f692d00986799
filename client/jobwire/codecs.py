"""Values to payloads and back. JSON by default; bytes and protobuf messages travel as they are; never pickle.

| Value | Content type |
| --- | --- |
| None | no payload |
| bytes, bytearray, memoryview | application/octet-stream |
| protobuf message | application/x-protobuf; type=FULL.NAME |
| `Payload` | its own |
| anything else | application/json: plain values, dataclasses, `model_dump`, enums, UUIDs, dates |
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
import uuid
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, TypeVar, cast, overload

from google.protobuf.message import DecodeError, Message

from jobwire.errors import ErrorDetails, NotDecodable, NotEncodable
from jobwire.payload import Payload

T = TypeVar("T")

JSON_TYPE = "application/json"
BYTES_TYPE = "application/octet-stream"
PROTOBUF_TYPE = "application/x-protobuf"


def encode(value: object) -> Payload | None:
    """Make a payload of a value, as the table above says. Raises NotEncodable."""
    match value:
        case None:
            return None
        case Payload():
            return value
        case bytes() | bytearray() | memoryview():
            return Payload(bytes(value), BYTES_TYPE)
        case Message():
            full_name = value.DESCRIPTOR.full_name
            return Payload(value.SerializeToString(), f"{PROTOBUF_TYPE}; type={full_name}")
        case _:
            return Payload(_to_json(value), JSON_TYPE, is_text=True)


def _to_json(value: object) -> bytes:
    try:
        # NaN and the infinities are no JSON: other languages would refuse the whole payload.
        text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotEncodable(f"The payload cannot be written as JSON: {error}.") from error


def _plain(value: object) -> object:
    """Turn one value that `json` does not know into one that it does."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case uuid.UUID():
            return str(value)
        case Mapping():
            return dict(value)
        case _:
            return _dumped(value)


def _dumped(value: object) -> object:
    model_dump = getattr(value, "model_dump", None)
    if callable(model_dump):
        return model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not a JSON value")


@overload
def decode(payload: Payload | None) -> Any: ...
@overload
def decode(payload: Payload | None, type: type[T]) -> T: ...
def decode(payload: Payload | None, type: type[T] | None = None) -> T | Any:  # noqa: A002  # as in result(type=…)
    """Make a value of a payload: JSON to plain values, protobuf and other media types to bytes, no payload to None.

    With a type: `bytes` and `Payload` take anything as it is; a message class parses protobuf; a dataclass, a class
    with `model_validate`, or a plain type (`dict`, `list[int]`, `str | None`) takes JSON. Raises NotDecodable.
    """
    if type is Payload:
        return payload
    if type is bytes:
        return payload.data if payload is not None else b""
    if payload is None:
        return None if type is None else _to_type(None, type)
    if payload.content_encoding:
        raise _undecodable(payload, f"it is encoded as {payload.content_encoding}, which this client does not undo")
    media_type = payload.content_type.partition(";")[0].strip().lower()
    if media_type == PROTOBUF_TYPE and type is not None:
        return _to_message(payload, type)
    if media_type == JSON_TYPE or media_type.endswith("+json") or (payload.is_text and not media_type):
        value = _from_json(payload)
        return value if type is None else _to_type(value, type)
    if type is not None:
        raise _undecodable(payload, f"its media type is {media_type or 'unknown'}, not JSON")
    return payload.data.decode() if payload.is_text else payload.data


def _from_json(payload: Payload) -> object:
    try:
        return json.loads(payload.data)
    except (ValueError, RecursionError) as error:
        raise _undecodable(payload, f"it is not the JSON it claims to be: {error}") from error


def _to_message(payload: Payload, wanted: Any) -> Any:
    if not (isinstance(wanted, type) and issubclass(wanted, Message)):
        raise _undecodable(payload, f"it is a protobuf message, not {_name_of(wanted)}")
    try:
        return wanted.FromString(payload.data)
    except DecodeError as error:
        raise _undecodable(payload, f"it does not parse as {wanted.DESCRIPTOR.full_name}: {error}") from error


def _undecodable(payload: Payload, why: str) -> NotDecodable:
    facts = {"content_type": payload.content_type, "bytes": str(len(payload.data))}
    return NotDecodable(f"The payload cannot be read: {why}.", ErrorDetails(facts=facts))


def _to_type(value: object, wanted: Any) -> Any:
    try:
        return _shape(value, wanted, "")
    except _Mismatch as error:
        raise NotDecodable(f"The payload is not a {_name_of(wanted)}: {error}.") from error
    except (TypeError, ValueError) as error:  # a class's own __init__ or model_validate refused it
        raise NotDecodable(f"The payload does not make a {_name_of(wanted)}: {error}.") from error


class _Mismatch(Exception):
    """JSON of another shape than the type asked for."""


def _name_of(wanted: Any) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted)


def _shape(value: object, wanted: Any, path: str) -> object:
    """Check a JSON value against a type, and build the dataclasses in it."""
    if wanted is Any or wanted is object:
        return value
    if wanted is None:
        wanted = types.NoneType
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        return _shape_any(value, typing.get_args(wanted), path)
    if dataclasses.is_dataclass(wanted):
        return _shape_dataclass(value, cast("type[Any]", wanted), path)
    model_validate = getattr(wanted, "model_validate", None)
    if callable(model_validate):
        return model_validate(value)
    return _shape_plain(value, origin or wanted, typing.get_args(wanted), path)


def _shape_any(value: object, options: tuple[Any, ...], path: str) -> object:
    for option in options:
        try:
            return _shape(value, option, path)
        except _Mismatch:
            continue
    raise _Mismatch(f"{path or 'it'} is {type(value).__name__}, which fits none of the types allowed")


def _shape_dataclass(value: object, wanted: type[Any], path: str) -> object:
    if not isinstance(value, dict):
        raise _Mismatch(f"{path or 'it'} is {type(value).__name__}, not an object")
    hints = typing.get_type_hints(wanted)
    known = {each.name: each for each in dataclasses.fields(wanted) if each.init}
    unknown = sorted(value.keys() - known.keys())
    if unknown:
        raise _Mismatch(f"it has no field {f'{path}.' if path else ''}{unknown[0]}")
    shaped = {name: _shape(inner, hints[name], f"{path}.{name}" if path else name) for name, inner in value.items()}
    return wanted(**shaped)


_JSON_KINDS: Mapping[Any, Any] = {float: (float, int), tuple: list}
"""What JSON has instead of a type of ours."""


def _shape_plain(value: object, kind: Any, arguments: tuple[Any, ...], path: str) -> object:
    if not isinstance(kind, type):
        return value  # a type form that cannot be checked here: trust it
    if kind is not bool and isinstance(value, bool):
        raise _Mismatch(f"{path or 'it'} is a bool, not {kind.__name__}")
    if kind in _SCALARS:
        return _SCALARS[kind](value) if isinstance(value, str) else _refuse(value, kind, path)
    if not isinstance(value, _JSON_KINDS.get(kind, kind)):
        _refuse(value, kind, path)
    if isinstance(value, list) and arguments:
        return _shape_elements(value, kind, arguments, path)
    if isinstance(value, dict) and len(arguments) == 2:
        return {name: _shape(inner, arguments[1], f"{path}.{name}") for name, inner in value.items()}
    return cast("Any", kind)(value) if kind in (float, tuple) else value


def _shape_elements(values: list[Any], kind: Any, arguments: tuple[Any, ...], path: str) -> object:
    each = arguments if kind is tuple and Ellipsis not in arguments else arguments[:1] * len(values)
    if len(each) != len(values):
        raise _Mismatch(f"{path or 'it'} has {len(values)} elements, not {len(each)}")
    pairs = enumerate(zip(values, each, strict=True))
    return kind(_shape(inner, wanted, f"{path}[{index}]") for index, (inner, wanted) in pairs)


def _refuse(value: object, kind: type, path: str) -> object:
    raise _Mismatch(f"{path or 'it'} is {type(value).__name__}, not {kind.__name__}")


_SCALARS: Mapping[Any, Any] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    uuid.UUID: uuid.UUID,
}
