"""What every driver can be told. Durations in microseconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from jobwire_server.domain.job import DAY_US, SECOND_US


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Bounds and retentions; the defaults are the service's."""

    max_depth: int = 0
    """Most non-terminal jobs; 0 = no bound."""
    retention_us: int = 7 * DAY_US
    """Keep COMPLETED, CANCELLED and EXPIRED jobs, unless their spec says otherwise."""
    failed_retention_us: int = 30 * DAY_US
    """Keep FAILED jobs, unless their spec says otherwise."""
    event_retention_us: int = DAY_US
    event_retention_count: int = 1_000_000
    """Events are kept by age or by number, whichever keeps more."""
    request_retention_us: int = DAY_US
    """Keep request keys at least this long, and as long as their job."""
    tombstone_retention_us: int = 30 * DAY_US
    inline_content_bytes: int = 1024
    """Larger payloads and results stand apart from the row (docs/adr/0004)."""
    report_grace_us: int = 5 * SECOND_US
    """Time beyond an attempt's timeout in which its outcome may still be reported."""
    cancel_grace_us: int = 10 * SECOND_US
    """A job that shall be cancelled keeps its lease at most this long from the wish on, heartbeats or not."""
    max_group_rows: int = 4_000
    max_group_bytes: int = 8 << 20
    max_queued_bytes: int = 64 << 20
    """Beyond this, verbs are refused with TooManyRequests."""
    readers: int = 2
    kept_attempts: int = 20
    """Attempts that ended badly are remembered up to this number per job."""
