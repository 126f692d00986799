"""The types that users see, as mypy sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SURFACE = Path(__file__).with_name("surface.py")


def checked(file: Path, cache: Path) -> tuple[int, str]:
    """Run mypy in its strict mode on one file, as a user of the package would."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", cache, file]
    environ = {**os.environ, "MYPYPATH": str(ROOT / "client")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
    return done.returncode, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_mypy_agrees_with_every_word_and_would_see_it_if_one_were_wrong(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code, said = checked(SURFACE, cache)
    assert (code, said) == (0, "Success: no issues found in 1 source file\n")

    wrong = tmp_path / "wrong.py"
    text = SURFACE.read_text().replace('assert_type(thumbnail("a.png"), str)', 'assert_type(thumbnail("a.png"), int)')
    wrong.write_text(text.replace("thumbnail(3)  #", 'thumbnail("b.png")  #'))
    code, said = checked(wrong, cache)
    assert code == 1
    assert "assert-type" in said
    assert "unused-ignore" in said
