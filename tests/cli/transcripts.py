"""Golden transcripts: `transcripts/*.md` hold commands and what they print, run against a fresh scripted server.

In a block, `$ ` begins a command, `! ` a line of stderr, `[exit N]` an exit code that is not 0; any other line is
stdout. How long ago something was stands as AGE. `python -m tests.cli.transcripts` writes the outputs anew: read the
difference before it is committed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.cli.scripted import ScriptedServer

FOLDER = Path(__file__).parent / "transcripts"
_SPAN = r"(?:\d+[dhm]\d+[hms]|[\d.]+m?s)"


class Outcome(NamedTuple):
    """What a command printed."""

    exit_code: int
    stdout: str
    stderr: str


def commands_of(text: str) -> list[str]:
    """The commands of a transcript, in order."""
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


def rewritten(text: str, run: Callable[[str], Outcome]) -> str:
    """The transcript with the outputs that `run` gives now."""
    return "\n".join(_lines(text, run)) + "\n"


def _lines(text: str, run: Callable[[str], Outcome]) -> Iterator[str]:
    in_output = False
    for line in text.splitlines():
        if line.startswith("$ "):
            yield line
            yield from _shown(run(line.removeprefix("$ ")))
            in_output = True
        elif line.startswith("```") or not in_output:
            in_output = False
            yield line


def _shown(outcome: Outcome) -> Iterator[str]:
    yield from _without_ages(outcome.stdout).splitlines()
    yield from (f"! {line}".rstrip() for line in _without_ages(outcome.stderr).splitlines())
    if outcome.exit_code:
        yield f"[exit {outcome.exit_code}]"


def _without_ages(text: str) -> str:
    """The text with its distances from now, which differ from day to day, made all one."""
    text = re.sub(rf"\b{_SPAN} and {_SPAN} ago", "AGE and AGE ago", text)
    return re.sub(rf"\b{_SPAN} ago", "AGE ago", text)


def _write_all() -> None:
    for path in sorted(FOLDER.glob("*.md")):
        with tempfile.TemporaryDirectory() as folder, ScriptedServer(Path(folder)) as server:
            environ = {**os.environ, "JOBWIRE_ADDRESS": server.address}

            def run(line: str, environ: dict[str, str] = environ) -> Outcome:
                program = Path(sys.executable).with_name("jobwire")
                done = subprocess.run(
                    [program, *shlex.split(line)[1:]], env=environ, capture_output=True, text=True, check=False,
                    stdin=subprocess.DEVNULL,
                )  # fmt: skip
                return Outcome(done.returncode, done.stdout, done.stderr)

            path.write_text(rewritten(path.read_text(), run))


if __name__ == "__main__":
    _write_all()
