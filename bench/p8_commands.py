"""P8: what a user waits for: the import of the package, the help of the command, a submit."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from bench.figure import Figure, Trial
from bench.process import ROOT
from bench.server import JOBWIRE, serving

ROUNDS = 11
REACH_MS = {"import": 150, "--help": 200, "submit": 400}
_IMPORT = "import time; begin = time.perf_counter(); import jobwire; print(time.perf_counter() - begin)"


def measure(trial: Trial) -> Figure:
    """The three in turns; the first round fills the caches and does not count."""
    found: dict[str, list[float]] = {name: [] for name in REACH_MS}
    with serving(trial.folder) as server:
        submit = (JOBWIRE, "--quiet", "--address", server.address, "submit", "bench.unserved", "-d", '"Ada"')
        for _ in range(ROUNDS + 1):
            found["import"].append(float(subprocess.check_output((sys.executable, "-c", _IMPORT), cwd=ROOT)) * 1e3)
            found["--help"].append(_run_ms(JOBWIRE, "--help"))
            found["submit"].append(_run_ms(*submit))
    middle = {name: median(times[1:]) for name, times in found.items()}
    worst = max(middle[name] * trial.canary / reach for name, reach in REACH_MS.items())
    return Figure(
        value=round(middle["submit"]),
        unit="ms for a jobwire submit",
        reach="import 150 ms, --help 200 ms, submit 400 ms at most (multiplied by the canary)",
        reached=worst <= 1,
        method=f"median of {ROUNDS}, one process after the other; the import is timed inside it, the commands from "
        "their start to their end",
        details=[
            ", ".join(f"{name} {milliseconds:.0f} ms" for name, milliseconds in middle.items()),
            f"the worst, multiplied by the canary, takes {worst:.2f} of what it may",
        ],
    )


def _run_ms(*command: str) -> float:
    begin = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin) * 1e3
