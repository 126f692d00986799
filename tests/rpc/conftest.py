"""Fixtures of the gRPC tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.rpc.rig import RpcRig


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[RpcRig]:
    """A server that serves."""
    async with RpcRig() as rig:
        yield rig
