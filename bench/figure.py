"""A measured figure, and the canary that tells how fast this machine is just now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median

CANARY_TURNS_PER_SECOND = 35_000_000


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the report."""

    value: float
    unit: str
    reach: str
    """What the design asks for, as a sentence."""
    reached: bool
    method: str
    details: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """The form of `bench/latest.json`."""
        return {
            "value": self.value,
            "reach": self.reach,
            "unit": self.unit,
            "reached": self.reached,
            "method": self.method,
            "details": self.details,
        }


def canary() -> float:
    """Speed of an empty Python loop, 1.0 = 35 million turns a second (median of five)."""
    return median(_turns() for _ in range(5)) / CANARY_TURNS_PER_SECOND


def _turns() -> float:
    turns = 4_000_000
    count = 0
    begin = time.perf_counter()
    while count < turns:
        count += 1
    return turns / (time.perf_counter() - begin)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the sorted values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
