"""The kit is tested with its own fixture, as its users have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobwire import App
from tests.testing import shop


@pytest.fixture
def jobwire_app() -> App:
    return shop.app


@pytest.fixture(autouse=True)
def sent() -> Iterator[list[str]]:
    shop.sent.clear()
    yield shop.sent
    shop.sent.clear()
