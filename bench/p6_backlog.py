"""P6: a drain with a long backlog behind, and with one of a type that nobody serves, against a drain with neither."""

from __future__ import annotations

from bench.drain import by_pool, by_worker, drain
from bench.figure import Figure, Trial
from bench.preload import preload

MEASURED = 60_000
SHORT = 10_000
LONG = 1_000_000
SLOTS = 256


def measure(trial: Trial) -> Figure:
    """Both crews on copies of the same three stores; the short one before and after the others."""
    timed = trial.count(MEASURED)
    short = preload(trial.folder / "short.db", timed + trial.count(SHORT), "bench.noop")
    long = preload(trial.folder / "long.db", timed + trial.count(LONG), "bench.noop")
    ahead = preload(trial.folder / "ahead.db", trial.count(LONG), "bench.unserved")
    preload(ahead, timed + trial.count(SHORT), "bench.noop")
    crews = {"remote worker": by_worker(slots=SLOTS), "the server's pool": by_pool(slots=SLOTS)}
    ratios, details = {}, []
    for name, crew in crews.items():
        rates = [drain(trial.folder, store, timed, crew).jobs_per_second for store in (short, long, ahead, short)]
        ratios[name] = min(rates[1:3]) / ((rates[0] + rates[3]) / 2)
        details.append(
            f"{name}: {ratios[name]:.2f} x; {trial.count(SHORT):,} behind {rates[0]:,.0f} and {rates[3]:,.0f} jobs/s; "
            f"{trial.count(LONG):,} behind {rates[1]:,.0f}; as many of an unserved type ahead {rates[2]:,.0f}"
        )
    value = round(ratios["remote worker"], 2)
    return Figure(
        value=value,
        unit="x the rate with 10,000 behind (remote worker)",
        reach="at least 0.90 x, both ways",
        reached=min(ratios.values()) >= 0.90,
        method=f"as P3 with {SLOTS} slots; the first {timed:,} jobs of each drain, middle 80 %",
        details=details,
    )
