"""Drains in turns: what something does to the pace, on a machine whose speed changes from one drain to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

from bench.drain import Pace

ROUNDS: Final = 5
METHOD: Final = f"median of {ROUNDS} rounds, each against the mean of the drains without, before and after it"


class Compared(NamedTuple):
    """Drains of one kind, beside those that they are compared with."""

    paces: Sequence[Pace]
    ratio: float
    """Of the rates: below 1 is slower."""
    database_cpu: float
    """Of the CPU time of the database for each job: above 1 is dearer."""

    def __str__(self) -> str:
        rates = ", ".join(f"{pace.jobs_per_second:,.0f}" for pace in self.paces)
        return f"{self.ratio:.2f} x, {self.database_cpu:.2f} x the CPU time of the database ({rates} jobs/s)"


def in_turns(
    bare: Callable[[], Pace], others: Mapping[str, Callable[[], Pace]]
) -> tuple[list[Pace], dict[str, Compared]]:
    """Drain `bare` before, between and after rounds of the `others`; returns its paces, and the others by name."""
    base = [bare()]
    paces: dict[str, list[Pace]] = {name: [] for name in others}
    for _ in range(ROUNDS):
        for name, drain in others.items():
            paces[name].append(drain())
        base.append(bare())
    return base, {name: _compare(found, base) for name, found in paces.items()}


def _compare(paces: Sequence[Pace], base: Sequence[Pace]) -> Compared:
    def ratio(number: Callable[[Pace], float]) -> float:
        beside = pairwise(map(number, base))
        return median(2 * number(one) / (before + after) for one, (before, after) in zip(paces, beside, strict=True))

    return Compared(paces, ratio(lambda pace: pace.jobs_per_second), ratio(lambda pace: pace.cpu_seconds["database"]))
