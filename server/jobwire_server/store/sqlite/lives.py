"""Lives of a store: a backup that is opened again is not the store that it was taken from.

That one went on after the backup: it told watchers revisions, and workers fences, that the backup knows nothing of and
would give out a second time. So a copy is marked as one, and whoever opens it first begins a new life, in one
transaction:

- a new epoch: cursors and page tokens of the old life are refused instead of being taken for other events;
- a floor under fences and revisions (and so under the keys of new jobs): every lease from now on has a fence that no
  lease of any earlier life can have had, so that a late report changes nothing and is told LEASE_LOST; and whoever has
  seen a job at some revision is told everything that happens to it now;
- every lease is over: its holder may have ended the job, in the old life, and recovery hands the job back.

Request keys stay: a client that repeats a submit finds the job, if the backup has it.
"""

from __future__ import annotations

from typing import Any

import apsw

from jobwire_server.store.lives import NewLife
from jobwire_server.store.sqlite.connection import StoreClock


def mark_as_backup(connection: apsw.Connection, now_us: int) -> None:
    """Note in a copy that it is one. Marking it again changes nothing: what counts is when its content was read."""
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('backup_us', ?)", (now_us,))


def begin_life(connection: apsw.Connection, clock: StoreClock, new_epoch: str) -> NewLife | None:
    """Begin a new life if the file is a backup that nobody has opened yet, else return None. One transaction.

    The schema must be up to date.
    """
    meta = read_meta(connection)
    if "backup_us" not in meta:
        return None
    now_us = clock.now_us()
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'epoch'", (new_epoch,))
        # Time as the floor: no job is leased a million times a second, so the lives of one ancestor never meet, however
        # often the same backup is restored.
        connection.execute("UPDATE meta SET value = max(value + 1, ?) WHERE name = 'fence_floor'", (now_us,))
        connection.execute("UPDATE job SET lease_expire_us = 0 WHERE state = 3")
        ended = connection.changes()
        connection.execute("DELETE FROM meta WHERE name = 'backup_us'")
        connection.execute(
            "INSERT OR REPLACE INTO meta VALUES ('restored_us', ?), ('restored_backup_us', ?)",
            (now_us, meta["backup_us"]),
        )
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return NewLife(new_epoch, str(meta["epoch"]), int(meta["backup_us"]), ended)


def read_meta(connection: apsw.Connection) -> dict[str, Any]:
    """Read what the store knows of itself."""
    rows: Any = connection.execute("SELECT name, value FROM meta").fetchall()
    return dict(rows)
