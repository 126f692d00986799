"""The documentation as a site: built without a network or a warning, whole, and asking nobody else for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

from tools.site import build, lay_out, turned

_LOADED = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"),
           ("source", "srcset"), ("use", "href"), ("object", "data"), ("video", "src"), ("form", "action")}  # fmt: skip
"""What a browser asks for by itself; a link in a text is followed by people."""

pytestmark = pytest.mark.xdist_group("site")


class Reference(NamedTuple):
    tag: str
    attribute: str
    target: str


class _Page(HTMLParser):
    """What an HTML page points at, and what in it can be pointed at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[Reference] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "srcset", "data", "action") and value:
                self.references.append(Reference(tag, name, value))
            if name in ("id", "name") and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once: SiteBroken when the builder so much as warns."""
    folder = tmp_path_factory.mktemp("site")
    lay_out(folder)
    build(folder)
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Page]:
    return {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    for page in (root / "docs").rglob("*.md"):
        place = page.relative_to(root / "docs").with_suffix(".html")
        assert (site / (place if place.name != "index.html" else "all-pages.html")).is_file(), page
    assert (site / "changes.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_programs_that_read_find_a_map_and_everything_in_one_file(site: Path) -> None:
    for page in re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text()):
        assert (site / page).is_file(), page
    assert "# Protocol" in (site / "llms-full.txt").read_text()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_link_of_the_site_arrives(site: Path, pages: dict[Path, _Page]) -> None:
    broken = [f"{page.relative_to(site)}: {target}" for page in pages for target in _broken(site, page, pages)]
    assert broken == []


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_site_asks_no_other_origin_for_anything(site: Path, pages: dict[Path, _Page]) -> None:
    asked = [
        f"{path.relative_to(site)}: {reference}"
        for path, page in pages.items()
        for reference in page.references
        if (reference.tag, reference.attribute) in _LOADED and urlsplit(reference.target).netloc
    ]
    for sheet in [*site.rglob("*.css"), *site.rglob("*.svg"), *pages]:
        text = sheet.read_text(encoding="utf-8")
        asked += [
            f"{sheet.relative_to(site)}: {url}" for url in re.findall(r"url\(\s*['\"]?((?:https?:)?//[^)]+)", text)
        ]
        asked += [f"{sheet.relative_to(site)}: {url}" for url in re.findall(r"@import[^;]*//[^;]*", text)]
    assert asked == []


def test_a_link_out_of_the_docs_leads_to_what_came_along_and_else_becomes_its_text() -> None:
    places = {"docs/how-to/a.md": "how-to/a.md", "docs/b.md": "b.md", "CHANGELOG.md": "changes.md"}

    def seen(text: str) -> str:
        return turned(text, "docs/how-to/a.md", places)

    assert seen("[b](../b.md#x) and [out](https://example.org)") == "[b](../b.md#x) and [out](https://example.org)"
    assert seen("see [what is new](../../CHANGELOG.md)") == "see [what is new](../changes.md)"
    assert seen("![a picture](../b.md)") == "![a picture](../b.md)"
    assert seen("the [`sources`](../../examples)") == "the `sources`"
    assert seen("```md\n[code](../../x)\n```\n") == "```md\n[code](../../x)\n```\n"


def _broken(site: Path, page: Path, pages: dict[Path, _Page]) -> Iterator[str]:
    for reference in pages[page].references:
        place = urlsplit(reference.target)
        if place.scheme or place.netloc or reference.attribute == "action":
            continue
        # The page for what is not found may be shown anywhere, and so begins its paths at the top.
        folder = site if place.path.startswith("/") else page.parent
        target = (folder / unquote(place.path).lstrip("/")).resolve() if place.path else page
        if target.is_dir():
            target /= "index.html"
        if not target.is_file() or (
            place.fragment and target in pages and unquote(place.fragment) not in pages[target].anchors
        ):
            yield reference.target
