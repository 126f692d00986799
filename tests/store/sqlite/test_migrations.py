"""A store that an older jobwire wrote is brought up to date with everything in it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import apsw
import pytest

from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.store.base import EventKind
from jobwire_server.store.migrations import Migration, shipped
from tests.helpers.stores import RESULT, StoreRig

pytestmark = pytest.mark.asyncio

SHIPPED = shipped(files("jobwire_server.store.sqlite") / "migrations")
ROW = (
    "INSERT INTO job (key, revision, sequence, attempt, fence, losses, create_us, change_us, tenant, id, id_chosen, "
    "state, max_attempts, queue, type, priority, due_us, payload_size, labels) "
    "VALUES (?1, ?1, 1, 0, 0, 0, 1, 1, 'default', ?2, 1, 2, 20, 'default', 'work', 5, 1, 0, '{\"k\": \"v\"}')"
)
LEASE = (
    "UPDATE job SET state = 3, revision = ?2, sequence = sequence + 1, attempt = attempt + 1, fence = fence + 1, "
    "lease_expire_us = 1 << 60, transport = 0, instance_id = 'old', worker_id = 'w', start_us = 2 WHERE key = ?1"
)
GIVE_BACK = (
    "UPDATE job SET state = 2, revision = ?2, sequence = sequence + 1, attempt = attempt - 1, "
    "lease_expire_us = NULL, transport = NULL, instance_id = NULL WHERE key = ?1"
)


def _apply(connection: apsw.Connection, migration: Migration) -> None:
    connection.execute(migration.sql)
    record = (migration.number, migration.name, migration.checksum)
    connection.execute("INSERT INTO migration VALUES (?, ?, ?, 1)", record)


@pytest.fixture
def first_schema(tmp_path: Path) -> StoreRig:
    """A store of the first schema: jobs 1 to 3, of which 1 was leased twice, 2 is leased, and 3 waits."""
    rig = StoreRig(tmp_path / "jobs.db")
    connection = apsw.Connection(str(rig.path))
    connection.execute("PRAGMA journal_mode = wal").fetchall()
    connection.execute(
        "CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, "
        "applied_us INTEGER NOT NULL) STRICT"
    )
    _apply(connection, SHIPPED[0])
    connection.execute("INSERT INTO meta VALUES ('epoch', 'e'), ('compacted', 0)")
    for key in (1, 2, 3):
        connection.execute(ROW, (key, f"job-{key}"))
        connection.execute("INSERT INTO label VALUES ('default', 'k', 'v', ?)", (key,))
    for statement, key, revision in (
        (LEASE, 1, 4),
        (LEASE, 2, 5),
        (GIVE_BACK, 1, 6),
        (LEASE, 1, 7),
        (GIVE_BACK, 1, 8),
    ):
        connection.execute(statement, (key, revision))
    connection.close()
    return rig


async def test_jobs_of_the_first_schema_go_on_where_they_stood(first_schema: StoreRig) -> None:
    rig = first_schema
    await rig.open()
    assert [await rig.state(f"job-{key}") for key in (1, 2, 3)] == [State.PENDING, State.PROCESSING, State.PENDING]
    assert [lease.job_id for lease in await rig.store.held_by("old", limit=9)] == ["job-2"]
    assert (await rig.store.recover(instance_id="new", limit=9)).returned == 1
    leases = await rig.lease(9)
    assert [(lease.job_id, lease.attempt, lease.fence) for lease in leases] == [
        ("job-1", 1, 3),
        ("job-2", 2, 3),
        ("job-3", 1, 1),
    ]
    for lease in leases:
        await rig.report(lease, Succeeded(RESULT))
    await rig.close()


async def test_the_log_of_the_first_schema_is_read_as_it_was(first_schema: StoreRig) -> None:
    rig = first_schema
    old = rig.path
    assert old is not None
    connection = apsw.Connection(str(old))
    before = connection.execute("SELECT revision, key, sequence, state, fence FROM event ORDER BY revision").fetchall()
    connection.close()
    await rig.open()
    events = await rig.events()
    assert [(one.revision, one.key, one.sequence, one.state, one.fence) for one in events] == before
    assert [one.revision for one in await rig.events("job-1")] == [1, 4, 6, 7, 8]
    assert [one.revision for one in await rig.events("job-1", "job-3", after=4)] == [6, 7, 8]
    assert {one.kind for one in events} == {EventKind.CREATED, EventKind.UPDATED}
    await rig.close()


async def test_the_log_of_a_job_whose_first_events_are_gone_is_read_as_far_as_it_goes(first_schema: StoreRig) -> None:
    rig = first_schema
    connection = apsw.Connection(str(rig.path))
    connection.execute("DELETE FROM event WHERE revision <= 4")
    connection.execute("UPDATE meta SET value = 4 WHERE name = 'compacted'")
    connection.close()
    await rig.open()
    assert [one.revision for one in await rig.events("job-1")] == [6, 7, 8]
    await rig.close()
