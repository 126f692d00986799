"""Typed parameters and results: what a client sends is what the handler gets, or the job fails with the place."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.app import App, JobContext
from jobwire.codecs import decode, encode
from jobwire.payload import Payload
from jobwire.v1.job_pb2 import RetryPolicy
from jobwire.worker.arguments import Arguments, PayloadMismatch
from jobwire.worker.transport import Success
from tests.worker.support import working


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    name: str
    due: date
    count: int = pydantic.Field(default=1, alias="Count")


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str]


@pydantic.dataclasses.dataclass
class Range:
    low: int
    high: int

    @pydantic.model_validator(mode="after")
    def ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Point(msgspec.Struct):
    x: float
    y: float = 0.0
    seen: datetime | None = None


class Circle(msgspec.Struct, tag=True):
    radius: float


class Square(msgspec.Struct, tag=True):
    side: float


@dataclass
class Line:
    product: str
    count: int = 1


@dataclass
class Node:
    value: int
    next: Node | None = None


@dataclass
class Cart:
    item: Item
    at: Point
    lines: tuple[Line, ...] = ()
    tags: dict[str, set[int]] = field(default_factory=dict)


class Options(TypedDict):
    quality: int
    format: NotRequired[Literal["png", "gif"]]


class Wide(Options):
    width: float


Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]
Customer = NewType("Customer", int)
Positive = Annotated[int, pydantic.Field(gt=0)]
Short = Annotated[str, msgspec.Meta(max_length=3)]

ITEM = Item(name="tea", due=date(2026, 11, 21), Count=2)
CART = Cart(ITEM, Point(1.5), (Line("tea"), Line("milk", 2)))
WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)


def taking(annotation: Any, *, among: bool = False) -> Callable[..., Any]:
    """A handler with one parameter `x` of this annotation, or with a plain one beside it."""

    def alone(x: Any) -> Any:
        return x

    def beside(x: Any, other: str = "") -> Any:
        return x

    function = beside if among else alone
    function.__annotations__ = {**function.__annotations__, "x": annotation}
    if among:
        function.__annotations__["other"] = str
    return function


def bound(function: Callable[..., Any], payload: Payload | None) -> Any:
    args, kwargs = Arguments.of(function).bind(payload)
    return function(*args, **kwargs)


ROUND_TRIPS: list[tuple[Any, Any]] = [
    (Item, ITEM),
    (list[Item], [ITEM, ITEM]),
    (Item | None, ITEM),
    (dict[str, Item], {"a": ITEM}),
    (Pet, Dog(tricks=["sit"])),
    (list[Pet], [Cat(lives=9), Dog(tricks=[])]),
    (Cat | Dog, Dog(tricks=["sit"])),
    (Range, Range(1, 2)),
    (Point, Point(1.0, 2.0, WHEN)),
    (list[Point], [Point(1.0)]),
    (Circle | Square, Square(2.0)),
    (Line, Line("tea", 2)),
    (Node, Node(1, Node(2))),
    (Cart, CART),
    (Item | Line, Line("tea")),
    (Options, {"quality": 3, "format": "png"}),
    (Wide, {"quality": 3, "width": 1.0}),
    (Duration, Duration(seconds=3)),
    (Timestamp, Timestamp(seconds=3)),
    (dict[str, Timestamp], {"a": Timestamp(seconds=3)}),
    (dict[int, str], {1: "a"}),
    (list[tuple[int, str]], [(1, "a")]),
    (Mapping[str, Sequence[int]], {"a": [1]}),
    (list[Colour], [Colour.BLUE]),
    (list[datetime], [WHEN]),
    (list[timedelta], [timedelta(seconds=1.5)]),
    (list[UUID], [UUID(int=1)]),
    (list[Decimal], [Decimal("1.10")]),
    (list[bytes], [b"\x00\xff"]),
    (list[Customer], [Customer(3)]),
    (dict[str, int | list[int]], {"a": 1, "b": [2]}),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (Any, {"a": [1, None]}),
]


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS, ids=lambda each: str(each)[:40])
def test_a_value_that_is_submitted_is_the_one_that_its_handler_gets(annotation: Any, value: Any) -> None:
    got = bound(taking(annotation), encode(value))
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(("annotation", "value"), ROUND_TRIPS, ids=lambda each: str(each)[:40])
def test_so_it_is_for_one_parameter_among_others_by_name_and_by_place(annotation: Any, value: Any) -> None:
    function = taking(annotation, among=True)
    assert bound(function, encode({"x": value, "other": "o"})) == value
    assert bound(function, encode([value, "o"])) == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        *ROUND_TRIPS, (int, 3), (float, 0.5), (bool, True), (str, "x"), (Colour, Colour.RED), (datetime, WHEN),
        (bytes, b"\x00"), (Literal["a", 3], 3), (str | None, None), (Positive, 3), (Short, "abc"),
    ],
    ids=lambda each: str(each)[:40],
)  # fmt: skip
def test_a_client_that_names_the_type_reads_a_result_as_what_the_handler_returned(annotation: Any, value: Any) -> None:
    assert decode(encode(value), annotation) == value


def test_a_scalar_parameter_takes_its_value_alone_by_name_or_by_place() -> None:
    for payload in (encode(WHEN), encode({"x": WHEN}), encode([WHEN])):
        assert bound(taking(datetime), payload) == WHEN


def test_a_whole_number_is_a_float_where_one_is_asked_for() -> None:
    got = bound(taking(float), encode(3))
    assert (got, type(got)) == (3.0, float)


def test_a_message_comes_as_protobuf_or_as_its_json_by_either_name_of_a_field() -> None:
    sent = encode(RetryPolicy(max_attempts=3))
    assert sent is not None
    assert sent.content_type == "application/x-protobuf; type=jobwire.v1.RetryPolicy"
    nameless = sent._replace(content_type="application/x-protobuf")
    texts = [Payload(text, "application/json") for text in (b'{"maxAttempts": 3}', b'{"max_attempts": 3}')]
    for payload in (sent, nameless, *texts):
        assert bound(taking(RetryPolicy | None), payload) == RetryPolicy(max_attempts=3)


def test_a_job_without_a_payload_takes_the_default_and_needs_one() -> None:
    def handler(order: Line = Line("tea")) -> Line:  # noqa: B008
        return order

    assert bound(handler, None) == Line("tea")
    assert bound(taking(Line | None), None) is None
    with pytest.raises(PayloadMismatch, match="x is NoneType, not an object"):
        bound(taking(Line), None)


def test_the_rest_by_place_and_by_name_is_typed_too() -> None:
    def handler(first: str, /, *numbers: Decimal, last: int = 0, **times: datetime) -> object:
        return first, numbers, last, times

    assert bound(handler, encode(["a", "1", "2"])) == ("a", (Decimal(1), Decimal(2)), 0, {})

    def named(last: int, **times: datetime) -> object:
        return last, times

    assert bound(named, encode({"last": 1, "a": WHEN})) == (1, {"a": WHEN})
    with pytest.raises(PayloadMismatch, match="a is int, not datetime"):
        bound(named, encode({"last": 1, "a": 1}))


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (Item, {"name": "tea", "due": "soon", "Count": "x"}, "x.due: Input should be a valid date"),
        (Item, {"name": "tea", "due": "soon", "Count": "x"}, "x.Count: Input should be a valid integer"),
        (list[Item], [{"name": "tea"}], r"x\[0\].due: Field required"),
        (Pet, {"kind": "cow"}, "x: Input tag 'cow' found using 'kind' does not match"),
        (Range, {"low": 2, "high": 1}, "x: Value error, low is above high"),
        (Positive, 0, "x: Input should be greater than 0"),
        (Point, {"x": "a"}, r"x.x: Expected `float`, got `str`"),
        (list[Point], [{"x": 1}, {}], r"x\[1\]: Object missing required field `x`"),
        (Short, "abcd", "x: Expected `str` of length <= 3"),
        (Line, {"product": 1}, "x.product is int, not str"),
        (Line, {"count": 1}, "x.product is missing"),
        (Line, {"product": "tea", "price": 1}, "it has no field x.price"),
        (Node, {"value": 1, "next": {"value": "x"}}, "x.next.value is str, not int"),
        (Cart, {"item": {}, "at": {"x": 1}}, "x.item.name: Field required"),
        (Cart, {"item": json.loads(ITEM.model_dump_json(by_alias=True)), "at": {"x": "a"}}, "x.at.x: Expected `float`"),
        (Options, {"format": "png"}, "x.quality is missing"),
        (Options, {"quality": 1, "format": "tiff"}, "x.format is 'tiff', not one of 'png', 'gif'"),
        (Timestamp, {"seconds": 1}, "Timestamp"),
        (Duration, 3, r"x is no google\.protobuf\.Duration"),
        (RetryPolicy, "x", "x is str, not a message"),
        (RetryPolicy, {"maxTries": 3}, r"x is no jobwire\.v1\.RetryPolicy: .*maxTries"),
        (int, "3", "x is str, not int"),
        (int, True, "x is bool, not int"),
        (str | None, 3, "x is int, not str"),
        (int | str, 1.5, "x is float, which fits none of the types allowed"),
        (Colour, "green", "x: 'green' is not a valid Colour"),
        (datetime, "soon", "x is no datetime: Invalid isoformat string: 'soon'"),
        (Decimal, "much", "x is no Decimal"),
        (list[bytes], ["%"], r"x\[0\] is no bytes"),
        (list[int], [1, "2"], r"x\[1\] is str, not int"),
        (list[int], {"a": 1}, "x is dict, not list"),
        (tuple[int, int], [1], "x has 1 elements, not 2"),
        (dict[str, int], {"a": "b"}, "x.a is str, not int"),
        (dict[int, int], {"a": 1}, "x.a is no int"),
        (timedelta, 1e300, "x:"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_does_not_fit_is_refused_with_its_place_and_the_reason(annotation: Any, value: Any, text: str) -> None:
    for function, payload in ((taking(annotation), encode(value)), (taking(annotation, among=True), encode([value]))):
        with pytest.raises(PayloadMismatch, match=text) as caught:
            bound(function, payload)
        assert str(caught.value).startswith("The payload does not fit the handler's parameters (x: ")


def test_bytes_among_json_are_base64() -> None:
    encoded = encode([b"\x00\xff"])
    assert encoded is not None
    assert json.loads(encoded.data) == [base64.b64encode(b"\x00\xff").decode()]


def test_many_faults_of_a_model_are_a_few_and_their_number() -> None:
    with pytest.raises(PayloadMismatch) as caught:
        bound(taking(list[Item]), encode([{}] * 100))
    assert "and 195 faults more" in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("payload", [Payload(b"GIF", "image/gif"), Payload(b"text", "text/plain")])
@pytest.mark.parametrize("annotation", [Item, Point, Line, Options, Timestamp, list[int]])
def test_other_media_types_do_not_fit_where_a_shape_is_asked_for(annotation: Any, payload: Payload) -> None:
    with pytest.raises(PayloadMismatch):
        bound(taking(annotation), payload)


def test_a_message_of_another_type_or_a_broken_one_is_refused() -> None:
    with pytest.raises(PayloadMismatch, match=r"it is a google\.protobuf\.Duration, not a google\.protobuf\.Timestamp"):
        bound(taking(Timestamp), encode(Duration(seconds=1)))
    with pytest.raises(PayloadMismatch, match="it does not parse"):
        bound(taking(Timestamp), Payload(b"\xff", "application/x-protobuf"))


def test_an_annotation_that_no_payload_can_become_is_refused_when_the_handler_is_read() -> None:
    with pytest.raises(TypeError, match="Parameter 'x': no JSON can become a Path"):
        Arguments.of(taking(Path, among=True))


@pytest.mark.asyncio
async def test_a_typed_handler_runs_on_what_a_client_sends_and_returns_its_kind() -> None:
    app = App("shop")

    @app.job("age")
    def age(ctx: JobContext, item: Item) -> Item:
        return item.model_copy(update={"count": item.count + ctx.attempt})

    @app.job("move")
    async def move(point: Point, by: Line) -> Point:
        return Point(point.x + by.count)

    @app.job("stamp")
    def stamp(at: Timestamp) -> Timestamp:
        return Timestamp(seconds=at.seconds + 1)

    async with working(app) as worker:
        aged = await worker.server.outcome(worker.server.offer("age", encode(ITEM)))
        moved = await worker.server.outcome(worker.server.offer("move", encode([Point(1.0), Line("x", 2)])))
        stamped = await worker.server.outcome(worker.server.offer("stamp", encode(Timestamp(seconds=1))))

    assert isinstance(aged, Success)
    assert aged.result == Payload(b'{"name":"tea","due":"2026-11-21","Count":3}', "application/json", is_text=True)
    assert decode(aged.result, Item).count == 3
    assert isinstance(moved, Success)
    assert decode(moved.result, Point) == Point(3.0)
    assert isinstance(stamped, Success)
    assert stamped.result is not None
    assert stamped.result.content_type == "application/x-protobuf; type=google.protobuf.Timestamp"
    assert decode(stamped.result, Timestamp) == Timestamp(seconds=2)


def test_the_libraries_are_not_imported_for_handlers_that_do_not_use_them() -> None:
    code = """
import sys
from jobwire.app import App
from jobwire.codecs import decode, encode
app = App("plain")
@app.job("t")
def handler(a: int, b: list[str] | None = None) -> dict: ...
assert handler.arguments.bind(encode({"a": 1, "b": ["x"]})) == ((), {"a": 1, "b": ["x"]})
decode(encode({"a": 1}), dict[str, int])
print(sorted({"pydantic", "msgspec", "google.protobuf.json_format", "grpc"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"
