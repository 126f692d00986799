"""P10: CPU time of all processes for a job, from the batch submit to the recorded result."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

from bench.drain import Ended, wait_for
from bench.figure import Figure, Trial
from bench.process import ROOT
from bench.server import serving, working

JOBS = 100_000
WARM_UP_JOBS = 2_000
SLOTS = 256


def measure(trial: Trial) -> Figure:
    """A submitter, a server and a worker, each a process, all at once."""
    jobs = trial.count(JOBS)
    with (
        serving(trial.folder) as server,
        working(trial.folder, server.address, slots=SLOTS) as (worker,),
        closing(Ended(trial.folder / "bench.db")) as ended,
    ):
        _submit(server.address, WARM_UP_JOBS)
        wait_for(ended.count, WARM_UP_JOBS)
        processes = {"server": server, "worker": worker}
        before = {name: process.cpu_seconds() for name, process in processes.items()}
        submitting = _submit(server.address, jobs)
        wait_for(ended.count, WARM_UP_JOBS + jobs)
        spent = {name: process.cpu_seconds() - before[name] for name, process in processes.items()}
    costs = {name: seconds / jobs * 1e3 for name, seconds in {"submitter": submitting, **spent}.items()}
    value = sum(costs.values())
    return Figure(
        value=round(value, 4),
        unit="CPU-s per 1,000 jobs",
        reach="at most 0.05 (multiplied by the canary)",
        reached=value * trial.canary <= 0.05,
        method=f"{jobs:,} no-op jobs with 100 bytes of payload: `Client.submit_each`, `jobwire serve` and one `jobwire "
        f"work` of {SLOTS} slots, all at once; user and system time of the three processes, without their start",
        details=[
            ", ".join(f"{name} {cost:.4f}" for name, cost in costs.items()),
            f"the sum multiplied by the canary {value * trial.canary:.4f}",
        ],
    )


def _submit(address: str, jobs: int) -> float:
    """Submit from a process of its own; the CPU seconds that it took after its imports."""
    command = (sys.executable, "-m", "bench.submitter", address, str(jobs))
    return float(subprocess.check_output(command, cwd=ROOT))
