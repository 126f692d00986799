"""P5: start with 1,000,000 PENDING jobs in the store."""

from __future__ import annotations

from statistics import median

from bench.figure import Figure, Trial
from bench.preload import preload
from bench.server import APP, serving

JOBS = 1_000_000
STARTS = 3


def measure(trial: Trial) -> Figure:
    """Process start to health SERVING, and memory then; median of three starts of one store."""
    jobs = trial.count(JOBS)
    preload(trial.folder / "bench.db", jobs, "bench.unserved")
    seconds, memory = [], []
    for _ in range(STARTS):
        with serving(trial.folder, "--app", APP) as server:
            seconds.append(server.start_seconds)
            memory.append(server.rss_mib())
    judged = median(seconds) * trial.canary
    return Figure(
        value=round(median(seconds), 2),
        unit="s",
        reach="at most 2 s (multiplied by the canary) and 150 MB RSS",
        reached=judged <= 2 and max(memory) <= 150,
        method=f"{jobs:,} PENDING jobs, process start to health SERVING, {STARTS} starts",
        details=[
            f"over the canary {judged:.2f} s; memory {max(memory):.0f} MiB; starts {[round(s, 2) for s in seconds]}"
        ],
    )
