"""What people see, word for word: `transcripts/*.md`."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobwire.cli.root import COMMANDS, NOUNS
from tests.cli.conftest import Jobwire
from tests.cli.transcripts import FOLDER, Outcome, commands_of, rewritten


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_the_command_line_prints_what_the_transcript_says(path: Path, jobwire: Jobwire) -> None:
    expected = path.read_text()

    def run(line: str) -> Outcome:
        ran = jobwire(line.removeprefix("jobwire "))
        return Outcome(ran.exit_code, ran.stdout, ran.stderr)

    assert rewritten(expected, run) == expected


def test_every_command_stands_in_a_transcript() -> None:
    shown = {line for path in FOLDER.glob("*.md") for line in commands_of(path.read_text())}
    # What they print is of this machine, or stands in another file: test_commands, test_top, test_bench, test_help,
    # test_completion, test_config, test_doctor, test_check.
    elsewhere = {"proto", "version", "config", "doctor", "check", "health"}
    elsewhere |= {"top", "bench", "help", "cheat", "completion"}

    for name in COMMANDS.keys() - elsewhere:
        for verb in NOUNS.get(name, {"": None}):
            assert any(f"jobwire {name} {verb}".rstrip() in line for line in shown), (name, verb)
