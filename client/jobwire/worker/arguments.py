"""How a payload becomes the arguments of a handler.

A first parameter annotated `JobContext` (or called `ctx` without annotation) gets the context and is not counted here.
What is left decides; the first two rows are for handlers with a single parameter:

| Handler | Payload | Call |
|---|---|---|
| `f(data: bytes)`, `f(p: Payload)` | any | the bytes, or bytes with their media type, untouched |
| `f(x: dict)`, `list`, `Any`, `object`, `Mapping`, `Sequence`, also `dict[str, int]` … | JSON | `f(value)`, whole |
| any other | JSON object | `f(**object)` |
| any other | JSON array | `f(*array)` |
| any other | JSON text, number, true, false, null | `f(value)` |
| any other | `text/…` | `f(text)` |
| any other | other media types | `f(bytes)` |
| any other | none, or empty | `f()` |

A payload without a media type is JSON. Arguments that do not fit the signature never reach the handler.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobwire.payload import Payload
from jobwire.worker.context import JobContext

_NOTHING: Mapping[str, Any] = {}
_RAW = (bytes, Payload)
_WHOLE = (dict, list, object, Any, Mapping, Sequence)


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
    whole: type[bytes] | type[Payload] | type[object] | None
    """The only parameter takes the whole payload: raw bytes, a Payload, or the decoded value."""
    signature: str

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Arguments:
        """Read a handler's signature."""
        signature = inspect.signature(function)
        hints = _hints(function)
        parameters = list(signature.parameters.values())
        wants_context = bool(parameters) and _is_context(parameters[0], hints)
        parameters = parameters[wants_context:]
        by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        by_name = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
        kinds = {p.kind for p in parameters}
        unbounded = inspect.Parameter.VAR_POSITIONAL in kinds
        least = sum(p.default is p.empty for p in by_place)
        return cls(
            names=frozenset(p.name for p in by_name),
            required=frozenset(p.name for p in by_name if p.default is p.empty),
            only_by_name=frozenset(p.name for p in by_name if p.kind is p.KEYWORD_ONLY and p.default is p.empty),
            only_by_place=any(p.kind is p.POSITIONAL_ONLY and p.default is p.empty for p in by_place),
            positional=range(least, (1 << 30) if unbounded else len(by_place) + 1),
            takes_any_name=inspect.Parameter.VAR_KEYWORD in kinds,
            wants_context=wants_context,
            whole=_whole(parameters, hints),
            signature=str(signature),
        )

    def bind(self, payload: Payload | None) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Turn a payload into positional and named arguments. Raises PayloadMismatch with a sentence."""
        if self.whole is not None:
            return (_whole_value(self.whole, payload),), _NOTHING
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
            return (), values
        missing, strange = sorted(self.required - keys), sorted(keys - self.names)
        faults = ["a parameter that is only known by its place is missing"] if self.only_by_place else []
        faults += [f"{name!r} is missing" for name in missing[:5]]
        if not self.takes_any_name:
            faults += [f"{name[:80]!r} is not known" for name in strange[:5]]
        raise PayloadMismatch(
            f"The payload does not fit the handler's parameters {self.signature}: {', '.join(faults)}. "
            "Submit a JSON object with the parameters by name, or a JSON array with them in order."
        )

    def _positional(self, values: Sequence[Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if len(values) in self.positional and not self.only_by_name:
            return values, _NOTHING
        raise PayloadMismatch(
            f"The payload does not fit the handler's parameters {self.signature}: it has {len(values)} positional "
            "arguments. Submit a JSON object with the parameters by name, or a JSON array with them in order."
        )


def read(payload: Payload) -> Any:
    """Decode by media type: JSON (also when there is none), text, or bytes. Raises PayloadMismatch."""
    if payload.content_encoding not in {"", "identity"}:
        raise PayloadMismatch(
            f"The payload is encoded as {payload.content_encoding!r}, which this worker does not undo. "
            "Annotate the parameter as bytes or Payload to decode it in the handler."
        )
    media_type = payload.content_type.partition(";")[0].strip().lower()
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


def _whole_value(kind: type[Any], payload: Payload | None) -> Any:
    if kind is Payload:
        return payload or Payload(b"")
    if kind is bytes:
        return payload.data if payload else b""
    return read(payload) if payload and payload.data else None


def _whole(parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> type[Any] | None:
    if len(parameters) != 1 or parameters[0].kind in (
        inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY,
    ):  # fmt: skip
        return None
    hint = hints.get(parameters[0].name, inspect.Parameter.empty)
    plain = typing.get_origin(hint) or hint
    if plain in _RAW:
        return typing.cast("type[Any]", plain)
    return object if plain in _WHOLE else None


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    hint = hints.get(parameter.name)
    return hint is JobContext or (hint is None and parameter.name == "ctx")


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Annotations as objects; where names cannot be resolved, what can be told from their text."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        known = {"JobContext": JobContext, "bytes": bytes, "Payload": Payload, "dict": dict, "list": list, "Any": Any}
        texts = {name: str(hint).split("[")[0].rpartition(".")[2] for name, hint in _annotations(function).items()}
        return {name: known.get(text, text) for name, text in texts.items()}


def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    return getattr(inspect.unwrap(function), "__annotations__", {})
