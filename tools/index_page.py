"""docs/index.md: the map of all pages, from the pages themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tools.markdown import generated_from, table
from tools.pages import SECTIONS, Page, pages_of

_INTRODUCTION: Final = """\
# Documentation

jobwire is a durable job service with a gRPC contract: one process, one SQLite file, workers in any language.
[The README](../README.md) shows it in a minute. New here: the tutorials. Something to get done: the how-to guides. A
name to look up: the reference, and the [glossary](explanation/glossary.md). To change the code, start with the
[architecture](explanation/architecture.md) and [the tests](../tests/README.md)."""


def render(docs: Path) -> str:
    """Return the page."""
    blocks = [generated_from("the first lines of all pages"), _INTRODUCTION]
    for section in SECTIONS:
        pages = pages_of(section, docs)
        if not pages:
            continue
        blocks += [f"## {section.title}", section.purpose]
        if section.folder == "adr":
            rows = [(number, f"[{title}]({path})") for number, title, path in map(_decision, pages)]
            blocks.append(table(("No.", "Decision"), rows))
        else:
            blocks.append(table(("Page", ""), ((f"[{page.title}]({page.path})", page.introduction) for page in pages)))
    return "\n\n".join(blocks) + "\n"


def _decision(page: Page) -> tuple[str, str, str]:
    """Number, title and path of an ADR. Raises ValueError for a heading without a number."""
    heading = re.fullmatch(r"0*(\d+)[.:] (.+)", page.title)
    if heading is None:
        raise ValueError(f"docs/{page.path}: its heading has to be '# NNNN. Title'.")
    return heading[1], heading[2], page.path
