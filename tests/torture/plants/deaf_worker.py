"""No bug, but a bad worker: it does not hear that its lease is over, goes on, and reports. The fence must hold."""

from __future__ import annotations

from typing import Any

from jobwire.worker.slots import Slots


def plant() -> None:
    """Make workers deaf, the server's own included."""

    def ignore(self: Any, *orders: Any) -> None:
        """Hear nothing."""

    Slots.lose = ignore  # type: ignore[method-assign]
    Slots.cancel = ignore  # type: ignore[method-assign]
