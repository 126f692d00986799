"""The bug: a worker gets its job before the attempt is counted on disk, so that a handler may run uncounted."""

from __future__ import annotations

from jobwire_server.store.verbs.intent import Rank
from tests.torture.plants import acknowledge_before_commit

SLOW_DISK_SECONDS = 0.1


def plant() -> None:
    """Put the bug in."""
    acknowledge_before_commit.plant([Rank.LEASE], SLOW_DISK_SECONDS)
