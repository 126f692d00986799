"""The table of points holds what the tool and the page say of it."""

from __future__ import annotations

import re

import pytest

from jobwire.conformance.table import POINTS, Point, Subject
from tests.conformance.verbs import VERBS
from tests.docs.pages import ROOT, text_of

PAGE = ROOT / "docs/reference/conformance.md"

points = pytest.mark.parametrize("point", POINTS, ids=[point.name for point in POINTS])


@points
def test_a_point_quotes_the_contract_to_the_letter(point: Point) -> None:
    where, words = point.rule
    if where.startswith("docs/"):
        assert words in " ".join(text_of(ROOT / where).split())
        return
    assert words in comments_of(where)


@points
def test_a_point_has_a_name_to_type_and_a_sentence(point: Point) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", point.name)
    assert re.fullmatch(r"[A-Z`][^\n]+\.", point.sentence)


def test_names_are_unique() -> None:
    assert len({point.name for point in POINTS}) == len(POINTS)


def test_each_kind_of_program_has_a_slice_for_ci() -> None:
    for subject in Subject:
        ours = [point for point in POINTS if point.subject is subject]
        assert 0 < sum(point.is_fast for point in ours) < len(ours)


def test_the_page_says_what_to_do_with_each_payload() -> None:
    rows = re.findall(r'^\| `\{"do": "(\w+)"', text_of(PAGE), re.MULTILINE)
    assert rows == list(VERBS)


def test_the_page_lists_every_point_with_its_sentence() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \| .* \|$", text_of(PAGE), re.MULTILINE)
    assert rows == [(point.name, point.sentence) for point in POINTS]


def comments_of(place: str) -> str:
    """Comments of a message or service, or of the one field, value or RPC that `place` names, without line ends."""
    outer, _, inner = place.partition(".")
    for path in (ROOT / "protos/jobwire/v1").glob("*.proto"):
        text = path.read_text(encoding="utf-8")
        head = rf"((?:^ *//[^\n]*\n)+)^(?:message|enum|service) {outer} \{{(.*?)^\}}"
        if found := re.search(head, text, re.MULTILINE | re.DOTALL):
            return plain(found[1]) if not inner else plain(comment_before(inner, found[2]))
    raise AssertionError(f"there is no {outer} in the contract")


def comment_before(name: str, body: str) -> str:
    found = re.search(rf"((?:^ *//[^\n]*\n)+)^[^/\n]*\b{name}\b", body, re.MULTILINE)
    assert found, f"there is no {name}"
    return found[1]


def plain(comment: str) -> str:
    return " ".join(re.sub(r"^ *// ?", "", comment, flags=re.MULTILINE).split())
