"""docs/reference/figures.md and the figures of the README, from `bench/figures.json`.

python -m tools.figures_page    take what `make bench` wrote last (bench/latest.json) for bench/figures.json

The measurement that the pages show is committed, so that the same sources give the same pages; every other one is not.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tools.markdown import generated_from, table

MEASURED: Final = "bench/latest.json"
TAKEN: Final = "bench/figures.json"

_INTRODUCTION: Final = """\
# Figures

What `make bench` measured, on {machine}, which server, client and worker share. Each is a ratio within one run, or
stands beside the speed of the machine at that moment: the canary is the speed of an empty Python loop, 1.0 = 35
million turns a second, and a sync is one synced write of a page. A figure that does not reach what the design asks for
says so."""

_UNMEASURED: Final = """\
# Figures

Nothing has been measured yet: `make bench` measures, and `make figures` writes what it found here."""

_ABOUT: Final[Mapping[str, str]] = {
    "P1": "Single durable submits by 64 callers, against a bare gRPC echo of the same size",
    "P2": "Durable submits in batches of 1,000",
    "P3": "No-op jobs drained by one remote Python worker, leases and outcomes on disk",
    "P4": "From the submit call to the handler's first line, on an idle server",
    "P5": "Start with 1,000,000 waiting jobs in the store, to SERVING",
    "P6": "P3 with 1,000,000 jobs behind",
    "P7": "P1 with 1,000 idle watchers",
    "P8": "A whole `jobwire submit` on the command line",
    "P9": "`AsyncClient.submit` by 64 tasks at once",
    "P10": "CPU time of all processes, from batch submit to recorded result",
    "I1": "What waiting costs",
    "W1": "The worker process alone",
    "P1/PG": "P1 on PostgreSQL",
    "P2/PG": "P2 on PostgreSQL",
    "P3/PG": "P3 on PostgreSQL",
    "P4/PG": "P4 on PostgreSQL, through a remote worker",
    "P5/PG": "P5 on PostgreSQL",
    "P6/PG": "P3 on PostgreSQL in a large store: 1,000,000 waiting, or finished",
    "P7/PG": "P7 on PostgreSQL",
    "F1/PG": "P3 on PostgreSQL while somebody holds a transaction open",
    "S1/PG": "P3 on PostgreSQL with two servers against one",
}
_README: Final[Mapping[str, str]] = {
    "P2": "**{value:,.0f} jobs/s** taken in, in batches of 1,000",
    "P3": "**{value:,.0f} jobs/s** worked off by one Python worker",
    "P1": "single submits at **{value:.2f} ×** the rate of a bare gRPC echo",
    "P4": "a job begins **{value:.1f} ms** after its submit (median)",
    "P5": "a start with a million waiting jobs takes **{value:.1f} s**",
}
_BLOCK: Final = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)


def render(root: Path) -> str:
    """Return the page."""
    measured = _measured(root)
    blocks = [generated_from("what `make bench` wrote")]
    if not measured:
        return "\n\n".join([*blocks, _UNMEASURED]) + "\n"
    blocks.append(_INTRODUCTION.format(machine=measured["machine"]))
    figures = [(name, _ABOUT.get(name, ""), value) for name, value in measured.items() if isinstance(value, Mapping)]
    blocks.append(table(("", "What", "Measured", "Asked", "Canary"), _rows(figures)))
    for name, about, figure in figures:
        blocks.append(f"## {name}\n\n{about or name}. {figure['durability']}; a sync took {figure['sync_us']} µs.")
        blocks.append(f"How: {figure['method']}.")
        blocks.append("\n".join(f"- {detail}" for detail in figure["details"]))
    return "\n\n".join(block for block in blocks if block) + "\n"


def readme(root: Path) -> str:
    """The README with the figures of the last measurement in it."""
    text = (root / "README.md").read_text(encoding="utf-8")
    return _BLOCK.sub(_sentence(_measured(root)), text)


def _sentence(measured: Mapping[str, Any]) -> str:
    parts = [words.format(value=measured[name]["value"]) for name, words in _README.items() if name in measured]
    if not parts:
        return ""
    return (
        f"On {_cores(measured)} that server, client and worker share, every step synced to disk: {'; '.join(parts)}.\n"
        "[How it was measured, and what was not reached](docs/reference/figures.md).\n"
    )


def _cores(measured: Mapping[str, Any]) -> str:
    return str(measured["machine"]).partition(",")[0]


def _rows(figures: list[tuple[str, str, Mapping[str, Any]]]) -> Iterator[tuple[str, ...]]:
    for name, about, figure in figures:
        value = f"{figure['value']:,} {figure['unit']}"
        asked = f"{figure['reach']}: {'reached' if figure['reached'] else '**not reached**'}"
        yield name, about, value, asked, f"{figure['canary']:.2f}"


def _measured(root: Path) -> dict[str, Any]:
    path = root / TAKEN
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def take(root: Path) -> None:
    """Make the last measurement the one that the pages show. Raises ValueError for one that the README cannot use."""
    path = root / MEASURED
    if not path.is_file():
        raise ValueError(f"there is no {MEASURED}: run make bench first")
    missing = _README.keys() - json.loads(path.read_text(encoding="utf-8")).keys()
    if missing:
        raise ValueError(f"{MEASURED} lacks {', '.join(sorted(missing))}: run make bench for all figures")
    shutil.copyfile(path, root / TAKEN)


def main() -> int:
    """Run the program; return its exit code."""
    try:
        take(Path(__file__).resolve().parent.parent)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
