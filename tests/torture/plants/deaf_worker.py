"""No bug, but a bad worker: it does not hear that its lease is over, goes on, and reports. The fence must hold."""

from __future__ import annotations

from typing import Any

from jobwire.worker.slots import Slots
from jobwire_server.pool.direct import _Desk


def plant() -> None:
    """Make the pool deaf."""

    def ignore(self: Any, *orders: Any) -> None:
        """Hear nothing."""

    _Desk.lose = ignore  # type: ignore[method-assign]
    _Desk.cancel = ignore  # type: ignore[method-assign]
    Slots.lose = ignore  # type: ignore[method-assign]
