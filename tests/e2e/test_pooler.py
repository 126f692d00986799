"""Servers behind a pooler in transaction mode, which lends each of their transactions another session."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from jobwire.v1 import job_pb2, job_service_pb2
from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State as JobState
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import LeaseRequest, Report, Submission
from jobwire_server.store.postgres.store import PostgresSettings, PostgresStore
from tests.conftest import NOT_RUN
from tests.e2e.test_postgres import Fleet, result_of
from tests.helpers.factories import new_job
from tests.helpers.pooler import Pooler
from tests.helpers.postgres import PostgresServer
from tests.helpers.stores import REMOTE, SECOND_US, WORK

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

State = job_pb2.JobState


@pytest_asyncio.fixture
async def pooled(tmp_path: Path, postgres: PostgresServer, pgbouncer: str) -> AsyncIterator[tuple[Fleet, Pooler]]:
    """Servers that know the database through the pooler alone, fewer sessions than connections."""
    database = postgres.empty_database()
    async with AsyncExitStack() as undo:
        undo.callback(postgres.drop, database)
        pooler = await asyncio.to_thread(Pooler, pgbouncer, postgres, sessions=3)
        undo.callback(pooler.stop)
        yield Fleet(tmp_path, undo, pooler.url(database)), pooler


async def test_servers_behind_a_pooler_run_watch_and_cancel_each_others_jobs(pooled: tuple[Fleet, Pooler]) -> None:
    fleet, _ = pooled
    await fleet.serves("front", "serve", "--db-pooler")
    await fleet.serves("back", "dev", "--db-pooler")
    async with fleet.client(f"unix:{fleet.folder / 'front'}") as client:
        job_id = await client.submit("hello", '"Ada"')
        assert result_of(await client.reaches(job_id, State.JOB_STATE_COMPLETED)) == "Hello, Ada!"
        slow = await client.submit("sleep", "60")
        watch = client.stub.WatchJob(job_service_pb2.WatchJobRequest(job_id=slow))
        async for update in watch:  # type: ignore[attr-defined]
            if "of 60 s" in update.status.progress_message:
                break
        watch.cancel()
        await client.cancel(slow)
        await client.reaches(slow, State.JOB_STATE_CANCELLED)


async def test_a_pooler_that_is_killed_is_waited_for(pooled: tuple[Fleet, Pooler]) -> None:
    fleet, pooler = pooled
    await fleet.serves("only", "dev", "--db-pooler")
    async with fleet.client(f"unix:{fleet.folder / 'only'}") as client:
        before = await client.submit("hello", '"Ada"')
        await client.reaches(before, State.JOB_STATE_COMPLETED)
        await asyncio.to_thread(pooler.kill)
        await asyncio.to_thread(pooler.start)
        job_id = await client.submit("hello", '"Bob"')
        assert result_of(await client.reaches(job_id, State.JOB_STATE_COMPLETED)) == "Hello, Bob!"


async def test_many_transactions_at_once_share_few_sessions_and_leave_nothing_behind_in_them(
    postgres: PostgresServer, pgbouncer: str
) -> None:
    database = postgres.empty_database()
    pooler = await asyncio.to_thread(Pooler, pgbouncer, postgres, sessions=2)
    settings = PostgresSettings(notify=False, prepare=False, poll_us=SECOND_US // 20)
    stores = [
        PostgresStore(pooler.url(database), clock=SystemClock(), chance=lambda: 0.5, settings=settings)
        for _ in range(4)
    ]
    try:
        for store in stores:
            await store.open()
        done = await asyncio.gather(*(_work(store, number) for number, store in enumerate(stores)))
        assert sum(done) == 4 * 25
        assert (await stores[0].counts()).by_state == {JobState.COMPLETED: 100}
        with psycopg.connect(pooler.url(database)) as guest:
            left = guest.execute("SELECT current_setting('search_path'), current_setting('enable_seqscan')").fetchone()
        assert left == ('"$user", public', "on")
    finally:
        for store in stores:
            await store.close()
        await asyncio.to_thread(pooler.stop)
        postgres.drop(database)


async def _open_and_work(store: PostgresStore, number: int) -> None:
    await store.open()
    await _work(store, number)


async def _work(store: PostgresStore, number: int) -> int:
    """Submit, lease and complete, beside reads; returns how many jobs this store has completed."""
    done = 0
    for _ in range(25):
        await store.submit(Submission("default", [new_job()]))
        await store.counts()
    while leases := await store.lease(
        LeaseRequest(REMOTE._replace(instance_id=f"i{number}"), [WORK], 3, 60 * SECOND_US)
    ):
        answers = await store.report([Report(lease.key, lease.fence, Succeeded()) for lease in leases])
        done += len(answers)
    return done


async def test_a_pooler_that_the_server_was_not_told_of_is_named(postgres: PostgresServer, pgbouncer: str) -> None:
    if _version(pgbouncer) >= (1, 21):
        pytest.skip(f"{NOT_RUN}this pooler keeps prepared statements by itself (PgBouncer 1.21 and newer)")
    database = postgres.empty_database()
    pooler = await asyncio.to_thread(Pooler, pgbouncer, postgres, sessions=3)
    stores = [PostgresStore(pooler.url(database), clock=SystemClock(), chance=lambda: 0.5) for _ in range(3)]
    try:
        with pytest.raises(StoreUnavailable, match="start it with --db-pooler"):
            await asyncio.gather(*(_open_and_work(store, number) for number, store in enumerate(stores)))
    finally:
        for store in stores:
            await store.close()
        await asyncio.to_thread(pooler.stop)
        postgres.drop(database)


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split()[1].split(".")[:2])
