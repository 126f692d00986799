"""Pictures of terminals: real, whole, and good for those who do not want them to move."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.docs.reader import free_port
from tools.svg_screen import Frame, Pane, render
from tools.terminal_picture import Chunk, paced, play

PICTURES = sorted((ROOT / "docs/img").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_well_formed_says_what_it_shows_and_asks_nobody_for_anything(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    drawn = ET.fromstring(text)
    title = drawn.find(f"{SVG}title")
    assert title is not None
    assert "completed" in (title.text or "")
    assert not re.search(r"""(?:href|src)=|url\(|@import|<script""", text)
    assert "prefers-reduced-motion" in text
    assert "prefers-color-scheme" in text


def test_there_is_a_picture() -> None:
    assert PICTURES


def test_what_was_shown_for_a_while_is_hidden_by_default_and_the_end_is_not() -> None:
    frames = [Frame(0.0, 0, b"first"), Frame(1.0, 0, b"\r\x1b[K\x1b[32mlast")]

    drawn = ET.fromstring(render([Pane("one", 1)], frames, columns=20))

    rows = {"".join(row.itertext()): row.get("class") for row in drawn.findall(f"{SVG}text") if row.get("style")}
    assert rows == {"first": "v", "last": "e"}


def test_a_long_pause_is_shortened_and_the_order_stays() -> None:
    record = [Chunk(10.0, 0, b"a"), Chunk(10.5, 1, b"b"), Chunk(70.0, 0, b"c")]

    shown = list(paced(record))

    assert [chunk.data for chunk in shown] == [b"a", b"b", b"c"]
    assert [round(chunk.seconds, 1) for chunk in shown] == [0.0, 0.5, 1.4]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_scene_of_the_picture_still_happens(tmp_path: Path) -> None:
    shown = b"".join(chunk.data for chunk in play(tmp_path, port=free_port()) if chunk.pane == 2).decode()

    assert "completed" in shown
    assert '{"pages":10}' in shown.replace(" ", "")
