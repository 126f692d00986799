"""More than one server on one database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest_asyncio

from jobwire_server.store.postgres.store import PostgresSettings, PostgresStore
from tests.helpers.postgres_rig import PostgresRig

Neighbour = Callable[..., Any]
"""Opens another store on the database of the rig, with these settings."""


@pytest_asyncio.fixture
async def neighbour(postgres_rig: PostgresRig) -> AsyncIterator[Neighbour]:
    """More stores on the database of the rig; they are closed at the end."""
    opened: list[PostgresStore] = []

    async def open_another(**settings: Any) -> PostgresStore:
        before = postgres_rig.settings
        postgres_rig.settings = PostgresSettings(**{"presence_us": 0, **settings})
        store = cast("PostgresStore", postgres_rig.subject())
        postgres_rig.settings = before
        await store.open()
        opened.append(store)
        return store

    yield open_another
    for store in opened:
        await store.close()
