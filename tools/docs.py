"""Write the generated pages, or say which ones are stale.

python -m tools.docs           write them
python -m tools.docs --check   write nothing; exit code 1 when one differs from what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from jobwire_server.config.report import example
from tools import (
    cli_page,
    configuration_page,
    errors_page,
    figures_page,
    index_page,
    protocol_page,
    python_page,
    state_machine_page,
)

ROOT: Final = Path(__file__).resolve().parent.parent

PAGES: Final[Mapping[str, Callable[[Path], str]]] = {
    "docs/reference/cli.md": lambda _root: cli_page.render(),
    "docs/reference/configuration.md": lambda _root: configuration_page.render(),
    "docs/reference/jobwire.example.toml": lambda _root: example(),
    "docs/reference/errors.md": lambda _root: errors_page.render(),
    "docs/reference/figures.md": figures_page.render,
    "docs/reference/protocol.md": lambda root: protocol_page.render(protocol_page.read_contract(root / "protos")),
    "docs/reference/python.md": lambda _root: python_page.render(),
    "docs/reference/state-machine.md": lambda _root: state_machine_page.render(),
    "docs/index.md": lambda root: index_page.render(root / "docs"),
    "README.md": figures_page.readme,
}
"""Generated pages by their path. Each is a function of the repository alone: the same sources give the same bytes. The
map comes after the pages that it reads."""


def stale_pages(root: Path = ROOT, into: Path = ROOT) -> list[str]:
    """Paths of the pages that are missing below `into`, or differ from what the code below `root` says now."""
    return [path for path, render in PAGES.items() if _text(into / path) != render(root)]


def write_pages(root: Path = ROOT, into: Path = ROOT) -> list[str]:
    """Write the pages that are stale; return their paths."""
    written = []
    for path, render in PAGES.items():
        text = render(root)
        if _text(into / path) != text:
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            (into / path).write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: Sequence[str]) -> int:
    """Run the program; return its exit code."""
    if list(arguments) not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    if not arguments:
        for path in write_pages():
            print(path)
        return 0
    stale = stale_pages()
    for path in stale:
        print(f"{path} does not match the code: run make docs and commit the result.", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
