"""A database that an older jobwire wrote is brought up to date with everything in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.store.base import JobFilter, ListQuery
from jobwire_server.store.migrations import shipped
from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import RESULT

pytestmark = pytest.mark.asyncio

FIRST = shipped(files("jobwire_server.store.postgres") / "migrations")[0]
ROW = (
    "INSERT INTO jobwire.job (key, revision, sequence, attempt, fence, losses, create_us, change_us, tenant, id, "
    "id_chosen, state, max_attempts, queue, type, priority, due_us, payload_size, batch_id) "
    "VALUES (%(key)s, %(key)s, 1, 0, 0, 0, 1, 1, 'default', %(id)s, 1, 2, 20, 'default', 'work', 5, 1, 0, 'b')"
)
LEASE = (
    "UPDATE jobwire.job SET state = 3, revision = %(revision)s, sequence = sequence + 1, attempt = attempt + 1, "
    "fence = fence + 1, lease_expire_us = 1::bigint << 60, transport = 0, instance_id = 'old', worker_id = 'w', "
    "start_us = 2 WHERE key = %(key)s"
)


@pytest_asyncio.fixture
async def first_schema(postgres: PostgresServer) -> AsyncIterator[PostgresRig]:
    """A store of the first schema: jobs 1 to 3, of which 2 is leased."""
    rig = PostgresRig(postgres)
    rig.altered = True
    with psycopg.connect(rig.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA jobwire CASCADE")
        connection.execute("CREATE SCHEMA jobwire")
        connection.execute(
            "CREATE TABLE jobwire.migration (number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
            "applied_us bigint NOT NULL)"
        )
        connection.execute(FIRST.sql, prepare=False)
        connection.execute(
            "INSERT INTO jobwire.migration VALUES (%s, %s, %s, 1)", (FIRST.number, FIRST.name, FIRST.checksum)
        )
        connection.execute("INSERT INTO jobwire.meta (epoch, compacted) VALUES ('e', 0)")
        for key in (1, 2, 3):
            connection.execute(ROW, {"key": key, "id": f"job-{key}"})
        connection.execute(LEASE, {"key": 2, "revision": 4})
    yield rig
    await rig.close()
    rig.dispose()


async def test_jobs_of_the_first_schema_go_on_where_they_stood(first_schema: PostgresRig) -> None:
    rig = first_schema
    await rig.open()
    assert [await rig.state(f"job-{key}") for key in (1, 2, 3)] == [State.PENDING, State.PROCESSING, State.PENDING]
    assert (await rig.store.recover(instance_id="new", limit=9)).returned == 1
    leases = await rig.lease(9)
    assert [(lease.job_id, lease.fence) for lease in leases] == [("job-1", 1), ("job-2", 3), ("job-3", 1)]
    for lease in leases:
        await rig.report(lease, Succeeded(RESULT))
    rig.check()


async def test_jobs_of_the_first_schema_are_found_by_whatever_they_are_looked_up(first_schema: PostgresRig) -> None:
    rig = first_schema
    await rig.open()
    wanted: Any
    for wanted in (
        JobFilter(queues=("default",)),
        JobFilter(types=("work",)),
        JobFilter(batch_id="b"),
        JobFilter(states=(State.PENDING, State.PROCESSING)),
    ):
        page = await rig.store.list_jobs("default", ListQuery(wanted, 9, 1 << 20, False))
        assert [job.job_id for job in page.jobs] == ["job-3", "job-2", "job-1"], wanted
