"""Values of pydantic and msgspec. Neither is imported before somebody's annotations or values come from it."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterator
from typing import Any

MAX_FAULTS = 5
"""Faults of one value that are told; the rest is more of the same."""


class Misfit(Exception):
    """A JSON value of another shape than was asked for; the text says where, and what it is instead."""


Shape = Callable[[Any, str], Any]
"""Makes a typed value of a JSON value, given the path where it stands ("" = it is the whole). Raises Misfit."""


def foreign_shape(wanted: Any) -> Shape | None:
    """How to make what an annotation asks for, when one of the libraries knows; None when neither has to do with it.

    The library is given the whole annotation, unions and containers included, since its rules hold there, too.
    """
    homes = {home for leaf in _leaves(wanted) if (home := _home_of(leaf)) is not None}
    if homes == {"pydantic"}:
        return _pydantic_shape(wanted)
    if homes == {"msgspec"}:
        return _msgspec_shape(wanted)
    return None  # none, or both: then the parts decide


def is_foreign(value: object) -> bool:
    """Whether a value is of one of the libraries."""
    return _home_of(type(value)) is not None


def foreign_plain(value: Any) -> object:
    """What a value of one of the libraries is in JSON."""
    if _home_of(type(value)) == "pydantic":
        # Models and dataclasses alike. By alias: that is what validation reads.
        plain: object = value.__pydantic_serializer__.to_python(value, mode="json", by_alias=True)
        return plain
    import msgspec  # noqa: PLC0415 - imported already: the value is one of its own

    return msgspec.to_builtins(value)


def _leaves(wanted: Any) -> Iterator[Any]:
    """The classes an annotation is made of, and what `Annotated` adds to them."""
    origin = typing.get_origin(wanted)
    if origin is typing.Literal:
        return
    yield origin or wanted
    for argument in typing.get_args(wanted):
        yield from _leaves(argument)


def _home_of(leaf: Any) -> str | None:
    if isinstance(leaf, type):
        if hasattr(leaf, "__pydantic_validator__"):
            return "pydantic"
        return "msgspec" if hasattr(leaf, "__struct_fields__") else None
    home = type(leaf).__module__.partition(".")[0]
    return home if home in {"pydantic", "msgspec"} else None


def _pydantic_shape(wanted: Any) -> Shape:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - imported already, by the annotation

    adapter: TypeAdapter[Any] = TypeAdapter(wanted)

    def shape(value: Any, path: str) -> Any:
        try:
            # As JSON: in strict models a date may be text then, as it may not among Python's values.
            return adapter.validate_json(json.dumps(value))
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            texts = [f"{joined(path, *fault['loc'])}: {fault['msg']}" for fault in faults[:MAX_FAULTS]]
            more = [f"and {len(faults) - MAX_FAULTS} faults more"] if len(faults) > MAX_FAULTS else []
            raise Misfit("; ".join(texts + more)) from error
        except TypeError as error:  # bytes: its media type is not JSON
            raise Misfit(f"{path or 'it'} is {type(value).__name__}, not JSON") from error

    return shape


def _msgspec_shape(wanted: Any) -> Shape:
    import msgspec  # noqa: PLC0415 - imported already, by the annotation

    def shape(value: Any, path: str) -> Any:
        try:
            return msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            text, _, place = str(error).partition(" - at `$")
            raise Misfit(f"{joined(path) + place.rstrip('`') or 'it'}: {text}") from error

    return shape


def joined(path: str, *steps: int | str) -> str:
    """A path with steps added: `order`, `items`, 0, `price` → `order.items[0].price`; "it" when there is none."""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path or "it"
