"""Values to payloads and back. JSON by default; bytes and protobuf messages travel as they are; never pickle.

| Value | Content type |
| --- | --- |
| None | no payload |
| bytes, bytearray, memoryview | application/octet-stream |
| protobuf message | application/x-protobuf; type=FULL.NAME |
| `Payload` | its own |
| anything else | application/json: plain values, dataclasses, pydantic models, msgspec structs, `model_dump`, enums,
UUIDs, decimals, dates, sets; inside of them also messages (as ProtoJSON) and bytes (as base64) |
"""

from __future__ import annotations

import base64
import dataclasses
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar, overload

from google.protobuf.message import DecodeError, Message

from jobwire._foreign import Misfit, foreign_plain, is_foreign
from jobwire._shapes import name_of, shape_of, without_none
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
            return encode_json(value)


def encode_json(value: object) -> Payload:
    """Make a JSON payload of a value, also of one that `encode` would send otherwise: None is `null`, bytes are base64.

    Raises NotEncodable.
    """
    return Payload(_to_json(value), JSON_TYPE, is_text=True)


def _to_json(value: object) -> bytes:
    try:
        return _JSON.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotEncodable(f"The payload cannot be written as JSON: {error}.") from error


def _plain(value: object) -> object:
    """Turn one value that `json` does not know into one that it does."""
    if is_foreign(value):
        return foreign_plain(value)
    for kinds, make in _PLAIN:
        if isinstance(value, kinds):
            return make(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    model_dump = getattr(value, "model_dump", None)
    if callable(model_dump):
        return model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not a JSON value")


# NaN and the infinities are no JSON: other languages would refuse the whole payload.
_JSON = json.JSONEncoder(default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _message_plain(message: Message) -> object:
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - only for messages in JSON

    return MessageToDict(message)


_PLAIN: tuple[tuple[tuple[type[Any], ...], Callable[[Any], object]], ...] = (
    ((datetime, date, time), lambda value: value.isoformat()),
    ((timedelta,), timedelta.total_seconds),
    ((uuid.UUID, Decimal), str),
    ((Enum,), lambda value: value.value),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    ((Message,), _message_plain),
    ((Mapping,), dict),
    ((set, frozenset), list),
)


@overload
def decode(payload: Payload | None) -> Any: ...
@overload
def decode(payload: Payload | None, type: type[T]) -> T: ...
def decode(payload: Payload | None, type: type[T] | None = None) -> T | Any:  # noqa: A002  # as in result(type=…)
    """Make a value of a payload: JSON to plain values, protobuf and other media types to bytes, no payload to None.

    With a type: `bytes` and `Payload` take anything as it is; a message class parses protobuf, or ProtoJSON; any other
    takes JSON: pydantic models, msgspec structs, dataclasses, TypedDicts, plain types such as `dict` or `list[int]`.
    Raises NotDecodable.
    """
    wanted = type if payload is None else _at_least(type)
    if wanted is Payload:
        return payload
    if wanted is bytes:
        return payload.data if payload is not None else b""
    if payload is None:
        return None if wanted is None else _to_type(None, wanted)
    if payload.content_encoding:
        raise _undecodable(payload, f"it is encoded as {payload.content_encoding}, which this client does not undo")
    media_type = payload.content_type.partition(";")[0].strip().lower()
    if media_type == PROTOBUF_TYPE and wanted is not None:
        return _to_message(payload, wanted)
    if media_type == JSON_TYPE or media_type.endswith("+json") or (payload.is_text and not media_type):
        value = _from_json(payload)
        return value if wanted is None else _to_type(value, wanted)
    if wanted is not None:
        raise _undecodable(payload, f"its media type is {media_type or 'unknown'}, not JSON")
    return payload.data.decode() if payload.is_text else payload.data


def _at_least(wanted: Any) -> Any:
    """`X` for `X | None` where X is not made of JSON: there is a payload, so it is an X."""
    bare = without_none(wanted)
    is_raw = bare in (bytes, Payload) or (isinstance(bare, type) and issubclass(bare, Message))
    return bare if is_raw else wanted


def _from_json(payload: Payload) -> object:
    try:
        return json.loads(payload.data)
    except (ValueError, RecursionError) as error:
        raise _undecodable(payload, f"it is not the JSON it claims to be: {error}") from error


def _to_message(payload: Payload, wanted: Any) -> Any:
    if not (isinstance(wanted, type) and issubclass(wanted, Message)):
        raise _undecodable(payload, f"it is a protobuf message, not {name_of(wanted)}")
    try:
        return wanted.FromString(payload.data)
    except DecodeError as error:
        raise _undecodable(payload, f"it does not parse as {wanted.DESCRIPTOR.full_name}: {error}") from error


def _undecodable(payload: Payload, why: str) -> NotDecodable:
    facts = {"content_type": payload.content_type, "bytes": str(len(payload.data))}
    return NotDecodable(f"The payload cannot be read: {why}.", ErrorDetails(facts=facts))


def _to_type(value: object, wanted: Any) -> Any:
    try:
        shape = _known_shape(wanted) if isinstance(wanted, type) else shape_of(wanted)
        return shape(value, "")
    except Misfit as error:
        raise NotDecodable(f"The payload is not a {name_of(wanted)}: {error}.") from error
    except TypeError as error:
        raise NotDecodable(f"The payload cannot be read: {error}.") from error


_known_shape = lru_cache(256)(shape_of)
