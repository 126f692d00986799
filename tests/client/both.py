"""Stories told once and played with both clients: the sync one in a thread, the async one on the loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from jobwire._ambient import Ambient
from jobwire.aio import AsyncClient
from jobwire.client import Client
from jobwire.settings import Settings


class Actor:
    """One client of either kind; every verb is awaited."""

    def __init__(self, kind: str, address: str, *, chance: float = 0.0, **settings: Any) -> None:
        made = Settings(address=address, origin="argument", **settings)
        ambient = Ambient(chance=lambda: chance)
        self.client: Any = (Client if kind == "sync" else AsyncClient).from_settings(made, ambient=ambient)
        self.is_sync = kind == "sync"

    async def do(self, verb: Callable[[Any], Any]) -> Any:
        """Do something with the client, without stopping the loop."""
        if self.is_sync:
            return await asyncio.to_thread(lambda: self._drained(verb(self.client)))
        made = verb(self.client)
        if inspect.isasyncgen(made):
            return [each async for each in made]
        return await made if inspect.isawaitable(made) else made

    def _drained(self, made: Any) -> Any:
        return list(made) if inspect.isgenerator(made) else made

    async def next(self, watch: Any) -> Any:
        """Take the next of a watch; None at its end."""
        if self.is_sync:
            return await asyncio.to_thread(next, watch, None)
        return await anext(watch, None)

    async def close(self) -> None:
        """Close the client."""
        closing = self.client.close()
        if closing is not None:
            await closing


@asynccontextmanager
async def acting(kind: str, address: str, **options: Any) -> AsyncIterator[Actor]:
    """Make an actor, and close it in the end."""
    actor = Actor(kind, address, **options)
    try:
        yield actor
    finally:
        await actor.close()
