"""The pages that are drawn from code say what the code says."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.docs import PAGES, ROOT, stale_pages, write_pages


def test_every_generated_page_is_committed_as_the_code_is_now() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.docs", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_the_same_each_time_it_is_drawn(name: str) -> None:
    assert PAGES[name](ROOT) == PAGES[name](ROOT)


def test_a_page_that_was_edited_or_is_missing_is_found_and_written_again(tmp_path: Path) -> None:
    assert write_pages(into=tmp_path) == list(PAGES)
    assert stale_pages(into=tmp_path) == []
    changed = ["docs/reference/errors.md", "docs/reference/protocol.md"]
    (tmp_path / changed[0]).write_text("Nothing ever fails.\n", encoding="utf-8")
    (tmp_path / changed[1]).unlink()
    assert stale_pages(into=tmp_path) == changed
    assert write_pages(into=tmp_path) == changed
    assert stale_pages(into=tmp_path) == []
