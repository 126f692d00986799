"""What the end of a Work stream means: try again, after which pause, or give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jobwire.errors import JobwireError

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
STEADY_SECONDS = 5.0
"""A stream that lasted so long was a good one: the next pause starts small again."""

_DEFINITE = frozenset(
    {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"}
)


class Ending(NamedTuple):
    """Why a stream is over, or will be soon."""

    why: str
    """A sentence."""
    error: JobwireError | None = None
    """What the server, or gRPC, said; None when the end was ours, or a plain OK."""
    wish_seconds: float = 0.0
    """How long the server wants us to stay away."""

    def is_final(self, *, was_welcome: bool) -> bool:
        """Whether trying again would end the same way.

        A worker that was welcome once believes that only in the server's own words (a reason of the catalogue): a
        proxy in between may refuse for a moment what it knows nothing of.
        """
        error = self.error
        if error is None or error.grpc_code not in _DEFINITE:
            return False
        return not was_welcome or error.code != error.grpc_code


class Pauses:
    """How long to wait before the next stream: full jitter, growing while streams fail, and never less than the
    server wishes."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """`chance`: a number in [0, 1)."""
        self._chance = chance
        self._longest_seconds = FIRST_PAUSE_SECONDS

    def next(self, wish_seconds: float = 0.0) -> float:
        """Return the next pause. A wish is spread over half its length: others were told the same."""
        pause = self._chance() * self._longest_seconds
        self._longest_seconds = min(2 * self._longest_seconds, LONGEST_PAUSE_SECONDS)
        return max(pause, wish_seconds * (1 + self._chance() / 2))

    def lasted(self, seconds: float) -> None:
        """The last stream was good for so long."""
        if seconds >= STEADY_SECONDS:
            self._longest_seconds = FIRST_PAUSE_SECONDS
