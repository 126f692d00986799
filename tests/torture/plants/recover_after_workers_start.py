"""The bug: the server serves first and recovers afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from jobwire_server.app import Service
from jobwire_server.dispatch.dispatcher import Dispatcher
from jobwire_server.recovery import RecoveryReport

LATE_SECONDS = 0.3


def plant() -> None:
    """Put the bug in."""
    recover, grant = Service._recover, Dispatcher.grant
    put_off: list[Callable[[], Awaitable[RecoveryReport]]] = []
    late: set[asyncio.Task[Any]] = set()

    async def recover_nothing(self: Service, store: Any) -> RecoveryReport:
        put_off.append(lambda: recover(self, store))
        return RecoveryReport()

    def grant_first(self: Dispatcher) -> None:
        async def later() -> None:
            await asyncio.sleep(LATE_SECONDS)
            await put_off.pop()()

        grant(self)
        late.add(asyncio.get_running_loop().create_task(later()))

    Service._recover = recover_nothing  # type: ignore[method-assign]
    Dispatcher.grant = grant_first  # type: ignore[method-assign]
