"""What can be read without a server: topics, cheat sheets, the catalogue of codes."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from jobwire.cli.catalogue import entries, near
from jobwire.cli.cheats import CHEATS
from jobwire.cli.faults import LOCAL_CODES, ExitCode
from jobwire.cli.flags import Command
from jobwire.cli.invocation import Invocation
from jobwire.cli.root import LazyGroup, root
from jobwire.cli.topics import ENVIRONMENT, TOPICS
from jobwire.contexts import CONTEXT_VARIABLE, FILE_VARIABLE, KEYS
from jobwire.errors import CATALOGUE
from jobwire.filtering import FIELDS, split_filter
from tests.cli.conftest import Jobwire
from tools.errors_page import _FAILURES as FAILURES_IN_THE_DOCS

CLI = Path(__file__).resolve().parents[2] / "client/jobwire/cli"


def read_as_the_command_line(words: list[str]) -> list[str]:
    """Parse words with click, without running anything; return the flags that no command knows."""
    context = click.Context(root, obj=Invocation(environ={}, stdout=None, stderr=None))  # type: ignore[arg-type]
    command: click.Command = root
    while isinstance(command, LazyGroup):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    assert isinstance(command, Command | click.Command)
    if command.name in {"dev", "serve"}:  # they parse their flags themselves
        return []
    command.make_context(command.name, words, parent=context)
    return []


@pytest.mark.parametrize("line", [line for lines in CHEATS.values() for line in lines], ids=lambda line: line.command)
def test_a_command_of_a_cheat_sheet_is_one(line: tuple[str, str], jobwire: Jobwire) -> None:
    program, *words = shlex.split(line[1])

    assert program == "jobwire"
    if "@last" in words:
        words[words.index("@last")] = "ID"
    read_as_the_command_line(words)


def test_a_filter_of_a_cheat_sheet_is_read(jobwire: Jobwire) -> None:
    for lines in CHEATS.values():
        for line in lines:
            for text in re.findall(r"-f '([^']*)'", line.command):
                # the scripted server answers every list; a bad filter is exit 2
                assert jobwire(f"job list -f '{text}' -o none").exit_code == 0, text


def test_cheat_shows_all_topics_or_one_and_knows_what_was_meant(jobwire: Jobwire) -> None:
    everything, one, wrong = jobwire("cheat"), jobwire("cheat failed"), jobwire("cheat faild")

    assert all(f"# {topic}\n" in everything.stdout for topic in CHEATS)
    assert one.stdout.startswith("# failed\n")
    assert "# start" not in one.stdout
    assert wrong.exit_code == 2
    assert "did you mean:   jobwire cheat failed" in wrong.stderr


def test_every_exit_code_is_explained(jobwire: Jobwire) -> None:
    shown = jobwire("help exit-codes").stdout

    assert all(re.search(rf"^  {int(code)} +\w", shown, re.MULTILINE) for code in ExitCode)


def test_every_variable_that_the_command_line_reads_is_named(jobwire: Jobwire) -> None:
    shown = jobwire("help environment").stdout
    sources = "".join(path.read_text() for path in CLI.glob("*.py"))
    # environ.get("X"), environ["X"]
    read = set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z][A-Z_]+)\"", sources)) - {"HOME", "COMP_WORDS", "COMP_CWORD"}
    read |= {CONTEXT_VARIABLE, FILE_VARIABLE, *(key.variable for key in KEYS.values())}

    assert {"JOBWIRE_ADDRESS", "NO_COLOR", "TERM", "XDG_STATE_HOME"} <= read
    assert {name for name in read if name not in shown} == set()
    assert len({name for name, _ in ENVIRONMENT}) == len(ENVIRONMENT)


def test_every_field_of_filters_is_explained_with_an_example(jobwire: Jobwire) -> None:
    shown = jobwire("help filters").stdout

    assert all(entry.name in shown and entry.example in shown for entry in FIELDS)


def test_formatting_names_every_format_and_style(jobwire: Jobwire) -> None:
    shown = jobwire("help formatting").stdout

    assert all(f"  {name} " in shown for name in ("table", "wide", "json", "jsonl", "yaml", "id", "none"))


def test_help_shows_commands_topics_and_the_help_of_a_command(jobwire: Jobwire) -> None:
    assert all(name in jobwire("help").stdout for name in TOPICS)
    assert jobwire("help job retry").stdout == jobwire("job retry --help").stdout
    wrong = jobwire("help nonsense")
    assert wrong.exit_code == 2
    assert "there is no command or topic 'nonsense'" in wrong.stderr


def test_every_code_there_is_can_be_explained(jobwire: Jobwire) -> None:
    for code in {*CATALOGUE, *LOCAL_CODES, *FAILURES_IN_THE_DOCS}:
        ran = jobwire(f"explain {code}")

        assert ran.exit_code == 0, code
        assert ran.stdout.startswith(f"{code}  ("), code


def test_what_explain_says_of_jobs_is_what_the_documentation_says() -> None:
    said = {entry.code: entry.meaning for entry in entries() if entry.kind.startswith("the error of a job")}

    assert said.keys() == FAILURES_IN_THE_DOCS.keys()


def test_the_list_of_codes_is_one_document_and_one_table(jobwire: Jobwire) -> None:
    document = json.loads(jobwire("explain --list -o json").stdout)
    shown = jobwire("explain --list").stdout

    assert {entry["code"] for entry in document["codes"]} == {entry.code for entry in entries()}
    assert all(entry["meaning"] and entry["repeat"] for entry in document["codes"])
    assert len(shown.splitlines()) == len(document["codes"]) + 1


def test_a_code_that_is_spelt_wrong_finds_its_neighbours() -> None:
    assert near("JOB_NOT_FUOND")[0] == "JOB_NOT_FOUND"
    assert near("lease")[0] == "LEASE_LOST"
    assert near("") == []


def test_the_page_about_filters_names_every_field_as_the_code_does() -> None:
    page = (CLI.parents[2] / "docs/reference/filters.md").read_text()
    rows = {cells[1].strip(" `"): cells for cells in (line.split("|") for line in page.splitlines()) if len(cells) == 6}

    for entry in FIELDS:
        _, _, meaning, example, looked_for, _ = rows[entry.name]
        assert entry.meaning.removesuffix(".") in meaning
        assert example.strip(" `") == entry.example
        left = split_filter(entry.example, now=datetime(2026, 11, 21, tzinfo=UTC)).rest
        assert ("the reader" if left else "the server") in looked_for


def test_the_program_on_the_page_about_filters_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (CLI.parents[2] / "docs/reference/filters.md").read_text()
    program = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    (*_, said) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert program is not None

    exec(compile(program[1], "filters.md", "exec"), {})

    assert capsys.readouterr().out.endswith(said)
