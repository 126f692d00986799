"""What `jobwire check` says, in the three formats that monitoring reads. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Verdict(IntEnum):
    """The exit codes of Nagios plug-ins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One check: what was measured, and what follows."""

    check: str
    verdict: Verdict
    text: str
    measure: str = ""
    """Name of the number, for example "jobs"; empty = nothing was measured."""
    value: float | None = None
    unit: str = ""
    """Of Nagios: "s", or empty for a count."""
    warn: float | None = None
    crit: float | None = None
    below: bool = False
    """True: too few is bad, not too many."""

    def as_document(self) -> dict[str, Any]:
        """One object for a program."""
        return {
            "check": self.check,
            "status": self.verdict.name,
            "text": self.text,
            "measure": self.measure or None,
            "value": self.value,
            "warn": self.warn,
            "crit": self.crit,
        }

    def as_nagios(self) -> str:
        """One line: status, text, and after the bar the measured value with its thresholds."""
        line = f"{self.verdict.name} - {self.text.replace('|', '/')}"
        if self.value is None:
            return line
        bounds = ";".join(
            "" if each is None else f"{each:g}{':' if self.below else ''}" for each in (self.warn, self.crit)
        )
        return f"{line} | {self.measure}={self.value:g}{self.unit};{bounds}".rstrip(";")

    def as_prometheus(self) -> str:
        """Samples in the text format, for the textfile collector of a node exporter."""
        label = self.check.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines = [
            "# HELP jobwire_check_status 0 ok, 1 warning, 2 critical, 3 unknown.",
            "# TYPE jobwire_check_status gauge",
            f'jobwire_check_status{{check="{label}"}} {int(self.verdict)}',
        ]
        if self.value is not None:
            lines += [
                "# HELP jobwire_check_value What the check measured: seconds, or a count.",
                "# TYPE jobwire_check_value gauge",
                f'jobwire_check_value{{check="{label}",measure="{self.measure}"}} {self.value:g}',
            ]
        return "\n".join(lines)


def judge(value: float, *, warn: float | None, crit: float | None, below: bool = False) -> Verdict:
    """Hold a value against thresholds: at a threshold is not yet beyond it. `below`: too few is bad."""

    def is_beyond(threshold: float | None) -> bool:
        return threshold is not None and (value < threshold if below else value > threshold)

    if is_beyond(crit):
        return Verdict.CRITICAL
    return Verdict.WARNING if is_beyond(warn) else Verdict.OK
