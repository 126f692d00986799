"""Three servers and twenty workers, each a process, on one PostgreSQL, while all of them and the ways between break."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.torture.clients import WIRE_TYPES
from tests.torture.fleet import Fleet, Nemesis
from tests.torture.test_zombies import told

SERVERS: Final = 3
WORKERS: Final = 20
FAULTS: Final = {
    "crash_database": 30, "freeze_database": 4, "end_sessions": 20, "kill_server": 10, "kill_worker": 12,
    "stop_worker": 6,
}  # fmt: skip
LOST_COMMITS: Final = 250


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("slice_", [1, 2])
async def test_nothing_is_lost_stuck_doubled_or_out_of_order_whatever_breaks(
    tmp_path: Path, seed: int, scale: int, tell: Callable[[str], None], slice_: int
) -> None:
    fleet = Fleet(tmp_path, seed + slice_, servers=SERVERS)
    try:
        await fleet.begin(WORKERS)
        async with fleet.clients(submitters=4, job_types=WIRE_TYPES, longest_ms=1200, pace_seconds=0.15, failing=0.3):
            faults = {fault: count * scale for fault, count in FAULTS.items()}
            await Nemesis(fleet, faults, LOST_COMMITS * scale).run()
        codes = await fleet.end()
        violations = fleet.verdict()
    finally:
        await fleet.close()
    tell(f"{dict(fleet.counts)}, {fleet.commits_lost} answers to COMMITs kept back")
    tell(fleet.report())
    tell(told(fleet))
    tell("\n".join(f"{violation}" for violation in violations))
    assert violations == []
    assert codes == [0] * SERVERS
    assert fleet.commits_lost >= LOST_COMMITS * scale, "the faults did not hit"
