"""The seam between the slots and whatever runs handlers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from jobwire.worker.run import Event, Run

Post = Callable[[tuple[Run, Event]], None]
"""Tell the runtime what became of a run. Safe from any thread."""


class Executor(Protocol):
    """Runs handlers. All methods are called on the runtime's event loop and never block it."""

    def start(self, runs: Sequence[Run]) -> None:
        """Run these, concurrently; each ends with exactly one posted outcome (or `Sign.DIED`)."""

    def stop(self, run: Run) -> None:
        """Pass on that the handler has to stop; `run.cause` says why. May come again with a graver cause."""

    def kill(self, run: Run) -> bool:
        """End it by force. False when that cannot be done here: nothing will end it but itself."""

    def give_up(self, run: Run) -> None:
        """Replace what this run holds; it may still end one day."""

    def returned(self, run: Run) -> None:
        """A run that was given up ended after all."""

    async def close(self) -> None:
        """Stop taking runs and free what is idle; kill what can be killed."""
