"""The bug: the server serves first and recovers afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

from jobwire_server.app import Service
from jobwire_server.recovery import RecoveryReport

LATE_SECONDS = 0.3


def plant() -> None:
    """Put the bug in."""
    recover = Service._recover
    late: set[asyncio.Task[Any]] = set()

    async def recover_later(self: Service, store: Any) -> RecoveryReport:
        async def later() -> None:
            await asyncio.sleep(LATE_SECONDS)
            await recover(self, store)

        late.add(asyncio.get_running_loop().create_task(later()))
        return RecoveryReport()

    Service._recover = recover_later  # type: ignore[method-assign]
