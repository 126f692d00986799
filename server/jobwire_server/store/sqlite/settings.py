"""What the SQLite driver can be told besides. Durations in microseconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from jobwire_server.domain.job import SECOND_US
from jobwire_server.store.settings import StoreSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteSettings(StoreSettings):
    """Bounds of a store in a file; the defaults are the service's."""

    busy_timeout_us: int = 5 * SECOND_US
    wal_limit_bytes: int = 64 << 20
    reserve_bytes: int = 8 << 20
    """Kept free beside the file, so that running jobs can finish on a full disk."""
