"""Settings of the dispatcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobwire_server.domain.job import SECOND_US

HEARTBEATS_PER_LEASE: Final = 3
"""How often a worker has to speak of each lease that it holds, in the life of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSettings:
    """Durations and bounds of leasing."""

    lease_us: int = 30 * SECOND_US
    """How long a lease stands without a heartbeat."""
    cancel_grace_us: int = 10 * SECOND_US
    """Time a handler has between a cancel order and the loss of its lease."""
    floor_seconds: float = 1.0
    """The store is asked for lanes with work at least this often while there are free credits, and leases that ran
    out are dropped: a lost hint costs at most this."""
    batch_jobs: int = 1000
    """Most jobs in one lease request."""
    batch_bytes: int = 4 << 20
    """Most payload bytes in one lease request."""
    payload_bytes: int = 1 << 20
    """Biggest payload or result that the service accepts."""
    lanes: int = 10_000
    """Most lanes that are remembered as dirty; the others are found again by asking the store."""
    lanes_per_request: int = 500
