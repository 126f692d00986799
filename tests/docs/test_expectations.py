"""The list of expectations keeps its word: each row is shown by something that exists, or says that it is not there."""

import re
import shlex

import click
import pytest

from jobwire.cli.root import root
from tests.docs.pages import ROOT, rows_of, text_of
from tests.docs.test_pages import A_TEST

ROWS = [row for row in rows_of(text_of(ROOT / "docs/explanation/expectations.md")) if row[0].isdigit()]
_COMMAND = re.compile(r"`((?:jobwire|make) [^`]+)`")

rows = pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])


def test_there_are_at_least_forty_and_they_are_numbered() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 40


@rows
def test_a_row_is_shown_by_a_test_a_command_or_a_page_or_says_that_it_is_not_there(row: list[str]) -> None:
    _, expected, shown = row
    assert expected.endswith(".")
    assert A_TEST.search(shown) or _COMMAND.search(shown) or "](" in shown or "**not there yet**" in shown


@rows
def test_a_command_that_is_named_can_be_typed(row: list[str]) -> None:
    for typed in _COMMAND.findall(row[2]):
        for part in typed.replace("\\|", "|").split("|"):
            words = shlex.split(part)
            if words[0] == "xargs":
                words = [*words[1:], "ID"]
            if words[0] == "make":
                assert re.search(rf"^{re.escape(words[1])}:", text_of(ROOT / "Makefile"), re.MULTILINE), typed
            else:
                _parse(root, words[1:])


def test_a_command_that_does_not_exist_is_found() -> None:
    with pytest.raises(click.UsageError):
        _parse(root, ["job", "lsit"])
    with pytest.raises(click.UsageError):
        _parse(root, ["job", "list", "--no-such-flag"])


def _parse(group: click.Group, words: list[str]) -> None:
    """Read the words as click would, without running anything. Raises click.UsageError."""
    command: click.Command = group
    context = click.Context(group, info_name="jobwire")
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
        context = click.Context(command, parent=context)
    command.make_context(command.name, words, parent=context.parent)
