"""The files that the pages show are those of the examples: whoever runs the one has run the other."""

from __future__ import annotations

import re

import pytest

from tests.helpers.processes import REPOSITORY

_FILE = re.compile(r"^```\w+\n(?:# |<!-- )([\w./]+)(?: -->)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("page", "example"),
    [
        ("docs/tutorials/fastapi-progress.md", "examples/fastapi"),
        ("docs/how-to/outbox.md", "examples/outbox"),
        ("docs/how-to/django.md", "examples/django"),
    ],
)
def test_a_page_shows_the_files_of_its_example_and_no_others(page: str, example: str) -> None:
    shown = dict(_FILE.findall((REPOSITORY / page).read_text(encoding="utf-8")))
    folder = REPOSITORY / example
    files = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shown == files
