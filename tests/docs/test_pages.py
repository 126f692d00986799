"""What the pages point at exists, and they speak of the project only."""

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors_of, code_of, links_of, text_of

PATH_OF_THE_PROJECT = re.compile(
    r"(?:client|server|protos|tests|docs|bench|examples|tools|domain|store|dispatch|pool|rpc|watch|kernel|worker)/"
    r"[\w./*{},-]*"
)
PLACES = ("", "server/jobwire_server", "client/jobwire", "docs")
"""Where a path in a text may begin."""
A_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@pages
def test_every_link_to_a_place_of_the_project_arrives(page: Path) -> None:
    broken = []
    for link in links_of(page):
        target, _, anchor = link.partition("#")
        place = (page.parent / target).resolve() if target else page
        if not place.exists() or (anchor and anchor not in anchors_of(place)):
            broken.append(link)
    assert broken == []


@pages
def test_every_path_that_is_named_exists(page: Path) -> None:
    named = {
        code.partition("::")[0] for code in code_of(page) if PATH_OF_THE_PROJECT.fullmatch(code.partition("::")[0])
    }
    missing = {path for path in named if not any(list_of(place, path) for place in PLACES)}
    assert missing == set()


@pages
def test_every_test_that_is_named_exists(page: Path) -> None:
    missing = [f"{path}::{name}" for path, name in A_TEST.findall(text_of(page)) if name not in names_in(path)]
    assert missing == []


@pages
def test_no_page_names_a_place_of_somebodys_machine(page: Path) -> None:
    assert re.findall(r"(?<![\w.])/(?:home|root|work|Users|tmp|mnt|opt)/\S*", text_of(page)) == []


def test_the_guarantees_name_a_test_for_each_promise() -> None:
    sections = re.split(r"^### ", text_of(ROOT / "docs/explanation/guarantees.md"), flags=re.MULTILINE)[1:]
    promises = [section for section in sections if section.startswith("INV-")]
    assert promises
    for promise in promises:
        assert A_TEST.search(promise), promise.splitlines()[0]


def test_every_page_is_reachable_from_the_map() -> None:
    index = ROOT / "docs/index.md"
    linked = {(ROOT / "docs" / link).resolve() for link in links_of(index)}
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs") and page != index} <= linked


def list_of(place: str, path: str) -> list[Path]:
    """What a path in a text means, with its braces and stars, seen from `place`."""
    brace = re.search(r"\{([^}]*)\}", path)
    if brace:
        parts = [path[: brace.start()] + choice + path[brace.end() :] for choice in brace[1].split(",")]
        found = [list_of(place, part) for part in parts]
        return found[0] if all(found) else []
    return list((ROOT / place).glob(path.rstrip("/"))) if path.rstrip("/") else []


@lru_cache
def names_in(path: str) -> frozenset[str]:
    """Names of the tests and classes of a file."""
    tree = ast.parse(text_of(ROOT / path))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )
