"""A measured figure, what its measuring is given, and the canary that tells how fast this machine is just now."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

CANARY_TURNS_PER_SECOND: Final = 35_000_000
SYNCED: Final = "WAL, synchronous=FULL: every answer is on disk"
QUICK: Final = 10
"""`--quick` divides counts and times by this: to see that a benchmark works, not what it says."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the report."""

    value: float
    unit: str
    reach: str
    """What the design asks for, as a sentence."""
    reached: bool
    method: str
    durability: str = SYNCED
    details: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """The form of `bench/latest.json`."""
        return {
            "value": self.value,
            "reach": self.reach,
            "unit": self.unit,
            "reached": self.reached,
            "method": self.method,
            "durability": self.durability,
            "details": self.details,
        }


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a figure is measured with."""

    folder: Path
    """Empty, and gone afterwards."""
    canary: float
    quick: bool = False

    def count(self, full: int) -> int:
        """So many of whatever there are to be."""
        return full // QUICK if self.quick else full

    def seconds(self, full: float) -> float:
        """So long."""
        return full / QUICK if self.quick else full

    def subfolder(self, name: str) -> Path:
        """A new folder for one of several stores."""
        folder = self.folder / name
        folder.mkdir()
        return folder


def canary() -> float:
    """Speed of an empty Python loop, 1.0 = 35 million turns a second (median of five)."""
    return median(_turns() for _ in range(5)) / CANARY_TURNS_PER_SECOND


def sync_us(folder: Path) -> float:
    """How long a synced write of one page takes on the disk of `folder`, in microseconds (median of 50)."""
    times = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(50):
            begin = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return median(times) * 1e6


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
