"""The terminal of the tests leaves nothing running behind."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from tests.cli.terminal import Terminal


class TimeIsOver(Exception):
    """What a test is ended with when its time is over."""


class _EndsAtOnce(Terminal):
    def _chunks(self) -> list[bytes]:  # type: ignore[override]
        raise TimeIsOver


def test_a_program_whose_test_is_over_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(TimeIsOver):
        _EndsAtOnce().run(["bash", "-c", "while true; do sleep 1; done"], os.environ, folder=tmp_path)
    assert set(psutil.Process().children(recursive=True)) <= before
