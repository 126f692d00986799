"""Measuring in turns: what something does to a pace, on a machine whose speed changes from one moment to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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


def beside(measured: Sequence[float], base: Sequence[float]) -> Iterator[float]:
    """Each of `measured` over the mean of the two of `base` that were measured right before and after it."""
    for one, (before, after) in zip(measured, pairwise(base), strict=True):
        yield 2 * one / (before + after)


def in_turns(bare: Callable[[], Pace], others: Mapping[str, Callable[[], Pace]]) -> tuple[Pace, dict[str, Compared]]:
    """Drain `bare` before, between and after rounds of the `others`; returns its middle pace, and these by name."""
    base = [bare()]
    paces: dict[str, list[Pace]] = {name: [] for name in others}
    for _ in range(ROUNDS):
        for name, drain in others.items():
            paces[name].append(drain())
        base.append(bare())
    return sorted(base)[len(base) // 2], {name: _compare(found, base) for name, found in paces.items()}


def _compare(paces: Sequence[Pace], base: Sequence[Pace]) -> Compared:
    def ratio(number: Callable[[Pace], float]) -> float:
        return median(beside([*map(number, paces)], [*map(number, base)]))

    return Compared(paces, ratio(lambda pace: pace.jobs_per_second), ratio(lambda pace: pace.cpu_seconds["database"]))
