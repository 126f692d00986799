"""The newest events of the log, kept in memory once for all watchers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from jobwire_server.store.base import JobEvent

_EVENT_BYTES: Final = 1024
"""What an event without long texts weighs, roughly, with its encoded form."""


class Entry:
    """One event, shared by all watchers that want it."""

    __slots__ = ("event", "revision", "wire")

    def __init__(self, event: JobEvent) -> None:
        self.event = event
        self.revision = event.revision
        self.wire: bytes | None = None
        """The encoded event; whoever encodes it first leaves it here, so that N watchers cost one encoding."""


class Scan(NamedTuple):
    """A piece of the log, read from the ring."""

    entries: Sequence[Entry]
    scanned: int
    """Every event up to this revision has been looked at."""
    at_end: bool
    """True when nothing newer is in the ring."""


class Ring:
    """A contiguous tail of the log: every event with `floor < revision <= newest`. Bounded in events and bytes."""

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._entries: list[Entry] = []
        self._revisions: list[int] = []
        self._bytes = 0
        self.floor = 0
        self.newest = 0

    def restart(self, revision: int) -> None:
        """Forget everything; the ring is empty at `revision`."""
        self._entries.clear()
        self._revisions.clear()
        self._bytes = 0
        self.floor = self.newest = revision

    def extend(self, entries: Sequence[Entry]) -> None:
        """Append the events that follow `newest`, in order; the oldest ones go when the bound is reached."""
        for entry in entries:
            self._entries.append(entry)
            self._revisions.append(entry.revision)
            self._bytes += _weight(entry)
        if entries:
            self.newest = entries[-1].revision
        if len(self._entries) > self._max_events or self._bytes > self._max_bytes:
            self._shrink()

    def after(self, revision: int, limit: int) -> Scan | None:
        """Return up to `limit` events after `revision`, or None when the ring does not reach back that far."""
        if revision < self.floor:
            return None
        start = bisect_right(self._revisions, revision)
        entries = self._entries[start : start + limit]
        if start + limit < len(self._entries):
            return Scan(entries, entries[-1].revision, at_end=False)
        return Scan(entries, max(revision, self.newest), at_end=True)

    def _shrink(self) -> None:
        """Drop the older half or more: shifting the lists for each single event would cost their length."""
        surplus = max(len(self._entries) - self._max_events // 2, 0)
        dropped = sum(map(_weight, islice(self._entries, surplus)))
        while surplus < len(self._entries) and self._bytes - dropped > self._max_bytes // 2:
            dropped += _weight(self._entries[surplus])
            surplus += 1
        self._bytes -= dropped
        self.floor = self._revisions[surplus - 1]
        del self._entries[:surplus]
        del self._revisions[:surplus]


def _weight(entry: Entry) -> int:
    event = entry.event
    weight = _EVENT_BYTES
    if event.last_error is not None:
        weight += 2 * (len(event.last_error.message) + len(event.last_error.detail))
    if event.labels:
        weight += sum(len(key) + len(value) for key, value in event.labels.items())
    return weight
