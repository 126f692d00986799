"""The README's commands and programs do what the README says, against a real server.

`console` blocks are typed into a terminal: each line below a `$` command must appear in its output, in that order (… is
anything). `jobwire dev` and `jobwire work` stay in the background until the next one or the end. `python` blocks run as
programs; one that begins with a comment `# name.py` is written to that file instead.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from tests.cli.terminal import Terminal, without_escapes

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BIN = Path(sys.executable).parent
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_READY = {"jobwire dev": "ready", "jobwire work ": "worker"}
"""Commands that stay, and how the line begins that says that they are there."""


class Step(NamedTuple):
    """A command with the lines it is said to print, or a program (no lines)."""

    language: str
    text: str
    lines: tuple[str, ...] = ()


def steps_of(page: str) -> Iterator[Step]:
    """What the page tells people to do, in order."""
    for language, body in _BLOCK.findall(page):
        if language == "python":
            yield Step("python", body)
            continue
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, *lines = part.rstrip("\n").split("\n")
            yield Step("console", command, tuple(line.strip() for line in lines))


class Reader:
    """Somebody who does what the README says, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._environ = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "JOBWIRE_ADDRESS": self._address,
            "TERM": "xterm",
        }
        self._staying: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for kind in reversed(_READY):
            self._stop(kind)

    def do(self, step: Step) -> None:
        """Do one step. Raises AssertionError when something else happens than the page says."""
        text = step.text.replace("127.0.0.1:7780", self._address)
        kind = next((kind for kind in _READY if text.startswith(kind)), None)
        if step.language == "python":
            self._program(text)
        elif kind is not None:
            self._start(kind, text, step.lines)
        else:
            self._command(text, step.lines)

    def _program(self, text: str) -> None:
        if (name := re.match(r"# (\w+\.py)\n", text)) is not None:
            (self._folder / name[1]).write_text(text)
            return
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=self._folder, env=self._environ, capture_output=True, text=True,
            check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for promised in re.findall(r"print\(.*\) +# (.+)$", text, re.MULTILINE):
            assert promised in done.stdout

    def _start(self, kind: str, command: str, lines: tuple[str, ...]) -> None:
        self._stop(kind)
        port = self._address.rpartition(":")[2]
        words = [*shlex.split(command), *(["--port", port] if kind == "jobwire dev" else [])]
        process = self._staying[kind] = subprocess.Popen(
            words, cwd=self._folder, env=self._environ, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        shown = []
        for line in process.stderr:
            shown.append(line)
            if line.startswith(_READY[kind]):
                break
        assert_shows("".join(shown), tuple(line.replace("127.0.0.1:7780", self._address) for line in lines))

    def _stop(self, kind: str) -> None:
        process = self._staying.pop(kind, None)
        if process is not None:
            assert process.stderr is not None
            process.terminate()
            rest = process.stderr.read()
            process.stderr.close()
            assert process.wait(timeout=30) == 0, rest

    def _command(self, command: str, lines: tuple[str, ...]) -> None:
        _, shown = Terminal(columns=200).run(["bash", "-c", command], self._environ, folder=self._folder)
        assert_shows(without_escapes(shown), lines)


def assert_shows(shown: str, lines: tuple[str, ...]) -> None:
    """Each line appears, in this order; … stands for anything within a line."""
    rest = shown.replace("\r", "\n").split("\n")
    for line in lines:
        pattern = ".*".join(r"\s+".join(map(re.escape, part.split())) for part in line.split("…"))
        found = next((place for place, text in enumerate(rest) if re.search(pattern, text)), None)
        assert found is not None, f"{line!r} does not follow in:\n{shown}"
        rest = rest[found + 1 :]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_everything_that_the_readme_says_happens(tmp_path: Path) -> None:
    steps = list(steps_of(README.read_text()))

    assert len(steps) > 10
    with Reader(tmp_path) as reader:
        for step in steps:
            reader.do(step)


def test_a_promise_that_is_not_kept_is_found() -> None:
    with pytest.raises(AssertionError, match="does not follow"):
        assert_shows("one\ntwo\n", ("two", "one"))
    assert_shows("x 1.25 s y\n", ("x … s",))
