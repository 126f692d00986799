"""What a campaign writes down: calls of its clients, responses of its watches, and effects of its handlers.

All three are files of lines that are whole as soon as they are written, so that they survive whoever wrote them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple


class Outcome(StrEnum):
    """What a caller knows after a call."""

    OK = "ok"
    REFUSED = "refused"
    """A definite refusal: nothing may have changed."""
    UNKNOWN = "unknown"
    """It may have taken effect or not."""


class Seen(NamedTuple):
    """A state that somebody was shown."""

    job_id: str
    revision: int
    state: int


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call of a client, or one response of a watch (op `watch`)."""

    process: str
    op: str
    args: Mapping[str, Any]
    invoke_ns: int
    return_ns: int
    outcome: Outcome
    value: Mapping[str, Any]
    """What the answer said; for a refusal its reason."""


class Recorder:
    """Appends calls to a file, each flushed before the caller goes on."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def record(self, call: Call) -> None:
        """Write one call down."""
        self._file.write(json.dumps(asdict(call)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_calls(path: Path) -> list[Call]:
    """Read what a `Recorder` wrote; a last line that was cut is an error of the campaign."""
    calls = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        calls.append(Call(**{**fields, "outcome": Outcome(fields["outcome"])}))
    return calls


def digest(data: bytes) -> str:
    """Name of a content in the history."""
    return hashlib.sha256(data).hexdigest()[:32]


class Moment(StrEnum):
    """Where in its run a handler wrote a line."""

    START = "start"
    TICK = "tick"
    END = "end"


class Effect(NamedTuple):
    """One line of the effect log: a handler did something for this run of this job."""

    job_id: str
    attempt: int
    fence: int
    pid: int
    moment: Moment
    time_ns: int


def write_effect(path: str, job_id: str, attempt: int, fence: int, moment: Moment) -> None:
    """Append one line in one write, so that lines of many processes never mix."""
    line = f"{job_id} {attempt} {fence} {os.getpid()} {moment} {time.time_ns()}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read_effects(path: Path) -> list[Effect]:
    """Read the effect log in the order in which its lines were written."""
    if not path.exists():
        return []
    effects = []
    for line in path.read_text(encoding="utf-8").splitlines():
        job_id, attempt, fence, pid, moment, time_ns = line.split(" ")
        effects.append(Effect(job_id, int(attempt), int(fence), int(pid), Moment(moment), int(time_ns)))
    return effects


class Said(StrEnum):
    """What a worker told the server about a lease."""

    OUTCOME = "outcome"
    BEAT = "beat"
    HELLO = "hello"
    """It came back and named the lease."""


class Answer(NamedTuple):
    """What the server answered a worker about one lease. Times are those of the machine, in microseconds."""

    worker_id: str
    job_id: str
    fence: int
    said: Said
    asked_us: int
    answered_us: int
    stands: bool | None
    """True: recorded (or known before), or the lease is valid. False: the lease is lost. None: no answer came."""


class LateWrite(NamedTuple):
    """A write that came when its job had been ended by somebody else: the row before and after it."""

    job_id: str
    fence: int
    before: str
    after: str


def write_answers(path: str, answers: Sequence[Answer]) -> None:
    """Append lines in one write, so that those of many processes never mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, "".join(json.dumps(answer) + "\n" for answer in answers).encode())
    finally:
        os.close(descriptor)


def read_answers(path: Path) -> list[Answer]:
    """Read what workers wrote down, each worker's answers in their order."""
    if not path.exists():
        return []
    answers = [Answer(*json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return [answer._replace(said=Said(answer.said)) for answer in answers]
