"""P6: draining through the server's own pool with a long backlog behind, against a short one."""

from __future__ import annotations

import time
from pathlib import Path

import apsw

from bench.figure import Figure
from bench.preload import preload
from bench.server import serving

MEASURED = 60_000
SHORT = 10_000
LONG = 1_000_000


def measure(folder: Path, _canary: float) -> Figure:
    """Three stores, one after the other; the first 60,000 jobs of each drain are timed."""
    short = _drain_rate(folder / "short", served=SHORT, unserved=0)
    long = _drain_rate(folder / "long", served=LONG, unserved=0)
    ahead = _drain_rate(folder / "ahead", served=SHORT, unserved=LONG)
    again = _drain_rate(folder / "again", served=SHORT, unserved=0)
    base = (short + again) / 2
    value = round(min(long, ahead) / base, 2)
    return Figure(
        value=value,
        unit="x the rate with 10,000 behind",
        reach="at least 0.90 x",
        reached=value >= 0.90,
        method=f"no-op async handler, in-process pool of 64 slots, {MEASURED:,} jobs timed in each run",
        details=[
            (
                f"10,000 behind {short:,.0f} and {again:,.0f} jobs/s; 1,000,000 behind {long:,.0f}; "
                f"1,000,000 of an unserved type ahead {ahead:,.0f}"
            ),
        ],
    )


def _drain_rate(folder: Path, *, served: int, unserved: int) -> float:
    folder.mkdir()
    path = folder / "bench.db"
    if unserved:
        preload(path, unserved, "bench.unserved")
    preload(path, served + MEASURED, "bench.noop")
    with serving(folder, "--app", "bench.app:app", "--slots", "64"):
        reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        start = _revision(reader)
        begin = time.perf_counter()
        first = start
        while (now := _revision(reader)) < first + 2 * (MEASURED - 5_000):
            if now < first + 2 * 2_000:
                start, begin = now, time.perf_counter()
            if time.perf_counter() - begin > 120:
                raise RuntimeError(f"the drain stands still at revision {now}")
            time.sleep(0.01)
        rate = (now - start) / 2 / (time.perf_counter() - begin)
        reader.close()
    return rate


def _revision(reader: apsw.Connection) -> int:
    row = reader.execute("SELECT max(revision) FROM event").fetchone()
    return int(row[0]) if row else 0
