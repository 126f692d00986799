"""Arguments of a typed submit: what the caller gives is what the handler gets, whatever the signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from jobwire._packing import Packing, result_type_of
from jobwire.app import JobContext, Retry, Snooze
from jobwire.codecs import decode, encode
from jobwire.errors import NotEncodable
from jobwire.payload import Payload
from jobwire.worker.arguments import Arguments
from tests.worker.test_typed_arguments import CART, ITEM, ROUND_TRIPS, Cart, Item, taking


def travel(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a call, through a payload, to the arguments that a worker calls the handler with."""
    arguments = Arguments.of(function)
    bound, named = arguments.bind(Packing(function, arguments).payload(args, kwargs))
    return tuple(bound), dict(named)


def arrived(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the handler returns on the other side."""
    bound, named = travel(function, *args, **kwargs)
    return function(*bound, **named)


@pytest.mark.parametrize("among", [False, True], ids=["alone", "among others"])
@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS, ids=lambda each: str(each)[:40])
def test_an_annotated_argument_arrives_as_it_was(annotation: Any, value: Any, among: bool) -> None:
    function = taking(annotation, among=among)

    assert arrived(function, value) == value
    assert arrived(function, x=value) == value
    assert type(arrived(function, value)) is type(value)


@dataclass
class Wish:
    what: str
    by: datetime


def everything(a: int, b: str = "b", *rest: float, c: bool = False, **more: Wish) -> Any:
    return a, b, rest, c, more


def placed(a: int, b: str = "b", /, *rest: bytes) -> Any:
    return a, b, rest


def named(*, a: int, b: timedelta = timedelta(1)) -> Any:
    return a, b


def loose(a, b=2, **more):  # type: ignore[no-untyped-def]
    return a, b, more


def raw(data: bytes = b"nothing") -> Any:
    return data


def untouched(data: Payload) -> Any:
    return data


def perhaps(item: Item | None = ITEM) -> Any:
    return item


def message(at: Timestamp | None) -> Any:
    return at


def anything(x: Any) -> Any:
    return x


def none() -> Any:
    return "called"


def with_context(ctx: JobContext, cart: Cart) -> Any:
    return cart


WISH = Wish("tea", datetime(2026, 11, 21, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (everything, (1,), {}),
        (everything, (1, "x"), {"c": True}),
        (everything, (), {"a": 1, "c": True, "gift": WISH}),
        (everything, (1, "x", 0.5, 1.5), {}),
        (placed, (1,), {}),
        (placed, (1, "x", b"\x00", b"\xff"), {}),
        (named, (), {"a": 1}),
        (named, (), {"a": 1, "b": timedelta(seconds=1.5)}),
        (loose, (1,), {}),
        (loose, ({"deep": [1, None]}, "x"), {"y": 0.5}),
        (loose, ([1, 2],), {}),
        (raw, (), {}),
        (raw, (b"\x00\xff",), {}),
        (raw, (b"",), {}),
        (untouched, (Payload(b"\x1f", "application/x-thing", "gzip"),), {}),
        (perhaps, (), {}),
        (perhaps, (None,), {}),
        (perhaps, (ITEM,), {}),
        (message, (None,), {}),
        (message, (Timestamp(seconds=3),), {}),
        (anything, (b"\x00\xff",), {}),
        (anything, (None,), {}),
        (anything, ("text",), {}),
        (none, (), {}),
    ],
)
def test_arguments_arrive_as_they_were_given_in_whatever_way(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert arrived(function, *args, **kwargs) == function(*args, **kwargs)


def test_the_context_is_none_of_the_arguments() -> None:
    assert travel(with_context, CART) == ((CART,), {})


def test_names_are_preferred_so_that_a_handler_may_change_while_jobs_wait() -> None:
    def handler(a: int, b: int) -> None: ...

    payload = Packing(handler, Arguments.of(handler)).payload((1,), {"b": 2})

    assert payload == Payload(b'{"a":1,"b":2}', "application/json", is_text=True)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"c": 1}), ((1,), {"a": 1})])
def test_what_the_function_would_not_take_is_refused_as_the_function_would(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    def handler(a: int, b: int = 2) -> None: ...

    with pytest.raises(TypeError, match="argument"):
        travel(handler, *args, **kwargs)


def test_arguments_that_no_payload_can_hold_are_refused_where_they_are_given() -> None:
    def bytes_or_nothing(data: bytes | None) -> None: ...

    with pytest.raises(NotEncodable, match="travel together"):
        travel(everything, 1, "x", 0.5, c=True)
    with pytest.raises(NotEncodable, match="None cannot travel"):
        travel(bytes_or_nothing, None)
    with pytest.raises(NotEncodable, match="object"):
        travel(loose, object())


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int, int), (None, None), (Any, None), (Item | None, Item | None), (dict[str, int] | Snooze, dict[str, int]),
        (Item | Snooze | Retry | None, Item | None), (Snooze, None), ("Unknown", None), (list[Item], list[Item]),
    ],
    ids=str,
)  # fmt: skip
def test_the_result_has_the_type_of_the_annotation_without_the_words_that_steer(hint: Any, expected: Any) -> None:
    def handler() -> Any: ...

    handler.__annotations__["return"] = hint

    assert result_type_of(handler) == expected


@pytest.mark.parametrize("value", [b"\x00", None])
def test_a_result_that_may_be_bytes_or_nothing_is_read_as_either(value: bytes | None) -> None:
    wanted: Any = bytes | None

    assert decode(encode(value), wanted) == value
