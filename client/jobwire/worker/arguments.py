"""How a payload becomes the arguments of a handler.

A first parameter annotated `JobContext` (or called `ctx` without annotation) gets the context and is not counted here.
What is left decides; the first three rows are for handlers with a single parameter:

| Handler | Payload | Call |
|---|---|---|
| `f(data: bytes)`, `f(p: Payload)` | any | the bytes, or bytes with their media type, untouched |
| `f(m: Message)` of protobuf | `application/x-protobuf`, else as JSON | the message, parsed |
| `f(x: T)`, T can take an object or array | JSON | `f(value)`, whole |
| any other | JSON object | `f(**object)` |
| any other | JSON array | `f(*array)` |
| any other | JSON text, number, true, false, null | `f(value)` |
| any other | `text/…` | `f(text)` |
| any other | other media types | `f(bytes)` |
| any other | none, or empty | `f()` |

Whatever a parameter is annotated with, its value is made of the JSON by the table of `jobwire._shapes`: pydantic
models, msgspec structs, dataclasses, TypedDicts, messages, `dict[str, int]`, `datetime`, `str | None` … A parameter
without an annotation takes anything. T may be `Any`, `dict`, `list[int]`, a model, or a union with one of these.

A payload without a media type is JSON. Arguments that do not fit never reach the handler.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from google.protobuf.message import DecodeError, Message

from jobwire._foreign import Misfit, Shape
from jobwire._shapes import is_compound, shape_of, without_none
from jobwire.payload import Payload
from jobwire.worker.context import JobContext

_NOTHING: Mapping[str, Any] = {}
_PROTOBUF = "application/x-protobuf"
_ADVICE = "Submit a JSON object with the parameters by name, or a JSON array with them in order."

Whole = Callable[[Payload], Any]
"""Makes the only argument of a payload. Raises Misfit, PayloadMismatch."""


class PayloadMismatch(Exception):
    """The payload cannot be read, or does not fit the handler's signature. No retry will help."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a handler's signature asks for, worked out once."""

    names: frozenset[str]
    """Parameters that can be given by name."""
    required: frozenset[str]
    only_by_name: frozenset[str]
    """Required parameters that cannot be given by place."""
    only_by_place: bool
    """There is a required parameter that cannot be given by name."""
    positional: range
    """How many positional arguments the handler takes."""
    takes_any_name: bool
    wants_context: bool
    whole: Whole | None
    """The only parameter takes the whole payload: how."""
    places: tuple[str, ...]
    """Names of the parameters that can be given by place, and in the end that of `*rest`."""
    shapes: Mapping[str, Shape]
    """What to make of a value, by the name of its parameter; those without an entry take anything."""
    rest_shape: Shape | None
    """The same for names that only `**rest` takes."""
    signature: str

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Arguments:
        """Read a handler's signature. Raises TypeError when an annotation is one that no payload can become."""
        signature = inspect.signature(function)
        hints = _hints(function)
        parameters = list(signature.parameters.values())
        wants_context = bool(parameters) and _is_context(parameters[0], hints)
        parameters = parameters[wants_context:]
        by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        by_name = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
        kinds = {p.kind: p for p in parameters}
        rest = kinds.get(inspect.Parameter.VAR_POSITIONAL)
        any_name = kinds.get(inspect.Parameter.VAR_KEYWORD)
        least = sum(p.default is p.empty for p in by_place)
        whole = _whole(parameters, hints)
        shapes = {} if whole else {p.name: shape for p in parameters if (shape := _shape(p, hints)) is not None}
        return cls(
            names=frozenset(p.name for p in by_name),
            required=frozenset(p.name for p in by_name if p.default is p.empty),
            only_by_name=frozenset(p.name for p in by_name if p.kind is p.KEYWORD_ONLY and p.default is p.empty),
            only_by_place=any(p.kind is p.POSITIONAL_ONLY and p.default is p.empty for p in by_place),
            positional=range(least, (1 << 30) if rest else len(by_place) + 1),
            takes_any_name=any_name is not None,
            wants_context=wants_context,
            whole=whole,
            places=tuple(p.name for p in (*by_place, *([rest] if rest else []))),
            shapes=shapes,
            rest_shape=shapes.pop(any_name.name, None) if any_name else None,
            signature=str(signature),
        )

    def bind(self, payload: Payload | None) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Turn a payload into positional and named arguments. Raises PayloadMismatch with a sentence."""
        try:
            return self._bind(payload)
        except Misfit as misfit:
            raise PayloadMismatch(
                f"The payload does not fit the handler's parameters {self.signature}: {misfit}."
            ) from misfit

    def _bind(self, payload: Payload | None) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if self.whole is not None:
            if payload is None and 0 in self.positional:
                return (), _NOTHING
            return (self.whole(payload or Payload(b"")),), _NOTHING
        if payload is None or not payload.data:
            return self._positional(())
        value = read(payload)
        if type(value) is dict:
            return self._named(value)
        if type(value) is list:
            return self._positional(value)
        return self._positional((value,))

    def _named(self, values: dict[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        keys = values.keys()
        if self.required <= keys and (self.takes_any_name or keys <= self.names) and not self.only_by_place:
            if not self.shapes and self.rest_shape is None:
                return (), values
            shapes, rest = self.shapes, self.rest_shape
            return (), {
                name: _shaped(shapes.get(name) if name in self.names else rest, value, name)
                for name, value in values.items()
            }
        missing, strange = sorted(self.required - keys), sorted(keys - self.names)
        faults = ["a parameter that is only known by its place is missing"] if self.only_by_place else []
        faults += [f"{name!r} is missing" for name in missing[:5]]
        if not self.takes_any_name:
            faults += [f"{name[:80]!r} is not known" for name in strange[:5]]
        raise PayloadMismatch(
            f"The payload does not fit the handler's parameters {self.signature}: {', '.join(faults)}. {_ADVICE}"
        )

    def _positional(self, values: Sequence[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if len(values) not in self.positional or self.only_by_name:
            raise PayloadMismatch(
                f"The payload does not fit the handler's parameters {self.signature}: it has {len(values)} positional "
                f"arguments. {_ADVICE}"
            )
        if not self.shapes or not values:
            return values, _NOTHING
        names = (*self.places, *repeat(self.places[-1], len(values) - len(self.places)))
        pairs = zip(names, values, strict=False)
        return [_shaped(self.shapes.get(name), value, name) for name, value in pairs], _NOTHING


def read(payload: Payload) -> Any:
    """Decode by media type: JSON (also when there is none), text, or bytes. Raises PayloadMismatch."""
    if payload.content_encoding not in {"", "identity"}:
        raise PayloadMismatch(
            f"The payload is encoded as {payload.content_encoding!r}, which this worker does not undo. "
            "Annotate the parameter as bytes or Payload to decode it in the handler."
        )
    media_type = _media_type(payload)
    try:
        if media_type in {"", "application/json"} or media_type.endswith("+json"):
            return json.loads(payload.data)
        if media_type.startswith("text/"):
            return payload.data.decode()
    except (ValueError, RecursionError) as error:
        raise PayloadMismatch(
            f"The payload is no {media_type or 'JSON'}: {error}. Submit JSON, or name its media type."
        ) from error
    return payload.data


def _media_type(payload: Payload) -> str:
    return payload.content_type.partition(";")[0].strip().lower()


def _whole(parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> Whole | None:
    if len(parameters) != 1 or parameters[0].kind in (
        inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY,
    ):  # fmt: skip
        return None
    name = parameters[0].name
    if (hint := hints.get(name)) is None:
        return None
    bare = without_none(hint)
    if bare is Payload:
        return lambda payload: payload
    if bare is bytes:
        return lambda payload: payload.data
    if isinstance(bare, type) and issubclass(bare, Message):
        return _parse(bare, _read_into(shape_of(hint), name))
    return _read_into(shape_of(hint), name) if is_compound(hint) else None


def _read_into(shape: Shape, name: str) -> Whole:
    return lambda payload: shape(read(payload) if payload.data else None, name)


def _parse(kind: type[Message], parse_json: Whole) -> Whole:
    full_name = kind.DESCRIPTOR.full_name

    def parse(payload: Payload) -> Any:
        if _media_type(payload) != _PROTOBUF or payload.content_encoding not in {"", "identity"}:
            return parse_json(payload)
        named = payload.content_type.partition("type=")[2].strip().strip('"')
        if named not in {"", full_name}:
            raise Misfit(f"it is a {named:.200}, not a {full_name}")
        try:
            return kind.FromString(payload.data)
        except DecodeError as error:
            raise Misfit(f"it does not parse as {full_name}: {error}") from error

    return parse


def _shape(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Shape | None:
    hint = hints.get(parameter.name, Any)
    if hint in (Any, object) or isinstance(hint, str):  # text: a name that could not be resolved
        return None
    try:
        return shape_of(hint)
    except TypeError as error:
        raise TypeError(f"Parameter {parameter.name!r}: {error}. Annotate it with what its JSON is.") from error


def _shaped(shape: Shape | None, value: Any, name: str) -> Any:
    return value if shape is None else shape(value, name)


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    hint = hints.get(parameter.name)
    return hint is JobContext or (hint is None and parameter.name == "ctx")


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Annotations as objects; where names cannot be resolved, what can be told from their text."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        known = {"JobContext": JobContext, "bytes": bytes, "Payload": Payload, "dict": dict, "list": list, "Any": Any}
        texts = {name: str(hint).split("[")[0].rpartition(".")[2] for name, hint in _annotations(function).items()}
        return {name: known.get(text, text) for name, text in texts.items()}


def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    return getattr(inspect.unwrap(function), "__annotations__", {})
