"""P4: an idle server; from the submit call to the handler's first line, and to the result known to the submitter."""

from __future__ import annotations

from bench.figure import Figure, Trial, percentile
from bench.latency import PAUSE_SECONDS, latencies
from bench.server import APP, serving, working

JOBS = 500
SLOTS = 4


def measure(trial: Trial) -> Figure:
    """Through a remote worker, and through the server's own pool; all must reach it."""
    jobs = trial.count(JOBS)
    with serving(trial.folder) as server, working(trial.folder, server.address, slots=SLOTS):
        remote = latencies(server.address, jobs)
    with serving(trial.folder, "--app", APP, "--slots", str(SLOTS)) as server:
        pool = latencies(server.address, jobs)
    p50, p99 = (max(remote.worst(share), pool.worst(share)) * trial.canary for share in (0.5, 0.99))
    return Figure(
        value=round(percentile(remote.to_handler, 0.5), 2),
        unit="ms to the handler of a remote worker (p50)",
        reach="to the handler and to the result: p50 at most 2 ms, p99 at most 15 ms (multiplied by the canary)",
        reached=p50 <= 2 and p99 <= 15,
        method=f"{jobs} jobs one after the other, {PAUSE_SECONDS * 1e3:g} ms apart, async handler, {SLOTS} slots; the "
        "result by a long poll; by the clock of the machine, which all processes share",
        details=[
            f"remote worker: {remote}",
            f"the server's pool: {pool}",
            f"the worst of them, multiplied by the canary: p50 {p50:.2f} ms, p99 {p99:.2f} ms",
        ],
    )
