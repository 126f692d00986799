"""Write the generated pages of docs/, or say which ones are stale.

python -m tools.docs           write them
python -m tools.docs --check   write nothing; exit code 1 when one differs from what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tools import cli_page, configuration_page, errors_page, protocol_page, state_machine_page

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"

PAGES: Final[Mapping[str, Callable[[Path], str]]] = {
    "cli.md": lambda _root: cli_page.render(),
    "configuration.md": lambda _root: configuration_page.render(),
    "errors.md": lambda _root: errors_page.render(),
    "protocol.md": lambda root: protocol_page.render(protocol_page.read_contract(root / "protos")),
    "state-machine.md": lambda _root: state_machine_page.render(),
}
"""Generated pages by name. Each is a function of the repository alone: the same sources give the same bytes."""


def stale_pages(root: Path = ROOT, docs: Path = DOCS) -> list[str]:
    """Names of the pages that are missing or differ from what the code says now."""
    return [name for name, render in PAGES.items() if _text(docs / name) != render(root)]


def write_pages(root: Path = ROOT, docs: Path = DOCS) -> list[str]:
    """Write the pages that are stale; return their names."""
    written = stale_pages(root, docs)
    for name in written:
        (docs / name).write_text(PAGES[name](root), encoding="utf-8")
    return written


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: Sequence[str]) -> int:
    """Run the program; return its exit code."""
    if list(arguments) not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    if not arguments:
        for name in write_pages():
            print(f"docs/{name}")
        return 0
    stale = stale_pages()
    for name in stale:
        print(f"docs/{name} does not match the code: run make docs and commit the result.", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
