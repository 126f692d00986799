"""What `wait --for` and `watch --until` wait for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobwire.cli.params import Parsed
from jobwire.cli.words import TERMINAL, state_named, state_word
from jobwire.v1 import job_pb2

_PROGRESS = re.compile(r"progress\s*>=\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A job is in one of `states`, or has reached `percent` (a COMPLETED one has)."""

    text: str
    states: frozenset[int] = frozenset()
    percent: float | None = None

    def is_met(self, status: job_pb2.JobStatus) -> bool:
        """Tell whether a status meets it."""
        if self.percent is None:
            return status.state in self.states
        reached = status.HasField("progress_percent") and status.progress_percent >= self.percent
        return reached or status.state == job_pb2.JOB_STATE_COMPLETED

    @property
    def needs_progress(self) -> bool:
        """True when progress events matter."""
        return self.percent is not None

    def __str__(self) -> str:
        return self.text


AT_END = Condition(text="terminal", states=TERMINAL)


def parse_condition(text: str) -> Condition:
    """Read `completed`, `terminal`, `state=NAME` or `progress>=N`. Raises ValueError with the choice."""
    word = text.strip().lower()
    if word == "terminal":
        return AT_END
    if (match := _PROGRESS.fullmatch(word)) is not None:
        return Condition(text=word, percent=float(match.group(1)))
    name = word.removeprefix("state=")
    try:
        state = state_named(name)
    except ValueError:
        raise ValueError(f"{text!r} is no condition: write completed, terminal, state=NAME, or progress>=N") from None
    return Condition(text=f"state={state_word(state).lower()}", states=frozenset({state}))


CONDITION = Parsed("condition", parse_condition)
