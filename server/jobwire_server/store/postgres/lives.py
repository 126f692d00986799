"""Lives of a store in PostgreSQL: what was copied, restored or carried over is not the store that it was taken from.

What a new life is, and why, stands in store/sqlite/lives.py. A dump, a base backup or a standby carries no mark, so a
store knows where it is at home (`jobwire.home()`): whoever finds it elsewhere begins a new life, in one transaction.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.store.lives import NewLife
from jobwire_server.store.postgres.connection import Connection

_LOCK = "SELECT pg_advisory_xact_lock(7669765473206166)"
_META = (
    "SELECT epoch, home, jobwire.home(), backup_us, moving, greatest(jobwire.now_us(), "
    "(SELECT max(time_us) FROM jobwire.event)) FROM jobwire.meta"
)


class _Meta(NamedTuple):
    epoch: str
    home: str | None
    here: str
    backup_us: int | None
    moving: str | None
    now_us: int

    @property
    def is_copy(self) -> bool:
        return self.backup_us is not None or self.home not in (None, self.here)


class LifeIsOver(StoreUnavailable):
    """The store that this server had opened has become another: it was restored, or a standby took over."""


def settle(connection: Connection) -> tuple[str, NewLife | None]:
    """See that the store is at home here: begin a new life if it is a copy that nobody has opened. Returns the epoch.

    Atomic; whoever comes at the same time waits, and finds the new life. The schema must be up to date. Raises
    `StoreUnavailable` for a store that has not been carried here to its end.
    """
    meta = _read(connection)
    _refuse_half_of_a_store(meta)
    if meta.home == meta.here and meta.backup_us is None:
        return meta.epoch, None
    with connection.transaction():
        connection.execute(_LOCK)
        meta = _read(connection)
        _refuse_half_of_a_store(meta)
        if not meta.is_copy:
            connection.execute("UPDATE jobwire.meta SET home = %s", (meta.here,))
            return meta.epoch, None
        return _begin(connection, meta)


def begin_life(connection: Connection) -> NewLife:
    """Begin a new life, whether or not the store can tell that it is a copy."""
    with connection.transaction():
        connection.execute(_LOCK)
        meta = _read(connection)
        _refuse_half_of_a_store(meta)
        _, life = _begin(connection, meta)
    return life


def _begin(connection: Connection, meta: _Meta) -> tuple[str, NewLife]:
    epoch = secrets.token_hex(8)
    connection.execute(
        # Time as the floor: no job is leased a million times a second, so the lives of one ancestor never meet.
        "UPDATE jobwire.meta SET epoch = %(epoch)s, home = %(here)s, "
        "fence_floor = greatest(fence_floor + 1, %(now_us)s), restored_us = %(now_us)s, "
        "restored_backup_us = backup_us, backup_us = NULL",
        {"epoch": epoch, "here": meta.here, "now_us": meta.now_us},
    )
    ended = connection.execute("UPDATE jobwire.job SET lease_expire_us = 0 WHERE state = 3").rowcount
    connection.execute("DELETE FROM jobwire.server")
    return epoch, NewLife(epoch, meta.epoch, meta.backup_us, ended)


def _read(connection: Connection) -> _Meta:
    row: Any = connection.execute(_META, prepare=False).fetchone()
    if row is None:
        raise AssertionError("the store has no epoch: its row in jobwire.meta is gone")
    return _Meta(*row)


def _refuse_half_of_a_store(meta: _Meta) -> None:
    if meta.moving is not None:
        raise StoreUnavailable(
            "A store is being carried into this database, and is not whole: run the same jobwire db import again, "
            "which goes on where it stopped, or drop the schema jobwire to begin anew."
        )
