"""Calls as values, and when to try them again. No I/O: the shells ask, wait and call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from jobwire.errors import Draining, JobwireError, NotReady, ServerUnreachable, Unavailable

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


class Repeat(Enum):
    """When a call may be made again after UNAVAILABLE."""

    SAFE = "safe"
    """Always: it reads, or its request_id settles what happened."""
    IF_UNSENT = "if unsent"
    """Only when the server surely did nothing: a second run would mean something else."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One unary call: which, with what, how to read the answer, how long it may take."""

    rpc: str
    """Method of JobService or AdminService."""
    request: Message
    read: Callable[[Any], T]
    seconds: float
    repeat: Repeat = Repeat.SAFE


def did_nothing(error: JobwireError) -> bool:
    """True when the server surely did not act on the call."""
    if isinstance(error, ServerUnreachable):
        return error.facts.get("sent") == "no"
    return isinstance(error, NotReady | Draining)


class Tries:
    """The tries of one call: all of them together stay within its deadline."""

    def __init__(self, call: Call[Any], *, most: int | None, now: float, chance: Callable[[], float]) -> None:
        self._repeat = call.repeat
        self._end = now + call.seconds
        self._most = most
        self._chance = chance
        self._made = 0

    def begin(self, now: float) -> float:
        """Count a try and return its deadline in seconds."""
        self._made += 1
        return max(self._end - now, 0.001)

    def pause(self, error: JobwireError, now: float) -> float | None:
        """Return how long to wait before the next try, in seconds; None = there is none, raise the error."""
        if not isinstance(error, Unavailable) or self._made == self._most:
            return None
        if self._repeat is Repeat.IF_UNSENT and not did_nothing(error):
            return None
        bound = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self._made - 1, 16))
        pause = bound * (0.5 + 0.5 * self._chance())
        if error.retry_after is not None:
            pause = max(pause, error.retry_after.total_seconds())
        return pause if now + pause < self._end else None
