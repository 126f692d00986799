"""Run the benchmarks: `python -m bench [P1 P4 …]`; prints a table and writes `bench/latest.json`."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import apsw
import grpc

from bench import p1_unary, p2_batch, p4_latency, p5_start, p6_backlog, p7_watchers, w1_worker
from bench.figure import Figure, canary

FIGURES: dict[str, Callable[[Path, float], Figure]] = {
    "P1": p1_unary.measure,
    "P2": p2_batch.measure,
    "P4": p4_latency.measure,
    "P5": p5_start.measure,
    "P6": p6_backlog.measure,
    "P7": p7_watchers.measure,
    "W1": w1_worker.measure,
}


def main() -> None:
    """Measure the figures named on the command line, all of them when none is."""
    wanted = [name.upper() for name in sys.argv[1:]] or list(FIGURES)
    speed = canary()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"machine     {machine}, grpcio {grpc.__version__}, SQLite {apsw.sqlite_lib_version()}")
    print("durability  WAL, synchronous=FULL: every answer is on disk")
    print(f"canary      {speed:.2f}  (1.0 = 35 million turns of an empty loop a second; it divides absolute floors)")
    results: dict[str, object] = {"canary": round(speed, 3), "machine": machine}
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="jobwire-bench-") as folder:
            figure = FIGURES[name](Path(folder), speed)
        results[name] = figure.as_json()
        print(f"\n{name}  {'reached' if figure.reached else 'NOT REACHED'}  {figure.value} {figure.unit}", flush=True)
        print(f"    reach   {figure.reach}\n    method  {figure.method}")
        for line in figure.details:
            print(f"    {line}")
    target = Path(__file__).with_name("latest.json")
    target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to bench/{target.name}")


if __name__ == "__main__":
    main()
