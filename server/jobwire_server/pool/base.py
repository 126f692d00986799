"""What the server needs of its own pool, wherever that runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Pool(Protocol):
    """A worker that belongs to the server: started after recovery, paused until the first lease is granted."""

    @property
    def trouble(self) -> str:
        """Why it runs no jobs now, a sentence; "" when it does, or does not know otherwise."""

    async def find_handlers(self) -> Sequence[str]:
        """Import the application; return the job types that it has handlers for. Raises `PoolUnusable`."""

    async def connect(self) -> None:
        """Introduce the worker to the dispatcher. It gets nothing before leases are granted. Raises `PoolUnusable`."""

    async def run(self) -> None:
        """Keep it going until cancelled."""

    async def drain(self, grace_seconds: float) -> None:
        """Let what runs finish within the grace, then give the rest back at no cost to its attempts."""

    async def stop(self) -> None:
        """End everything that is left of it. Idempotent."""


class PoolUnusable(Exception):
    """The pool cannot be started; the message says why, and what to do."""
