"""What a client takes from the world: time, chance, ids. Given to it, so that tests can give it others."""

from __future__ import annotations

import asyncio
import os
import random  # noqa: TID251 - the place where chance is made
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time for both kinds of client."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    def now(self) -> datetime:
        """Wall-clock time, aware."""

    def wait(self, woken: threading.Event, seconds: float) -> None:
        """Block this thread until the event is set, at most so long."""

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run so long."""


class SystemClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()  # noqa: TID251 - the clock itself

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)  # noqa: TID251 - the clock itself

    def wait(self, woken: threading.Event, seconds: float) -> None:
        """See `Clock`."""
        woken.wait(seconds)

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


def _new_id() -> str:
    """Make a UUIDv7 (RFC 9562): keys that grow with time cost the server's index far fewer pages than random ones."""
    moment = f"{time.time_ns() // 1_000_000:012x}"  # noqa: TID251 - the place where ids are made
    chance = os.urandom(10).hex()
    variant = "89ab"[ord(chance[3]) & 3]
    return f"{moment[:8]}-{moment[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


@dataclass(frozen=True, slots=True)
class Ambient:
    """Time, chance and ids."""

    clock: Clock = field(default_factory=SystemClock)
    chance: Callable[[], float] = random.random
    """A number in [0, 1)."""
    new_id: Callable[[], str] = _new_id
    """A UUIDv7."""
