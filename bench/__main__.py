"""Run the benchmarks: `python -m bench [--quick] [P1 P4 …]`; prints them and writes `bench/latest.json`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw
import grpc

from bench import (
    i1_idle,
    p1_unary,
    p2_batch,
    p3_drain,
    p4_latency,
    p5_start,
    p6_backlog,
    p7_watchers,
    p8_commands,
    p9_merge,
    p10_cpu,
    postgres_figures,
    w1_worker,
)
from bench.figure import QUICK, Figure, Trial, canary, sync_us

FIGURES: Final[dict[str, Callable[[Trial], Figure]]] = {
    "P1": p1_unary.measure,
    "P2": p2_batch.measure,
    "P3": p3_drain.measure,
    "P4": p4_latency.measure,
    "P5": p5_start.measure,
    "P6": p6_backlog.measure,
    "P7": p7_watchers.measure,
    "P8": p8_commands.measure,
    "P9": p9_merge.measure,
    "P10": p10_cpu.measure,
    "I1": i1_idle.measure,
    "W1": w1_worker.measure,
    "P1/PG": postgres_figures.unary,
    "P2/PG": postgres_figures.batches,
    "P3/PG": postgres_figures.drains,
    "P4/PG": postgres_figures.latency,
    "P5/PG": postgres_figures.start,
    "P6/PG": postgres_figures.large,
    "P7/PG": postgres_figures.watchers,
    "F1/PG": postgres_figures.foreign,
    "S1/PG": postgres_figures.two_servers,
}


def main() -> None:
    """Measure the figures named on the command line, all when none is. Exit code 1: one could not be measured."""
    arguments = _parse()
    wanted = [name.upper() for name in arguments.figures] or list(FIGURES)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"machine     {machine}, grpcio {grpc.__version__}, SQLite {apsw.sqlite_lib_version()}")
    if arguments.quick:
        print(f"quick       counts and times divided by {QUICK}: figures of a smoke test, not written down")
    results: dict[str, object] = {"machine": machine}
    broken = False
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="jobwire-bench-") as folder:
            trial = Trial(folder=Path(folder), canary=canary(), quick=arguments.quick)
            sync = sync_us(trial.folder)
            try:
                figure = FIGURES[name](trial)
            except RuntimeError as error:
                broken = True
                print(f"\n{name}  BROKEN  {error}", flush=True)
                continue
        results[name] = {**figure.as_json(), "canary": round(trial.canary, 3), "sync_us": round(sync)}
        _show(name, figure, trial.canary, sync)
    if not arguments.quick:
        target = Path(__file__).with_name("latest.json")
        target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten to bench/{target.name}")
    sys.exit(1 if broken else 0)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the figures of the design.")
    parser.add_argument("--quick", action="store_true", help=f"divide counts and times by {QUICK}")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"one of {', '.join(FIGURES)}; default: all")
    arguments = parser.parse_args()
    for name in arguments.figures:
        if name.upper() not in FIGURES:
            parser.error(f"there is no figure {name}: choose from {', '.join(FIGURES)}")
    return arguments


def _show(name: str, figure: Figure, speed: float, sync: float) -> None:
    print(f"\n{name}  {'reached' if figure.reached else 'NOT REACHED'}  {figure.value} {figure.unit}")
    print(f"    reach       {figure.reach}\n    method      {figure.method}\n    durability  {figure.durability}")
    print(
        f"    canary      {speed:.2f}  (1.0 = 35 million turns of an empty loop a second); a synced write {sync:.0f} us"
    )
    for line in figure.details:
        print(f"    {line}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
