"""P5: start with 1,000,000 PENDING jobs in the store."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.figure import Figure
from bench.preload import preload
from bench.server import serving

JOBS = 1_000_000
STARTS = 3


def measure(folder: Path, canary: float) -> Figure:
    """Process start to health SERVING, and memory then; median of three starts of one store."""
    preload(folder / "bench.db", JOBS, "bench.unserved")
    seconds, memory = [], []
    for _ in range(STARTS):
        with serving(folder, "--app", "bench.app:app") as server:
            seconds.append(server.start_seconds)
            memory.append(server.rss_mib())
    judged = median(seconds) * canary
    return Figure(
        value=round(median(seconds), 2),
        unit="s",
        reach="at most 2 s (multiplied by the canary) and 150 MB RSS",
        reached=judged <= 2 and max(memory) <= 150,
        method=f"{JOBS:,} PENDING jobs, process start to health SERVING, {STARTS} starts",
        details=[
            f"over the canary {judged:.2f} s; memory {max(memory):.0f} MiB; starts {[round(s, 2) for s in seconds]}"
        ],
    )
