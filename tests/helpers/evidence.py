"""What a campaign hands to the checker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tests.helpers.history import Answer, Call, Effect, LateWrite
from tests.helpers.image import EMPTY, Event, Image


@dataclass(frozen=True)
class Evidence:
    """All that is known about a campaign."""

    calls: Sequence[Call]
    images: Sequence[Image]
    """The store after each death of the server, in order; the last one is the end."""
    effects: Sequence[Effect] = ()
    """In the order in which they were written."""
    finished: bool = True
    """The campaign waited for the end: no job may be left waiting or running."""
    logged_types: frozenset[str] = frozenset()
    """Types whose handlers write START and END, and return {"fence": …}."""
    answers: Sequence[Answer] = ()
    """What remote workers were answered, each worker's in order."""
    late_writes: Sequence[LateWrite] = ()
    lease_us: int = 0
    """How long the leases of remote workers stand without a heartbeat."""
    killed_us: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """When processes of remote workers were killed that were started again, by worker_id, by the machine's clock."""
    deaf: bool = False
    """Workers were stopped or cut off: one that lost its lease may act until it hears of it."""
    undisturbed: bool = False
    """Nobody stopped, cut off or ended a remote worker, or its server."""

    @property
    def final(self) -> Image:
        """The end."""
        return self.images[-1] if self.images else EMPTY

    @cached_property
    def lives(self) -> dict[int, list[Event]]:
        """Events of each job, in order of revision, by key."""
        lives: dict[int, list[Event]] = {}
        for event in self.final.events:
            lives.setdefault(event.key, []).append(event)
        return lives

    @cached_property
    def keys(self) -> dict[str, int]:
        """Key of each job id that the log knows."""
        return {event.job_id: event.key for event in self.final.events}
