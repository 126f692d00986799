"""What terminals showed, as one SVG that moves by CSS alone: no script, no font, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

import pyte

_LETTER_WIDTH: Final = 8.4
_ROW_HEIGHT: Final = 20
_MARGIN: Final = 16
_BAR: Final = 30
_GAP: Final = 12
_HOLD_SECONDS: Final = 4.0
"""The end of the scene stands still for so long before it begins anew."""
_TURN_SECONDS: Final = 0.04
"""What follows within this time is shown at once."""

_COLOURS: Final[Mapping[str, str]] = {
    "red": "r", "green": "g", "brown": "y", "yellow": "y", "blue": "b", "magenta": "m", "cyan": "c",
    "brightblack": "d", "brightred": "r", "brightgreen": "g", "brightbrown": "y", "brightyellow": "y",
    "brightblue": "b", "brightmagenta": "m", "brightcyan": "c", "ff005f": "m", "3a3a3a": "q",
}  # fmt: skip
"""Classes of colours, by the names that the terminal gives them; anything else is the colour of text."""

_STYLE: Final = """\
:root{--paper:#fbfbfd;--bar:#e9ebf0;--line:#d4d7de;--text:#24292f;--dim:#6a737d;--red:#b91c1c;--green:#15803d;
--yellow:#92610a;--blue:#1d4ed8;--magenta:#86198f;--cyan:#0e7490}
@media(prefers-color-scheme:dark){:root{--paper:#15181e;--bar:#222731;--line:#333a46;--text:#d8dee9;--dim:#8a94a6;
--red:#f87171;--green:#4ade80;--yellow:#facc15;--blue:#7aa2ff;--magenta:#e879f9;--cyan:#22d3ee}}
text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:var(--text);white-space:pre}
.t{font:12px system-ui,sans-serif;fill:var(--dim)}.p{fill:var(--paper);stroke:var(--line)}.h{fill:var(--bar)}
.r{fill:var(--red)}.g{fill:var(--green)}.y{fill:var(--yellow)}.b{fill:var(--blue)}.m{fill:var(--magenta)}
.c{fill:var(--cyan)}.q{fill:var(--line)}.d{fill:var(--dim)}.o{font-weight:bold}
.v{visibility:hidden}.e{visibility:visible}
@media(prefers-reduced-motion:reduce){.v,.e{animation:none!important}}"""


class Pane(NamedTuple):
    """A terminal: its title and its height in rows."""

    title: str
    rows: int


class Frame(NamedTuple):
    """What was sent to a terminal, and when."""

    seconds: float
    pane: int
    data: bytes


_Cells = tuple[tuple[str, str], ...]
"""Runs of text with the classes of their colour."""


class _Version(NamedTuple):
    """A row as it looked for a while."""

    pane: int
    row: int
    begin: float
    end: float | None
    """None: to the end of the scene."""
    cells: _Cells


def render(panes: Sequence[Pane], frames: Sequence[Frame], *, columns: int) -> str:
    """Return the picture. `frames` are in order of time, from 0 on."""
    versions = list(_versions(panes, frames, columns))
    length = frames[-1].seconds + _HOLD_SECONDS
    width = columns * _LETTER_WIDTH + 2 * _MARGIN
    tops, height = [], 0
    for pane in panes:
        tops.append(height)
        height += _BAR + pane.rows * _ROW_HEIGHT + _MARGIN + _GAP
    height -= _GAP
    moves = sorted({(version.begin, version.end) for version in versions}, key=lambda move: (move[0], move[1] or 0))
    names = {move: f"k{number}" for number, move in enumerate(moves)}
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" '
        f'aria-labelledby="title"><title id="title">{escape(_spoken(panes, versions))}</title>'
    )
    lines = [
        opening,
        f"<style>{_STYLE}",
        *(_keyframes(names[move], *move, length) for move in moves),
        "</style>",
        *(_window(pane, top, width) for pane, top in zip(panes, tops, strict=True)),
        *(_row(version, tops[version.pane], names[version.begin, version.end], length) for version in versions),
        "</svg>\n",
    ]
    return "\n".join(lines)


def _versions(panes: Sequence[Pane], frames: Sequence[Frame], columns: int) -> Iterator[_Version]:
    screens = [pyte.Screen(columns, pane.rows) for pane in panes]
    streams = [pyte.ByteStream(screen) for screen in screens]
    shown: dict[tuple[int, int], tuple[float, _Cells]] = {}
    for number, frame in enumerate(frames):
        streams[frame.pane].feed(frame.data)
        following = frames[number + 1].seconds if number + 1 < len(frames) else None
        if following is not None and following - frame.seconds < _TURN_SECONDS:
            continue
        now = {(pane, row): tuple(_cells(screen, row))
               for pane, screen in enumerate(screens) for row in range(panes[pane].rows)}  # fmt: skip
        for (pane, row), cells in now.items():
            begin, before = shown.get((pane, row), (0.0, ()))
            if cells != before:
                shown[pane, row] = (frame.seconds, cells)
                if before:
                    yield _Version(pane, row, begin, frame.seconds, before)
    yield from (_Version(*place, begin, None, cells) for place, (begin, cells) in shown.items() if cells)


def _cells(screen: pyte.Screen, row: int) -> Iterator[tuple[str, str]]:
    line = [screen.buffer[row][column] for column in range(screen.columns)]
    while line and line[-1].data == " ":
        line.pop()
    for classes, run in groupby(line, key=lambda cell: f"{_COLOURS.get(cell.fg, '')}{' o' if cell.bold else ''}"):
        yield "".join(cell.data for cell in run), classes.strip()


def _keyframes(name: str, begin: float, end: float | None, length: float) -> str:
    before = "visible" if begin == 0 else "hidden"
    after = "100%{visibility:visible}" if end is None else f"{100 * end / length:.2f}%,100%{{visibility:hidden}}"
    return f"@keyframes {name}{{0%{{visibility:{before}}}{100 * begin / length:.2f}%{{visibility:visible}}{after}}}"


def _window(pane: Pane, top: float, width: float) -> str:
    height = _BAR + pane.rows * _ROW_HEIGHT + _MARGIN - 1
    return (
        f'<rect class="p" x=".5" y="{top + 0.5}" width="{width - 1:.0f}" height="{height}" rx="8"/>'
        f'<path class="h" d="M1 {top + _BAR}V{top + 9}a8 8 0 0 1 8-8H{width - 9:.0f}a8 8 0 0 1 8 8V{top + _BAR}z"/>'
        f'<text class="t" x="{_MARGIN}" y="{top + 20}">{escape(pane.title)}</text>'
    )


def _row(version: _Version, top: float, name: str, length: float) -> str:
    y = top + _BAR + (version.row + 1) * _ROW_HEIGHT
    column = 0
    runs = []
    for text, classes in version.cells:
        style = f' class="{classes}"' if classes else ""
        # Each run says where it begins, so that a font that is a little wider or narrower moves nothing.
        runs.append(f'<tspan x="{_MARGIN + column * _LETTER_WIDTH:.1f}"{style}>{escape(text)}</tspan>')
        column += len(text)
    kind = "e" if version.end is None else "v"
    moves = f"animation:{name} {length:.2f}s steps(1) infinite"
    return f'<text class="{kind}" y="{y}" style="{moves}">{"".join(runs)}</text>'


def _spoken(panes: Sequence[Pane], versions: Sequence[_Version]) -> str:
    """What the end of the scene shows, for those who do not see it."""
    last = sorted(version for version in versions if version.end is None)
    lines = [[_plain(version) for version in last if version.pane == number] for number in range(len(panes))]
    return "; ".join(f"{pane.title}: {' / '.join(shown)}" for pane, shown in zip(panes, lines, strict=True))


def _plain(version: _Version) -> str:
    return "".join(text for text, _ in version.cells)
