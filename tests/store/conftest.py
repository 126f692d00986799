"""The stores that the conformance suite holds to one behaviour."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.helpers.stores import StoreRig


@pytest_asyncio.fixture(params=["file", "memory"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreRig]:
    """An open store of each kind; at the end its log is folded and checked."""
    rig = StoreRig(tmp_path / "jobs.db" if request.param == "file" else None)
    await rig.open()
    yield rig
    await rig.close()


@pytest_asyncio.fixture
async def file_rig(tmp_path: Path) -> AsyncIterator[StoreRig]:
    """An open store on a file, for what only a file can do."""
    rig = StoreRig(tmp_path / "jobs.db")
    await rig.open()
    yield rig
    await rig.close()
