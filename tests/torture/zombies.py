"""Workers that stop and go on: at any moment, and right before they write."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobwire_server.domain.job import TERMINAL_STATES
from tests.helpers.history import LateWrite
from tests.helpers.image import Row, read_row
from tests.torture.campaign import Campaign
from tests.torture.remote import PATIENCE_SECONDS, RemoteWorker, Victim
from tests.torture.witness import Write

LEASE_SECONDS: Final = 1.0
SHORTEST_LEASES: Final = 0.3
LONGEST_LEASES: Final = 5.0
WORTH_A_WAIT_LEASES: Final = 2.0
"""A longer pause lasts until somebody else has ended the job: whatever is written then comes too late."""
POINTS: Final = (None, Write.OUTCOME, Write.OUTCOME, Write.BEAT, Write.PROGRESS)
"""Where a worker stops; None = anywhere."""
IDLE_SECONDS: Final = 5.0


@dataclass
class Torment:
    """Stops the workers of a campaign `pauses` times in all, many at a time, and lets them go on."""

    campaign: Campaign
    pauses: int

    async def run(self, workers: Sequence[RemoteWorker]) -> None:
        """Torment all of them until there were enough pauses."""
        async with asyncio.TaskGroup() as tasks:
            for worker in workers:
                tasks.create_task(self._torment(worker, random.Random(f"{self.campaign.seed} {worker.name}")))

    async def _torment(self, worker: RemoteWorker, chance: random.Random) -> None:
        while self.pauses > 0:
            self.pauses -= 1
            point = chance.choice(POINTS)
            leases = chance.choice(
                [SHORTEST_LEASES, chance.uniform(SHORTEST_LEASES, 1), chance.uniform(1, LONGEST_LEASES)]
            )
            victim = None
            if point is None:
                await asyncio.sleep(chance.random() * LEASE_SECONDS)
                await worker.stop()
            else:
                victim = await worker.stop_before(point, IDLE_SECONDS)
                if victim is None:
                    self.pauses += 1
                    self._count("had nothing to write, and did not stop")
                    continue
            await asyncio.sleep(leases * LEASE_SECONDS)
            before = await self._row(victim, patiently=leases >= WORTH_A_WAIT_LEASES)
            worker.resume()
            self._count(f"before {point}" if point else "anywhere")
            if victim is not None:
                await worker.says("answered")
                await self._look_again(victim, before)

    async def _row(self, victim: Victim | None, *, patiently: bool) -> Row | None:
        """The job as it stands right before a late write of its old worker; None when it has not come to an end."""
        if victim is None:
            return None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                row = await asyncio.to_thread(read_row, self.campaign.database, victim.job_id)
                if row is not None and row.state in TERMINAL_STATES:
                    return row
                if not patiently:
                    return None
                await asyncio.sleep(0.05)

    async def _look_again(self, victim: Victim, before: Row | None) -> None:
        """The late write has been answered: did it leave a trace?"""
        if before is None:
            return
        after = await asyncio.to_thread(read_row, self.campaign.database, victim.job_id)
        digest = "" if after is None else after.digest
        self.campaign.late_writes.append(LateWrite(*victim, before.digest, digest))
        self._count("a write after the end of its job")

    def _count(self, window: str) -> None:
        self.campaign.windows[window] += 1
