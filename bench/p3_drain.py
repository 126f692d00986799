"""P3: a backlog of no-op jobs, drained by one remote worker, against a bare loop that writes what the drain writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import bare
from bench.drain import Crew, by_command, by_pool, by_worker, drain
from bench.figure import Figure, Trial
from bench.preload import preload
from bench.turns import beside

JOBS = 200_000
LARGE_JOBS = 30_000
SINGLE_JOBS = 20_000
LARGE_BYTES = 10 << 10
ROUNDS = 3
SLOTS = 256
FLOOR = 40_000


class Variant(NamedTuple):
    """The same drain otherwise, and why it differs."""

    name: str
    crew: Crew
    why: str
    jobs: int = JOBS
    large: bool = False


def by_calls(*, batch: int, callers: int) -> Crew:
    """A client of the unary path."""
    numbers = (str(batch), str(callers))
    return by_command("client", lambda address: (sys.executable, "-m", "bench.puller", address, *numbers))


VARIANTS = (
    Variant(
        "16 slots, the default", by_worker(slots=16), "less is under way at once: frames and commits hold fewer jobs"
    ),
    Variant(
        "8 workers of 8 slots",
        by_worker(slots=8, workers=8),
        "each stream has small frames of its own, and nine processes share the cores",
    ),
    Variant(
        f"the server's own pool, {SLOTS} slots",
        by_pool(slots=SLOTS),
        "the same runtime in a child of the server, over a private socket",
    ),
    Variant(
        f"payloads of 10 KiB, {SLOTS} slots",
        by_worker(slots=SLOTS),
        "they stand apart from the row, a seek for each, and a frame of 1 MiB holds a hundred",
        LARGE_JOBS,
        large=True,
    ),
    Variant(
        "PullJobs of 100 and ReportOutcomes, 8 callers",
        by_calls(batch=100, callers=8),
        "a caller waits for its lease, then for its report; no handlers run on that side",
    ),
    Variant(
        "PullJobs of 1 and CompleteJob, 64 callers",
        by_calls(batch=1, callers=64),
        "two calls a job, and what gRPC takes for a call it takes on both sides",
        SINGLE_JOBS,
    ),
)


def measure(trial: Trial) -> Figure:
    """Alternate drain and bare loop; each drain stands against the mean of the loops before and after it."""
    jobs = trial.count(JOBS)
    backlog = preload(trial.folder / "backlog.db", jobs, "bench.noop")
    loops, paces = [_bare(trial)], []
    for _ in range(ROUNDS):
        paces.append(drain(trial.folder, backlog, jobs, by_worker(slots=SLOTS)))
        loops.append(_bare(trial))
    ratios = [*beside([pace.jobs_per_second for pace in paces], [loop.jobs_per_second for loop in loops])]
    ratio = round(median(ratios), 2)
    middle = sorted(paces)[ROUNDS // 2]
    judged = middle.jobs_per_second / trial.canary
    bare_rate = median(loop.jobs_per_second for loop in loops)
    bare_cpu = median(loop.cpu_seconds / loop.jobs * 1e3 for loop in loops)
    return Figure(
        value=round(middle.jobs_per_second),
        unit="jobs/s",
        reach="at least 0.50 x a bare apsw loop, and 40,000 jobs/s (divided by the canary)",
        reached=ratio >= 0.50 and judged >= FLOOR,
        method=f"{jobs:,} no-op jobs with 100 bytes of payload, preloaded; `jobwire serve` and one `jobwire work` of "
        f"{SLOTS} slots, Work stream on a Unix socket; middle 80 %, median of {ROUNDS} rounds; the bare loop inserts, "
        f"leases and finishes as many rows in the same schema in commits of {bare.CYCLE_COMMIT}, also synced, before "
        "and after each",
        details=[
            f"ratio {ratio} x ({', '.join(f'{one:.2f}' for one in ratios)}); rate over canary {judged:,.0f} jobs/s",
            f"one worker, {SLOTS} slots: {middle}",
            f"bare loop: {bare_rate:,.0f} jobs/s; CPU-s per 1,000 jobs: {bare_cpu:.4f}",
            *_variants(trial, backlog),
        ],
    )


def _variants(trial: Trial, backlog: Path) -> Iterator[str]:
    """One round of each."""
    large = preload(trial.folder / "large.db", trial.count(LARGE_JOBS), "bench.noop", payload_bytes=LARGE_BYTES)
    for variant in VARIANTS:
        pace = drain(trial.folder, large if variant.large else backlog, trial.count(variant.jobs), variant.crew)
        yield f"{variant.name}: {pace} ({variant.why})"


def _bare(trial: Trial) -> bare.Spent:
    path = trial.folder / "bare.db"
    spent = bare.cycle(path, trial.count(JOBS))
    path.unlink()
    return spent
