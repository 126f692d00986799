"""P2: BatchSubmitJobs of 1,000 against the same rows written by a bare apsw loop with the same commit size."""

from __future__ import annotations

import asyncio
from statistics import median

from bench import bare
from bench.figure import Figure, Trial
from bench.load import submit_batches
from bench.server import serving

BATCHES = 100
SIZE = 1_000
ROUNDS = 3
IN_FLIGHT = 4
FLOOR = 80_000


def measure(trial: Trial) -> Figure:
    """Alternate the two in rounds; the median of the rounds' ratios and rates counts."""
    batches = trial.count(BATCHES)
    rates, bares = [], []
    with serving(trial.folder) as server:
        for number in range(ROUNDS):
            loop = bare.insert(trial.folder / f"bare-{number}.db", batches * SIZE, SIZE)
            bares.append(loop.jobs_per_second)
            submitting = submit_batches(
                server.address, batches=batches, size=SIZE, in_flight=IN_FLIGHT, job_type="bench.unserved"
            )
            rates.append(asyncio.run(submitting))
    ratio = round(median(ours / theirs for ours, theirs in zip(rates, bares, strict=True)), 2)
    rate = median(rates)
    judged = rate / trial.canary
    return Figure(
        value=round(rate),
        unit="jobs/s",
        reach="at least 0.60 x a bare apsw loop, and 80,000 jobs/s (divided by the canary)",
        reached=ratio >= 0.60 and judged >= FLOOR,
        method=f"batches of {SIZE}, payload of 100 bytes, {IN_FLIGHT} in flight, {ROUNDS} alternating rounds of "
        f"{batches * SIZE:,} jobs; the bare loop: executemany into the same schema, commits of {SIZE}, also synced",
        details=[
            f"ratio {ratio} x; bare loop {median(bares):,.0f} rows/s; rate over canary {judged:,.0f} jobs/s",
        ],
    )
