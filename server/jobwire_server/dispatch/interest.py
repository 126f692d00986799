"""What a worker wants: job types, queues, and on which terms each queue is served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from jobwire_server.store.base import Lane

ANY_QUEUE: Final = "*"
"""Stands for every queue that is not named beside it."""


class Terms(NamedTuple):
    """On which terms a worker takes jobs of a queue."""

    weight: int = 1
    """Share against the other queues of the worker."""
    max_in_flight: int | None = None
    """Most jobs of this queue in its hands; None = only its window."""


class Interest:
    """Types and queues of one worker; immutable, equal when they want the same."""

    __slots__ = ("_key", "bounded", "others", "queues", "types")

    def __init__(self, types: Iterable[str] | None, queues: Mapping[str, Terms]) -> None:
        """`types` None = any. A queue called `ANY_QUEUE` gives the terms of all that are not named."""
        self.types = None if types is None else frozenset(types)
        self.queues = {queue: terms for queue, terms in queues.items() if queue != ANY_QUEUE}
        self.others = queues.get(ANY_QUEUE)
        self.bounded = any(terms.max_in_flight is not None for terms in queues.values())
        """Whether some queue has a bound of its own."""
        self._key = (self.types, frozenset(queues.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interest) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def terms_of(self, queue: str) -> Terms | None:
        """Terms of a queue, None when the worker does not serve it."""
        return self.queues.get(queue, self.others)

    def wants(self, lane: Lane) -> bool:
        """Whether jobs of this lane may go to the worker."""
        return (self.types is None or lane.type in self.types) and self.terms_of(lane.queue) is not None

    @property
    def queue_names(self) -> tuple[str, ...]:
        """Queues as the worker named them, in order."""
        return (*sorted(self.queues), *((ANY_QUEUE,) if self.others is not None else ()))

    @property
    def named_queues(self) -> tuple[str, ...] | None:
        """The only queues that it serves; None = any."""
        return tuple(self.queues) if self.others is None else None


def interest_in(*types: str) -> Interest:
    """Jobs of these types, whatever their queue."""
    return Interest(types, {ANY_QUEUE: Terms()})


class Interests:
    """What all workers together want: which lanes are worth remembering. Lanes that nobody serves are not."""

    def __init__(self, bound: int) -> None:
        self._counts: dict[Interest, int] = {}
        self._known: dict[Lane, bool] = {}
        self._bound = bound

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, interest: Interest) -> bool:
        """Somebody wants this. True when nobody did before."""
        count = self._counts.get(interest, 0)
        self._counts[interest] = count + 1
        if count == 0:
            self._known.clear()
        return count == 0

    def remove(self, interest: Interest) -> bool:
        """One less wants this. True when nobody does any more."""
        count = self._counts.pop(interest) - 1
        if count:
            self._counts[interest] = count
            return False
        self._known.clear()
        return True

    def want(self, lane: Lane) -> bool:
        """Whether somebody serves this lane."""
        known = self._known.get(lane)
        if known is None:
            known = any(interest.wants(lane) for interest in self._counts)
            if len(self._known) >= self._bound:
                self._known.clear()
            self._known[lane] = known
        return known

    @property
    def types(self) -> frozenset[str] | None:
        """All types that are served; None = any."""
        return _union(interest.types for interest in self._counts)

    @property
    def queues(self) -> frozenset[str] | None:
        """All queues that are served; None = any."""
        return _union(interest.named_queues for interest in self._counts)


def _union(parts: Iterable[Iterable[str] | None]) -> frozenset[str] | None:
    names: set[str] = set()
    for part in parts:
        if part is None:
            return None
        names.update(part)
    return frozenset(names)
