"""How payloads become arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from jobwire.app import JobContext
from jobwire.payload import Payload
from jobwire.worker.arguments import Arguments, PayloadMismatch


def by_name(to: str, subject: str = "hi", *, html: bool = False) -> tuple[object, ...]:
    return to, subject, html


def with_context(ctx: JobContext, name: str) -> str:
    return name


def with_bare_context(ctx, name):  # type: ignore[no-untyped-def]
    return name


def nothing() -> str:
    return "called"


def one_text(name: str) -> str:
    return name


def whole_dict(spec: dict[str, Any]) -> dict[str, Any]:
    return spec


def whole_list(rows: list[int]) -> list[int]:
    return rows


def whole_any(value: Any) -> Any:
    return value


def whole_mapping(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return spec


def whole_sequence(ctx: JobContext, rows: Sequence[int]) -> Sequence[int]:
    return rows


def raw(data: bytes) -> bytes:
    return data


def as_payload(payload: Payload) -> Payload:
    return payload


def any_names(**options: int) -> dict[str, int]:
    return options


def any_places(*values: int) -> tuple[int, ...]:
    return values


def by_place(a: int, b: int, /) -> tuple[int, int]:
    return a, b


def call(function: Callable[..., Any], payload: Payload | None) -> Any:
    arguments = Arguments.of(function)
    args, kwargs = arguments.bind(payload)
    return function(None, *args, **kwargs) if arguments.wants_context else function(*args, **kwargs)


def as_json(value: Any) -> Payload:
    return Payload(json.dumps(value).encode(), "application/json")


GIF = Payload(b"GIF89a", "image/gif")


@pytest.mark.parametrize(
    ("function", "payload", "result"),
    [
        (by_name, as_json({"to": "a", "html": True}), ("a", "hi", True)),
        (by_name, as_json(["a", "b"]), ("a", "b", False)),
        (by_name, as_json("a"), ("a", "hi", False)),
        (with_context, as_json({"name": "Ada"}), "Ada"),
        (with_bare_context, as_json(["Ada"]), "Ada"),
        (one_text, as_json("Ada"), "Ada"),
        (one_text, Payload(b'"Ada"'), "Ada"),
        (one_text, Payload(b'{"name": "Ada"}', "application/vnd.shop+json; charset=utf-8"), "Ada"),
        (one_text, Payload(b"Ada", "text/plain", is_text=True), "Ada"),
        (with_bare_context, GIF, b"GIF89a"),
        (nothing, None, "called"),
        (nothing, Payload(b""), "called"),
        (nothing, as_json({}), "called"),
        (nothing, as_json([]), "called"),
        (whole_dict, as_json({"a": {"b": 1}}), {"a": {"b": 1}}),
        (whole_list, as_json([1, 2, 3]), [1, 2, 3]),
        (whole_any, as_json({"value": 1}), {"value": 1}),
        (whole_any, as_json(None), None),
        (whole_any, None, None),
        (whole_mapping, as_json({"x": 1}), {"x": 1}),
        (whole_sequence, as_json([1, 2]), [1, 2]),
        (raw, GIF, b"GIF89a"),
        (raw, None, b""),
        (raw, Payload(b"\x1f\x8b", "application/json", "gzip"), b"\x1f\x8b"),
        (as_payload, GIF, GIF),
        (any_names, as_json({"a": 1, "b": 2}), {"a": 1, "b": 2}),
        (any_places, as_json([1, 2, 3]), (1, 2, 3)),
        (by_place, as_json([1, 2]), (1, 2)),
    ],
)
def test_a_payload_becomes_the_arguments_that_its_handler_asks_for(
    function: Callable[..., Any], payload: Payload | None, result: object
) -> None:
    assert call(function, payload) == result


@pytest.mark.parametrize(
    ("function", "payload", "text"),
    [
        (by_name, as_json({}), "'to' is missing"),
        (by_name, as_json({"to": "a", "cc": "b"}), "'cc' is not known"),
        (by_name, as_json([]), "0 positional arguments"),
        (by_name, as_json([1, 2, 3]), "3 positional arguments"),
        (by_name, None, "0 positional arguments"),
        (nothing, as_json([1]), "1 positional arguments"),
        (nothing, as_json({"a": 1}), "'a' is not known"),
        (nothing, as_json(None), "1 positional arguments"),
        (by_place, as_json({"a": 1, "b": 2}), "only known by its place"),
        (any_names, as_json(3), "1 positional arguments"),
        (one_text, Payload(b"{broken"), "is no JSON"),
        (one_text, GIF, "name is bytes, not str"),
        (one_text, Payload(b"[" * 100_000), "is no JSON"),
        (one_text, Payload(b"\xff", "text/plain"), "is no text/plain"),
        (one_text, Payload(b"\x1f\x8b", "application/json", "gzip"), "encoded as 'gzip'"),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_with_a_sentence(
    function: Callable[..., Any], payload: Payload | None, text: str
) -> None:
    with pytest.raises(PayloadMismatch) as caught:
        call(function, payload)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_required_keyword_only_parameter_needs_its_name() -> None:
    def scale(width: int, *, factor: int) -> int:
        return width * factor

    assert call(scale, as_json({"width": 2, "factor": 3})) == 6
    with pytest.raises(PayloadMismatch):
        call(scale, as_json([2]))


def test_annotations_that_cannot_be_resolved_are_read_as_text() -> None:
    def handler(ctx: JobContext, data: bytes, other: Missing = None) -> bytes:  # type: ignore[name-defined]  # noqa: F821
        return data

    def alone(data: bytes) -> Missing:  # type: ignore[name-defined]  # noqa: F821
        return data

    assert Arguments.of(handler).wants_context
    assert call(alone, GIF) == b"GIF89a"
