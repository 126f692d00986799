"""Build the documentation as a site, without a network: python -m tools.site [FOLDER], by default into build/site.

The pages are laid out again first. What a page of docs/ says of files outside of it is right in a repository, and would
lead nowhere on a site: pages that are worth reading come along, links to sources become their names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from tools.pages import SECTIONS, pages_of

ROOT: Final = Path(__file__).resolve().parent.parent
CONFIG: Final = "mkdocs.yml"
_LINK: Final = re.compile(r"(?P<mark>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")
_CODE: Final = re.compile(r"^(?:```.*?^```|<!--.*?-->)$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_GUESTS: Final[Mapping[str, str]] = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "tests/README.md": "tests.md",
    **{
        f"examples/{name}/README.md": f"examples/{name}.md"
        for name in ("go", "java", "node", "python", "rust", "shell")
    },
}
"""Pages outside of docs/ that the site has, too, and where."""
_MAP: Final = "all-pages.md"
"""Where docs/index.md stands on the site, which begins with the README."""


class SiteBroken(Exception):
    """The site cannot be built, or not without a warning; the message holds what the builder said."""


def lay_out(folder: Path, root: Path = ROOT) -> None:
    """Write the configuration with its navigation, and all pages with their links turned, below `folder`."""
    pages = folder / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(root / "docs", pages)
    (pages / "index.md").rename(pages / _MAP)
    moved = {f"docs/{path.relative_to(pages).as_posix()}": path.relative_to(pages).as_posix()
             for path in pages.rglob("*") if path.is_file()}  # fmt: skip
    for source, target in _GUESTS.items():
        (pages / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / source, pages / target)
    places = {**moved, "docs/index.md": _MAP, **_GUESTS}
    del places[f"docs/{_MAP}"]
    for source, target in places.items():
        if target.endswith(".md"):
            text = (root / source).read_text(encoding="utf-8")
            (pages / target).write_text(turned(text, source, places), encoding="utf-8")
    (pages / "llms.txt").write_text(_contents(root / "docs"), encoding="utf-8")
    (pages / "llms-full.txt").write_text(_everything(root), encoding="utf-8")
    config = (root / CONFIG).read_text(encoding="utf-8")
    (folder / CONFIG).write_text(f"{config}{_navigation(root / 'docs')}", encoding="utf-8")


def turned(text: str, source: str, places: Mapping[str, str]) -> str:
    """The text of the page `source` as it stands on the site; `places`: where each file of the repository is there."""
    here = PurePosixPath(places[source]).parent

    def turn(link: re.Match[str]) -> str:
        target = link["target"]
        if re.match(r"[a-z]+:", target) or not target:
            return link[0]
        named = os.path.normpath(PurePosixPath(source).parent / target)
        there = places.get(named)
        if there is None:
            return link["text"]
        return f"{link['mark']}[{link['text']}]({os.path.relpath(there, here)}{link['anchor'] or ''})"

    parts, end = [], 0
    for code in _CODE.finditer(text):
        # A link whose text is code is a link all the same.
        if text[code.start() - 1 : code.start()] == "[" and text[code.end() : code.end() + 2] == "](":
            continue
        parts += [_LINK.sub(turn, text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, _LINK.sub(turn, text[end:])])


def _navigation(docs: Path) -> str:
    lines = ["nav:", "  - jobwire: index.md", f"  - All pages: {_MAP}"]
    for section in SECTIONS:
        if pages := pages_of(section, docs):
            lines += [f"  - {section.title}:", *(f"      - {page.path}" for page in pages)]
    lines += ["  - More:", *(f"      - {target}" for target in _GUESTS.values() if target != "index.md")]
    return "\n".join(lines) + "\n"


def _contents(docs: Path) -> str:
    """The map for programs that read: llms.txt, with a line for each page."""
    lines = [
        "# jobwire",
        "",
        "> A durable job service with a gRPC contract: one process, one SQLite file, nothing lost.",
    ]
    lines += ["", "All pages in one file: [llms-full.txt](llms-full.txt)"]
    for section in SECTIONS:
        lines += ["", f"## {section.title}", ""]
        lines += [
            f"- [{page.title}]({PurePosixPath(page.path).with_suffix('.html')}): {page.introduction}".removesuffix(": ")
            for page in pages_of(section, docs)
        ]
    return "\n".join(lines) + "\n"


def _everything(root: Path) -> str:
    """All pages, one after the other, the README first."""
    paths = ["README.md", *(f"docs/{page.path}" for section in SECTIONS for page in pages_of(section, root / "docs"))]
    return "\n\n".join(f"<!-- {path} -->\n\n{(root / path).read_text(encoding='utf-8')}" for path in paths)


def build(folder: Path) -> None:
    """Build `folder`/site from what was laid out there. Raises SiteBroken, also for a warning."""
    builder = Path(sys.executable).with_name("zensical")
    if not builder.is_file():
        raise SiteBroken("there is no zensical beside this Python: run make setup")
    done = subprocess.run(
        [builder, "build", "--clean", "--strict", "--config-file", CONFIG],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if done.returncode != 0 or re.search(r"\b(?:warning|error)\b", said, re.IGNORECASE):
        raise SiteBroken(f"zensical build ended with {done.returncode}:\n{said}")


def main(arguments: Sequence[str]) -> int:
    """Run the program; return its exit code."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(arguments[0]) if arguments else ROOT / "build"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lay_out(folder)
        build(folder)
    except SiteBroken as error:
        print(error, file=sys.stderr)
        return 1
    print(os.path.relpath(folder / "site" / "index.html"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
