"""A PostgreSQL of the benchmarks: its databases and their backlogs, servers on it, and what it costs.

The cluster lies in the folder of the trial, on its disk, synced as in life. Backlogs are made by statements of the
database, through the triggers of the schema, and copied as templates: what is measured is not how they came there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from bench.drain import MARGIN, Pace, wait_for
from bench.process import Process, cpu_seconds
from bench.server import Server, serving_at, working
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.store.postgres.connection import connect, migrate
from jobwire_server.store.postgres.settings import PostgresSettings
from tests.helpers.clock import ManualClock
from tests.helpers.postgres import PostgresServer

DURABILITY: Final = "fsync, full_page_writes and synchronous_commit on: every answer is on disk"
_PENDING: Final = """
INSERT INTO jobwire.job (
  key, tenant, id, id_chosen, state, revision, sequence, attempt, max_attempts, fence, losses, queue, type, priority,
  due_us, create_us, change_us, payload_form, payload_type, payload_size, payload
)
SELECT
  base + n, 'default', gen_random_uuid()::text, 0, 2, base + n, 1, 0, 20, 0, 0, 'default', %(type)s, 4,
  now_us, now_us, now_us, 1, 'text/plain', 100, repeat('x', 100)::bytea
FROM generate_series(1, %(jobs)s) AS n,
  (SELECT coalesce(max(revision), 0) AS base, jobwire.now_us() AS now_us FROM jobwire.event) AS newest
"""
_LEASED: Final = """
UPDATE jobwire.job SET
  state = 3, attempt = 1, fence = fence + 1, revision = %(base)s + key, sequence = sequence + 1,
  change_us = jobwire.now_us(), start_us = jobwire.now_us(), lease_expire_us = jobwire.now_us() + 60000000,
  transport = 1, instance_id = 'bench', worker_id = 'bench'
WHERE state = 2 AND type = %(type)s
"""
_FINISHED: Final = """
UPDATE jobwire.job SET
  state = 5, revision = %(base)s + key, sequence = sequence + 1, change_us = jobwire.now_us(),
  finish_us = jobwire.now_us(), purge_us = jobwire.now_us() + 86400000000, lease_expire_us = NULL, transport = NULL,
  instance_id = NULL
WHERE state = 3 AND type = %(type)s
"""


class Cluster:
    """One PostgreSQL, and its databases by name."""

    def __init__(self, place: Path) -> None:
        self._server = PostgresServer(place=place, shared_buffers="512MB", max_wal_size="4GB", autovacuum_naptime="10s")
        self._number = 0

    def close(self) -> None:
        """End it."""
        self._server.stop()

    def url(self, database: str) -> str:
        """How to reach a database."""
        return self._server.url(database)

    def store(self) -> str:
        """A database with an empty store; returns its name."""
        name = self._server.empty_database()
        connection = connect(self.url(name), PostgresSettings())
        migrate(connection, ManualClock(), no_failpoint)
        connection.close()
        return name

    def fill(self, database: str, jobs: int, job_type: str) -> None:
        """Add PENDING jobs with 100 bytes of payload."""
        with psycopg.connect(self.url(database)) as connection:
            connection.execute(_PENDING, {"jobs": jobs, "type": job_type})

    def finish(self, database: str, job_type: str) -> None:
        """Lease and complete all PENDING jobs of a type."""
        with psycopg.connect(self.url(database)) as connection:
            for statement in (_LEASED, _FINISHED):
                row = connection.execute("SELECT max(revision) FROM jobwire.event").fetchone()
                connection.execute(statement, {"base": row[0] if row else 0, "type": job_type})

    def tidy(self, database: str) -> None:
        """Have it vacuumed and counted, as autovacuum does in time, and written down."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        self._server.admin("CHECKPOINT")

    def copy(self, database: str) -> str:
        """A copy of a database to which nobody is connected."""
        return self._server.copy(database)

    def drop(self, database: str) -> None:
        """Remove a database."""
        self._server.drop(database)

    def processes(self) -> list[Process]:
        """The database's processes that live now."""
        postmaster = int((self._server.data / "postmaster.pid").read_text().split()[0])
        return [Process(pid) for pid in (postmaster, *(each.pid for each in psutil.Process(postmaster).children()))]

    def cpu_seconds(self) -> float:
        """CPU time of the database since its start, ended sessions included as far as the postmaster has seen them."""
        spent = cpu_seconds(self.processes())
        times = psutil.Process(self.processes()[0].pid).cpu_times()
        return spent + float(times.children_user + times.children_system)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster on the disk of `folder`, until the block ends."""
    folder.chmod(0o755)  # it runs as another user where the benchmarks run as root
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def serving(folder: Path, made: Cluster, database: str, *arguments: str) -> Iterator[Server]:
    """Run `jobwire serve` on a database until the block ends."""
    with serving_at(folder, made.url(database), *arguments) as server:
        yield server


class Drained:
    """Counts completed jobs, as the log tells it, for one drain."""

    def __init__(self, url: str) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)
        self._revision = self._one("SELECT coalesce(max(revision), 0) FROM jobwire.event")
        self._count = 0

    def _one(self, statement: str) -> int:
        row = self._connection.execute(statement).fetchone()
        return int(row[0]) if row else 0

    def count(self) -> int:
        """Jobs completed since the beginning."""
        row = self._connection.execute(
            "SELECT count(*) FILTER (WHERE state = 5), max(revision) FROM jobwire.event WHERE revision > %s",
            (self._revision,),
        ).fetchone()
        if row is not None and row[1] is not None:
            self._count, self._revision = self._count + row[0], row[1]
        return self._count

    def close(self) -> None:
        """End the session."""
        self._connection.close()


def drain(folder: Path, made: Cluster, database: str, jobs: int, *, slots: int, servers: int = 1) -> Pace:
    """Have `jobs` jobs of a database done by one worker for each server, and time the middle of them."""
    with ExitStack() as stack:
        started = [stack.enter_context(serving(folder, made, database)) for _ in range(servers)]
        counter = Drained(made.url(database))
        stack.callback(counter.close)
        workers = [
            worker for server in started for worker in stack.enter_context(working(folder, server.address, slots=slots))
        ]
        groups: Mapping[str, list[Any]] = {"servers" if servers > 1 else "server": started, "worker": workers}

        def moment(count: float) -> tuple[float, int, dict[str, float]]:
            ended = wait_for(counter.count, count)
            spent = {name: cpu_seconds(group) for name, group in groups.items()}
            return time.perf_counter(), ended, {**spent, "database": made.cpu_seconds()}

        begin, first, before = moment(jobs * MARGIN)
        end, last, after = moment(jobs * (1 - MARGIN))
    done = last - first
    return Pace(done / (end - begin), {name: (after[name] - before[name]) / done * 1e3 for name in before})
