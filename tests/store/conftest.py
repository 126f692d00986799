"""The stores that the conformance suite holds to one behaviour."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import StoreRig


@asynccontextmanager
async def _opened(kind: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[StoreRig]:
    if kind == "postgres":
        postgres_rig = PostgresRig(request.getfixturevalue("postgres"))
        rig: StoreRig = postgres_rig
    else:
        rig = StoreRig(folder / "jobs.db" if kind == "file" else None)
    try:
        await rig.open()
        yield rig
        await rig.close()
    finally:
        if kind == "postgres":
            postgres_rig.dispose()


@pytest_asyncio.fixture(params=["file", "memory", "postgres"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreRig]:
    """An open store of each kind; at the end its log is folded and checked."""
    async with _opened(request.param, request, tmp_path) as rig:
        yield rig


@pytest_asyncio.fixture(params=["file", "postgres"])
async def durable_rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreRig]:
    """An open store of each kind that outlives its server."""
    async with _opened(request.param, request, tmp_path) as rig:
        yield rig


@pytest_asyncio.fixture
async def file_rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreRig]:
    """An open store on a file, for what only a file can do."""
    async with _opened("file", request, tmp_path) as rig:
        yield rig


@pytest_asyncio.fixture
async def postgres_rig(postgres: PostgresServer) -> AsyncIterator[PostgresRig]:
    """An open store on PostgreSQL, for what only that can do."""
    rig = PostgresRig(postgres)
    try:
        await rig.open()
        yield rig
        await rig.close()
    finally:
        rig.dispose()
