"""Lives of a store: what every driver says when one has begun (store/sqlite/lives.py says what it is)."""

from __future__ import annotations

from typing import NamedTuple


class NewLife(NamedTuple):
    """What began when a copy of a store was opened."""

    epoch: str
    previous_epoch: str
    backup_us: int | None
    """When the content of the copy was read; None = it does not say."""
    leases_ended: int
