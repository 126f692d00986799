"""What a watcher asks for, and what it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from jobwire_server.domain.job import Job, JobStatus
from jobwire_server.store.base import JobFilter
from jobwire_server.watch.ring import Entry

DEFAULT_BOOKMARK_SECONDS: Final = 15.0
MIN_BOOKMARK_SECONDS: Final = 1.0
MAX_BOOKMARK_SECONDS: Final = 60.0


class Detail(Enum):
    """What a watcher wants to know of the job itself, beside its status."""

    NONE = 0
    BASIC = 1
    FULL = 2


class Cursor(NamedTuple):
    """A place in the event log: everything up to and including `revision` has been seen."""

    epoch: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsWatch:
    """A wish to follow many jobs: those that match `filter`, or those of `job_ids` when there are any."""

    tenant: str
    filter: JobFilter
    job_ids: tuple[str, ...] = ()
    after: Cursor | None = None
    """Exclusive start; None = from now."""
    send_initial_state: bool = False
    until_all_terminal: bool = False
    detail: Detail = Detail.NONE
    include_progress: bool = False
    conflate: bool = False
    bookmark_seconds: float = DEFAULT_BOOKMARK_SECONDS


class Batch(NamedTuple):
    """One step of a watch. All matching events up to `cursor` have been handed out, this batch included."""

    cursor: Cursor
    entries: Sequence[Entry] = ()
    """Events of the log, in increasing revision."""
    snapshots: Sequence[Job] = ()
    """Jobs of the initial state."""
    progress: Sequence[Job] = ()
    """Jobs whose progress changed, as they are now."""
    jobs: Mapping[str, Job] = {}
    """The jobs of `entries`, as they are now, when the watch asked for them; those that are gone are missing."""
    initial_state_complete: bool = False
    draining: bool = False
    """The watch ends now; resume elsewhere with `cursor`."""


class StatusUpdate(NamedTuple):
    """One step of the watch of a single job."""

    status: JobStatus
    skipped: bool = False
    """Transitions before this one are no longer known one by one."""
