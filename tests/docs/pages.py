"""The project's pages, as the tests of the documentation read them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("docs/**/*.md"), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "tests/README.md"))],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
"""Every page that people read."""

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def text_of(page: Path) -> str:
    """The page, nothing left out; "" while it does not exist."""
    return page.read_text(encoding="utf-8") if page.is_file() else ""


def prose_of(page: Path) -> str:
    """The page without its code blocks."""
    return _FENCE.sub("", text_of(page))


def links_of(page: Path) -> Iterator[str]:
    """Targets of links to places of this repository."""
    for match in _LINK.finditer(re.sub(_CODE, "", prose_of(page))):
        if not re.match(r"[a-z]+:", match[1]):
            yield match[1]


def code_of(page: Path) -> Iterator[str]:
    """What stands in backticks."""
    yield from (match[1] for match in _CODE.finditer(prose_of(page)))


def anchors_of(page: Path) -> set[str]:
    """Anchors of the page's headings, as renderers make them."""
    anchors = set()
    for match in _HEADING.finditer(prose_of(page)):
        words = re.sub(r"[^\w\- ]", "", match[1].lower())
        anchors.add(words.replace(" ", "-"))
    return anchors


def rows_of(page: str) -> list[list[str]]:
    """Cells of all table rows of a page."""
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in page.splitlines()
        if line.startswith("| ")
    ]
