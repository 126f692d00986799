"""Figures come from a measurement, and from nowhere else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, text_of
from tools.figures_page import MEASURED, TAKEN, readme, render, take

README = "# jobwire\n\n<!-- figures -->\nold\n<!-- end of figures -->\n\nThe rest.\n"


def figure(value: float, *, reached: bool = True) -> dict[str, Any]:
    return {"value": value, "unit": "jobs/s", "reach": "at least 1", "reached": reached, "method": "by hand",
            "durability": "synced", "details": ["a detail"], "canary": 0.9, "sync_us": 200}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of which the figures were measured."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "README.md").write_text(README)
    measured = {
        "machine": "2 cores, x86_64, Python 3.11",
        **{name: figure(1234.5) for name in ("P1", "P2", "P3", "P4")},
    }
    (tmp_path / MEASURED).write_text(json.dumps({**measured, "P5": figure(1.25, reached=False)}))
    return tmp_path


def test_the_readme_shows_what_was_taken_and_keeps_its_other_words(root: Path) -> None:
    take(root)

    shown = readme(root)

    assert "old" not in shown
    assert "**1,234 jobs/s** taken in" in shown
    assert "takes **1.2 s**" in shown
    assert shown.endswith("The rest.\n")


def test_a_figure_that_does_not_reach_what_was_asked_says_so(root: Path) -> None:
    take(root)

    assert "at least 1: **not reached**" in render(root)


def test_a_measurement_without_a_figure_of_the_readme_is_not_taken(root: Path) -> None:
    (root / MEASURED).write_text(json.dumps({"machine": "2 cores", "P1": figure(1)}))

    with pytest.raises(ValueError, match="lacks P2, P3, P4, P5"):
        take(root)
    assert not (root / TAKEN).exists()


def test_before_anything_was_measured_the_readme_shows_no_figure(root: Path) -> None:
    assert "jobs/s" not in readme(root)
    assert "Nothing has been measured yet" in render(root)


def test_what_a_page_says_of_a_figure_is_what_was_measured() -> None:
    """Rates and ratios in a paragraph of the scaling page that names figures stand with these figures."""
    measured = json.loads(text_of(ROOT / TAKEN))
    paragraphs = [
        (paragraph, names)
        for paragraph in re.split(r"\n\n|\n- ", text_of(ROOT / "docs/explanation/scaling.md"))
        if (names := re.findall(r"`(?:python -m bench )?(\w\d/PG)`", paragraph))
    ]
    assert {name for _, names in paragraphs for name in names} == {"P3/PG", "P6/PG", "F1/PG", "S1/PG"}
    for paragraph, names in paragraphs:
        figures = [measured[name] for name in names]
        known = json.dumps(figures) + " ".join(f"{each['value']:,}" for each in figures)
        for number in re.findall(r"\d+,\d{3}(?:,\d{3})*|\d\.\d+(?= ×)", paragraph):
            assert number in known, f"{number}: {paragraph}"


def test_the_readme_has_no_figure_of_speed_but_those_that_were_measured() -> None:
    page = re.sub(r"<!-- figures -->.*?<!-- end of figures -->", "", text_of(ROOT / "README.md"), flags=re.DOTALL)

    assert re.findall(r"\d[\d,.]* ?(?:jobs/s|/s\b|ms\b|µs|×|x faster)", page) == []
