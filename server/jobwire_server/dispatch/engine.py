"""What serves workers, put together: the dispatcher, who works here, and pulls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from jobwire_server.dispatch.dispatcher import Dispatcher
from jobwire_server.dispatch.pulls import Pulls
from jobwire_server.dispatch.roster import Roster
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Chance
from jobwire_server.kernel.telemetry import Log
from jobwire_server.store.base import ProgressNote, Store


class Engine:
    """One of each, on one store."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        chance: Chance,
        instance_id: str,
        log: Log,
        on_progress: Callable[[ProgressNote], None],
        settings: DispatchSettings,
    ) -> None:
        self.dispatcher = Dispatcher(
            store=store,
            clock=clock,
            chance=chance,
            instance_id=instance_id,
            log=log,
            on_progress=on_progress,
            settings=settings,
        )
        self.roster = Roster(dispatcher=self.dispatcher, store=store, clock=clock, chance=chance, log=log)
        self.pulls = Pulls(dispatcher=self.dispatcher, roster=self.roster, store=store, clock=clock)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.dispatcher.run(), name="dispatcher")
            tasks.create_task(self.roster.run(), name="roster")
