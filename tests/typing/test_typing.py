"""The types that users see, as mypy and pyright see them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SURFACE = Path(__file__).with_name("surface.py")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def mypy(file: Path, cache: Path) -> tuple[int, str]:
    """Run mypy in its strict mode on one file, as a user of the package would."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", cache, file]
    environ = {**os.environ, "MYPYPATH": str(ROOT / "client")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
    return done.returncode, done.stdout


def pyright(text: str, folder: Path) -> list[str]:
    """Run pyright in its strict mode on a text, where every ignored error must be one; what it says, by rule."""
    folder.mkdir()
    (folder / "surface.py").write_text(text)
    config = {
        "include": ["surface.py"], "extraPaths": [str(ROOT / "client")], "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": "error", "pythonVersion": "3.11",
    }  # fmt: skip
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", folder]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    said = json.loads(done.stdout)["generalDiagnostics"]
    return [f"{one.get('rule', 'no rule')} in line {one['range']['start']['line'] + 1}" for one in said]


def with_two_wrong_words() -> str:
    text = SURFACE.read_text()
    text = text.replace('assert_type(thumbnail("a.png"), str)', 'assert_type(thumbnail("a.png"), int)')
    return text.replace('send_email.submit(5, "hi")  #', 'send_email.submit("a@b.c", "hi")  #')


def test_mypy_agrees_with_every_word_and_would_see_it_if_one_were_wrong(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code, said = mypy(SURFACE, cache)
    assert (code, said) == (0, "Success: no issues found in 1 source file\n")

    wrong = tmp_path / "wrong.py"
    wrong.write_text(with_two_wrong_words())
    code, said = mypy(wrong, cache)
    assert code == 1
    assert "assert-type" in said
    assert "unused-ignore" in said


def test_pyright_agrees_with_every_word_and_would_see_it_if_one_were_wrong(tmp_path: Path) -> None:
    assert pyright(SURFACE.read_text(), tmp_path / "right") == []

    said = pyright(with_two_wrong_words(), tmp_path / "wrong")

    rules = sorted(one.split(" in ")[0] for one in said)
    assert rules == ["reportAssertTypeFailure", "reportUnnecessaryTypeIgnoreComment"]
