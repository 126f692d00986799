"""Fixtures of the integrations: folders whose Unix sockets have names that are short enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="jw-") as made:
        yield Path(made)
