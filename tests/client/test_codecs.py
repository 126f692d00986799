"""Values to payloads and back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from jobwire.codecs import decode, encode
from jobwire.errors import NotDecodable, NotEncodable
from jobwire.payload import Payload


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Line:
    product: str
    count: int = 1


@dataclass(frozen=True)
class Order:
    lines: tuple[Line, ...]
    placed: datetime
    note: str | None = None
    totals: dict[str, float] = field(default_factory=dict)


class Model:
    """As pydantic's models look from outside."""

    def __init__(self, n: int) -> None:
        self.n = n

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        assert mode == "json"
        return {"n": self.n}

    @classmethod
    def model_validate(cls, value: Any) -> Self:
        if not isinstance(value.get("n"), int):
            raise ValueError("n must be an int")  # noqa: TRY004 - as pydantic does
        return cls(value["n"])


texts = st.text(st.characters(exclude_categories=["Cs"]))  # no lone surrogates: they have no UTF-8
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@given(json_values)
def test_json_values_come_back_as_they_were(value: object) -> None:
    assert decode(encode(value)) == value


def test_json_is_readable_text() -> None:
    assert encode({"to": "Zoë"}) == Payload('{"to":"Zoë"}'.encode(), "application/json", is_text=True)


@pytest.mark.parametrize("value", [b"\x00\xff", bytearray(b"\x00\xff"), memoryview(b"\x00\xff")])
def test_bytes_travel_as_they_are(value: bytes) -> None:
    payload = encode(value)

    assert payload == Payload(b"\x00\xff", "application/octet-stream")
    assert decode(payload) == b"\x00\xff"


def test_nothing_is_no_payload() -> None:
    assert encode(None) is None
    assert decode(None) is None


def test_a_protobuf_message_names_its_type_and_comes_back_when_asked_for() -> None:
    payload = encode(Timestamp(seconds=5))

    assert payload is not None
    assert payload.content_type == "application/x-protobuf; type=google.protobuf.Timestamp"
    assert decode(payload, Timestamp) == Timestamp(seconds=5)
    assert decode(payload) == Timestamp(seconds=5).SerializeToString()


def test_a_payload_is_taken_as_it_is() -> None:
    payload = Payload(b"a: 1", "application/yaml", is_text=True)

    assert encode(payload) is payload
    assert decode(payload, Payload) is payload
    assert decode(payload) == "a: 1"


def test_common_python_values_become_json() -> None:
    value = {
        "when": datetime(2026, 1, 1, tzinfo=UTC), "id": UUID(int=1), "colour": Colour.RED, "model": Model(3),
        "pause": timedelta(seconds=1.5), "line": Line("tea"),
    }  # fmt: skip

    assert decode(encode(value)) == {
        "when": "2026-01-01T00:00:00+00:00", "id": str(UUID(int=1)), "colour": "red", "model": {"n": 3}, "pause": 1.5,
        "line": {"product": "tea", "count": 1},
    }  # fmt: skip


def test_a_dataclass_comes_back_as_itself() -> None:
    order = Order((Line("tea", 2), Line("milk")), datetime(2026, 1, 1, tzinfo=UTC), totals={"eur": 3})

    assert decode(encode(order), Order) == order


def test_a_class_with_model_validate_is_built_by_it() -> None:
    assert decode(encode(Model(3)), Model).n == 3
    with pytest.raises(NotDecodable, match="n must be an int"):
        decode(encode({"n": "x"}), Model)


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}, object(), {(1, 2): 3}, "\ud800"])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(NotEncodable, match="JSON"):
        encode(value)


def test_a_cycle_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)

    with pytest.raises(NotEncodable):
        encode(cycle)


@pytest.mark.parametrize(
    ("value", "wanted", "word"),
    [
        ({"product": 1}, Line, "product is int, not str"),
        ({"product": "tea", "price": 1}, Line, "no field price"),
        ({}, Line, "product"),
        ([], Line, "not an object"),
        ({"lines": [{"product": "tea"}, 3], "placed": "2026-01-01"}, Order, r"lines\[1\]"),
        ({"lines": [], "placed": "yesterday"}, Order, "Order"),
        (True, int, "bool"),
        ("1", int, "str"),
        (None, int, "NoneType"),
        ([1], tuple[int, int], "1 elements"),
        ({"a": "b"}, dict[str, int], "a is str"),
    ],
)
def test_json_of_another_shape_is_refused_with_its_place(value: object, wanted: Any, word: str) -> None:
    with pytest.raises(NotDecodable, match=word):
        decode(encode(value) or Payload(b"null", "application/json"), wanted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1, float),
        ([1, 2], list[int]),
        (["a", 1], tuple[str, int]),
        (None, int | None),
        ({"a": 1}, dict[str, int]),
        ("x", Any),
    ],
)
def test_json_of_the_right_shape_is_taken(value: object, wanted: Any) -> None:
    decoded = decode(encode(value), wanted)

    assert json.dumps(decoded) in (json.dumps(value), json.dumps(float(1)))


@pytest.mark.parametrize(
    "payload",
    [
        Payload(b"{", "application/json", is_text=True),
        Payload(b"\xff", "application/json"),
        Payload(b"[" * 100_000, "application/json"),
        Payload(b"x", "application/json", "gzip"),
    ],
    ids=["cut", "not UTF-8", "too deep", "encoded"],
)
def test_a_payload_that_is_not_what_it_claims_is_refused_but_its_bytes_can_be_read(payload: Payload) -> None:
    with pytest.raises(NotDecodable):
        decode(payload)

    assert decode(payload, bytes) == payload.data


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(NotDecodable, match="Timestamp"):
        decode(Payload(b"\xff", "application/x-protobuf"), Timestamp)
    with pytest.raises(NotDecodable, match="protobuf"):
        decode(Payload(b"", "application/x-protobuf"), Line)
