"""The written pages of docs/: which there are, in which order they are read, and how each introduces itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_HEADING: Final = re.compile(r"^# (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_ENOUGH: Final = 40
"""A first sentence that is shorter ("Start here.") takes the next one with it."""


class Section(NamedTuple):
    """A kind of page: one folder below docs/."""

    folder: str
    title: str
    purpose: str
    first: Sequence[str] = ()
    """Pages that come first, by name; the others follow in the order of their names."""


SECTIONS: Final = (
    Section("tutorials", "Tutorials", "Learn by doing, from nothing to something that runs.", ("first-job",)),
    Section(
        "how-to", "How-to guides", "One task each, with commands to copy.", ("submit-from-python", "retries", "workers")
    ),
    Section(
        "reference",
        "Reference",
        "Every name, limit and code. Most of it is written by `make docs` from the contract and the code.",
        ("cli", "python", "protocol", "errors", "configuration"),
    ),
    Section("explanation", "Explanation", "How it works and why.", ("life-of-a-job", "delivery", "leases", "when-not")),
    Section(
        "adr",
        "Decisions",
        "Each says what was chosen, on what evidence, and what follows. A newer one may replace an older one.",
    ),
)
"""The kinds of pages, in the order of the map."""


class Page(NamedTuple):
    """A page, as the map shows it."""

    path: str
    """Below docs/, with slashes."""
    title: str
    introduction: str
    """Its first sentence, without links; "" when it begins with something else."""


def pages_of(section: Section, docs: Path) -> list[Page]:
    """The pages of a section in reading order. Raises ValueError for one without a heading."""
    paths = sorted((docs / section.folder).glob("*.md"), key=lambda path: path.name)
    order = {name: place for place, name in enumerate(section.first)}
    paths.sort(key=lambda path: order.get(path.stem, len(order)))
    return [_read(path, docs) for path in paths]


def _read(path: Path, docs: Path) -> Page:
    text = _COMMENT.sub("", path.read_text(encoding="utf-8"))
    heading = _HEADING.search(text)
    if heading is None:
        raise ValueError(f"docs/{path.relative_to(docs).as_posix()} has no heading. Begin it with '# ' and its title.")
    return Page(path.relative_to(docs).as_posix(), heading[1], _introduction(text[heading.end() :]))


def _introduction(text: str) -> str:
    paragraph = text.strip().split("\n\n")[0]
    if not re.match(r"[\w`*\[\"]", paragraph):
        return ""
    words = " ".join(_LINK.sub(r"\1", paragraph).split())
    sentences = re.split(r"(?<=[.:!?]) (?=[A-Z`*\"])", words)
    taken = sentences[0]
    for sentence in sentences[1:]:
        if len(taken) >= _ENOUGH:
            break
        taken = f"{taken} {sentence}"
    return taken.removesuffix(":") + "." if taken.endswith(":") else taken
