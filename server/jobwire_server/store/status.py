"""What a store is and what is in it, seen from outside its servers: for every driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobwire_server.domain.job import State


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """One snapshot. Times are microseconds since the Unix epoch."""

    bytes: int
    """Of the file itself, or of the tables and their indexes."""
    schema: int
    """Newest migration that ran."""
    pending_migrations: tuple[str, ...]
    """Those that the next start will run."""
    epoch: str
    revision: int
    """Newest committed revision."""
    compacted: int
    """Events up to and including this revision are gone."""
    jobs: Mapping[State, int]
    """Number of jobs by state; states without any are not named."""
    backup_us: int | None
    """Set in a copy that no server has opened yet: when its content was read."""
    restored_us: int | None
    """When this life of the store began, if it began with a copy."""
    restored_backup_us: int | None
    """When the content of that copy had been read, if it said so."""
