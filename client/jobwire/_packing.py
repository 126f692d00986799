"""How the arguments of a call become a payload: the way there, of which `jobwire.worker.arguments` is the way back.

What a worker makes of the payload are the same arguments, as far as the parameters are annotated: JSON alone does not
tell a date from text. Names are preferred, so that a handler may gain parameters with defaults while jobs wait.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from jobwire._shapes import unwrapped, without_none
from jobwire.codecs import encode, encode_json
from jobwire.errors import NotEncodable
from jobwire.payload import Payload
from jobwire.worker.arguments import Arguments
from jobwire.worker.steering import Steering

_BY_PLACE = inspect.Parameter.POSITIONAL_ONLY
_REST = inspect.Parameter.VAR_POSITIONAL
_MORE_NAMES = inspect.Parameter.VAR_KEYWORD
_ONLY_BY_NAME = inspect.Parameter.KEYWORD_ONLY


class Packing:
    """What a handler's signature makes of the arguments of a call."""

    def __init__(self, function: Callable[..., Any], arguments: Arguments) -> None:
        """`arguments`: of the same function."""
        parameters = list(inspect.signature(function).parameters.values())[arguments.wants_context :]
        self._signature = inspect.Signature(parameters)
        self._kinds = {parameter.name: parameter.kind for parameter in parameters}
        self._is_whole = arguments.whole is not None
        self._only = _only_hint(function, parameters) if self._is_whole else None

    def payload(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Payload | None:
        """Return the payload of a call with these arguments; None when there are none.

        Raises TypeError as the call itself would, NotEncodable when a value, or the way it was given, cannot travel.
        """
        bound = self._signature.bind(*args, **kwargs)
        if not bound.arguments:
            return None
        if self._is_whole:
            ((name, value),) = bound.arguments.items()
            return self._whole(name, value)
        if any(self._must_be_placed(name, value) for name, value in bound.arguments.items()):
            return self._placed(bound)
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if self._kinds[name] is _MORE_NAMES:
                named.update(value)
            elif self._kinds[name] is not _REST:
                named[name] = value
        return encode_json(named)

    def _must_be_placed(self, name: str, value: Any) -> bool:
        kind = self._kinds[name]
        return kind is _BY_PLACE or (kind is _REST and bool(value))

    def _placed(self, bound: inspect.BoundArguments) -> Payload:
        named = [name for name in bound.arguments if self._kinds[name] in (_ONLY_BY_NAME, _MORE_NAMES)]
        if named:
            raise NotEncodable(
                f"Arguments by place only and by name only ({named[0]!r}) cannot travel together in one payload. Make "
                "all parameters of the handler ones that have a name."
            )
        bound.apply_defaults()
        return encode_json(bound.args)

    def _whole(self, name: str, value: Any) -> Payload | None:
        only = self._only
        if isinstance(value, Payload):
            return value
        if value is None:
            return self._nothing(name, only)
        if only is bytes or only is Any or (isinstance(only, type) and issubclass(only, Message)):
            return encode(value)
        return encode_json(value)

    def _nothing(self, name: str, only: Any) -> Payload | None:
        if only not in (bytes, Payload):
            return encode_json(None)
        if self._signature.parameters[name].default is None:
            return None
        raise NotEncodable(f"None cannot travel to a handler whose only parameter {name!r} takes the payload as it is.")


def result_type_of(function: Callable[..., Any]) -> Any:
    """The type that a handler's annotation promises as its result, without the words that steer; None = not told."""
    hint = unwrapped(_hints(function).get("return", Any))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = tuple(option for option in typing.get_args(hint) if not _is_steering(option))
        hint = typing.Union[options] if options else Any  # noqa: UP007 - of a tuple
    return None if hint in (Any, object, types.NoneType) or _is_steering(hint) else hint


def _is_steering(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Steering)


def _only_hint(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> Any:
    return without_none(_hints(function).get(parameters[0].name, Any))


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # names that only a type checker can resolve
        return {}
