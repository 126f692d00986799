"""Is this worker still able to do its work?"""

from __future__ import annotations

import logging
from collections.abc import Callable

_log = logging.getLogger("jobwire.worker")


class Health:
    """Healthy while no reason stands against it. `on_change` hears each change of mind: the reason, or None."""

    def __init__(self, on_change: Callable[[str | None], None] | None = None) -> None:
        self._on_change = on_change
        self._faults: dict[str, str] = {}

    @property
    def reason(self) -> str | None:
        """The oldest reason against it; None = healthy."""
        return next(iter(self._faults.values()), None)

    def stands(self, name: str) -> bool:
        """Whether the fault of this name stands."""
        return name in self._faults

    def fault(self, name: str, reason: str) -> None:
        """Something is wrong, until `mend` is called with the same name."""
        before = self.reason
        self._faults[name] = reason
        _log.error("%s", reason)
        self._tell(before)

    def mend(self, name: str) -> None:
        """This is right again."""
        before = self.reason
        if self._faults.pop(name, None) is not None:
            self._tell(before)

    def _tell(self, before: str | None) -> None:
        if self.reason != before and self._on_change is not None:
            self._on_change(self.reason)
