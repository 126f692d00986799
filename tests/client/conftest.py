"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio

from jobwire.settings import Settings
from tests.client.stage import Stage
from tests.helpers.scripted_servicer import ScriptedServer


@pytest.fixture
def make_stage() -> Iterator[Callable[..., Stage]]:
    with ThreadPoolExecutor(4, thread_name_prefix="caller") as pool:

        def make(settings: Settings | None = None, chance: float = 1.0) -> Stage:
            return Stage(pool, settings, chance)

        yield make


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage()


@pytest.fixture
def socket_path() -> Iterator[Path]:
    with TemporaryDirectory(prefix="jw-") as folder:  # tmp_path may be too long for a Unix socket
        yield Path(folder) / "s"


@pytest_asyncio.fixture
async def server(socket_path: Path) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer(socket_path) as server:
        yield server
