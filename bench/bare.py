"""The bare apsw loop that figures are held against: it does nothing but write the same rows, in the same schema."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import uuid_utils

from jobwire_server.store.migrations import shipped

CYCLE_COMMIT: Final = 100
_PAYLOAD: Final = b"x" * 100
_INSERT: Final = """
INSERT INTO job (key, revision, sequence, attempt, fence, losses, create_us, change_us, tenant, id, state, max_attempts,
  queue, type, priority, due_us, payload_form, payload_size, payload, id_chosen)
VALUES (?, ?, 1, 0, 0, 0, ?, ?, 'default', ?, 2, 20, 'default', 'bench.noop', 5, ?, 1, 100, ?, 0)
"""
_LEASE: Final = """
UPDATE job SET state = 3, attempt = attempt + 1, fence = fence + 1, revision = ?2, sequence = sequence + 1,
  change_us = ?3, start_us = ?3, lease_expire_us = ?3 + 60000000, transport = 1, instance_id = 'bench',
  worker_id = 'bench'
WHERE key = ?1 AND state = 2
"""
_FINISH: Final = """
UPDATE job SET state = 5, revision = ?2, sequence = sequence + 1, change_us = ?3, finish_us = ?3, purge_us = ?3 + 1,
  lease_expire_us = NULL, transport = NULL, instance_id = NULL
WHERE key = ?1 AND state = 3
"""


class Spent(NamedTuple):
    """What a loop took."""

    jobs: int
    seconds: float
    cpu_seconds: float

    @property
    def jobs_per_second(self) -> float:
        """The rate."""
        return self.jobs / self.seconds


def insert(path: Path, jobs: int, commit: int) -> Spent:
    """Write the rows of new jobs, `commit` in a transaction."""
    with _synced(path) as connection:
        wall, cpu = time.perf_counter(), time.process_time()
        for first in range(1, jobs + 1, commit):
            _insert(connection, range(first, first + commit))
        return Spent(jobs, time.perf_counter() - wall, time.process_time() - cpu)


def cycle(path: Path, jobs: int) -> Spent:
    """Insert, lease and finish jobs: three transactions for each hundred."""
    with _synced(path) as connection:
        wall, cpu = time.perf_counter(), time.process_time()
        for first in range(1, 3 * jobs + 1, 3 * CYCLE_COMMIT):
            keys = range(first, first + CYCLE_COMMIT)
            now_us = _insert(connection, keys)
            for step, statement in enumerate((_LEASE, _FINISH), 1):
                with connection:
                    rows = [(key, key + step * CYCLE_COMMIT, now_us) for key in keys]
                    connection.executemany(statement, rows)
        return Spent(jobs, time.perf_counter() - wall, time.process_time() - cpu)


def _insert(connection: apsw.Connection, keys: range) -> int:
    now_us = time.time_ns() // 1000
    with connection:
        rows = [(key, key, now_us, now_us, str(uuid_utils.uuid7()), now_us, _PAYLOAD) for key in keys]
        connection.executemany(_INSERT, rows)
    return now_us


@contextmanager
def _synced(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        connection.execute("PRAGMA journal_mode = wal").fetchall()
        connection.execute("PRAGMA synchronous = full")
        for migration in shipped(files("jobwire_server.store.sqlite") / "migrations"):
            connection.execute(migration.sql)
        yield connection
    finally:
        connection.close()
