"""P2: BatchSubmitJobs of 1,000 against the same rows written by a bare apsw loop with the same commit size."""

from __future__ import annotations

import asyncio
import time
from importlib.resources import files
from pathlib import Path
from statistics import median

import apsw
import uuid_utils

from bench.figure import Figure
from bench.load import PAYLOAD, submit_batches
from bench.server import serving
from jobwire_server.store.migrations import shipped

BATCHES = 100
SIZE = 1_000
ROUNDS = 3
IN_FLIGHT = 4
FLOOR = 80_000

_INSERT = """
INSERT INTO job (key, revision, sequence, attempt, fence, losses, create_us, change_us, tenant, id, state, max_attempts,
  queue, type, priority, due_us, payload_form, payload_size, payload, id_chosen)
VALUES (?, ?, 1, 0, 0, 0, ?, ?, 'default', ?, 2, 20, 'default', 'bench.unserved', 5, ?, 1, 100, ?, 0)
"""


def measure(folder: Path, canary: float) -> Figure:
    """Alternate the two in rounds; the median of the rounds' ratios and rates counts."""
    rates, bares = [], []
    with serving(folder) as server:
        for number in range(ROUNDS):
            bares.append(bare_rate(folder / f"bare-{number}.db"))
            rates.append(
                asyncio.run(
                    submit_batches(
                        server.address, batches=BATCHES, size=SIZE, in_flight=IN_FLIGHT, job_type="bench.unserved"
                    )
                )
            )
    ratio = round(median(ours / bare for ours, bare in zip(rates, bares, strict=True)), 2)
    rate = median(rates)
    judged = rate / canary
    return Figure(
        value=round(rate),
        unit="jobs/s",
        reach="at least 0.60 x a bare apsw loop, and 80,000 jobs/s (divided by the canary)",
        reached=ratio >= 0.60 and judged >= FLOOR,
        method=f"batches of {SIZE}, payload of 100 bytes, {IN_FLIGHT} in flight, {ROUNDS} alternating rounds of "
        f"{BATCHES * SIZE:,} jobs; the bare loop: executemany into the same schema, commits of {SIZE}, also synced",
        details=[
            f"ratio {ratio} x; bare loop {median(bares):,.0f} rows/s; rate over canary {judged:,.0f} jobs/s",
        ],
    )


def bare_rate(path: Path) -> float:
    """Rows per second of the loop that does nothing but write."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = wal").fetchall()
    connection.execute("PRAGMA synchronous = full")
    for migration in shipped(files("jobwire_server.store.sqlite") / "migrations"):
        connection.execute(migration.sql)
    payload = PAYLOAD.encode()
    key = 0
    begin = time.perf_counter()
    for _ in range(BATCHES):
        now = time.time_ns() // 1000
        rows = []
        for _ in range(SIZE):
            key += 1
            rows.append((key, key, now, now, str(uuid_utils.uuid7()), now, payload))
        with connection:
            connection.executemany(_INSERT, rows)
    rate = BATCHES * SIZE / (time.perf_counter() - begin)
    connection.close()
    return rate
