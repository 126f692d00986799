"""A database that was copied, restored or replaced is a new life of its store, whatever tool did it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import psycopg
import pytest
import pytest_asyncio

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Released, Succeeded
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import Lease, Report, ReportCode
from jobwire_server.store.postgres.store import PostgresStore
from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import REMOTE, RESULT, SECOND_US
from tests.store.postgres.conftest import Neighbour

pytestmark = pytest.mark.asyncio

Copy = Callable[[PostgresRig], Awaitable[PostgresRig]]


@pytest_asyncio.fixture
async def copied(postgres: PostgresServer) -> AsyncIterator[Copy]:
    """Opens a copy of the database of a rig, which stays what it was."""
    made: list[PostgresRig] = []

    async def copy(rig: PostgresRig) -> PostgresRig:
        await rig.close()
        rig.connection.close()
        life = PostgresRig(postgres)
        life.connection.close()
        postgres.drop(life.database)
        life.database = postgres.copy(rig.database)
        life.url = postgres.url(life.database)
        rig.reconnect()
        await rig.open()
        life.reconnect()
        life.altered = True
        life.clock.advance(1)
        await life.open()
        made.append(life)
        return life

    yield copy
    for life in made:
        await life.close()
        life.dispose()


async def _report_all(rig: PostgresRig, leases: Sequence[Lease]) -> set[ReportCode]:
    answers = await rig.store.report([Report(lease.key, lease.fence, Succeeded(RESULT)) for lease in leases])
    return {answer.code for answer in answers}


async def _leased_three_times(rig: PostgresRig) -> list[Lease]:
    leases = []
    for _ in range(3):
        leases.append(await rig.lease_one(owner=REMOTE))
        await rig.report(leases[-1], Released())
    return [*leases, await rig.lease_one(owner=REMOTE)]


async def test_a_copy_that_is_opened_draws_a_new_epoch_once_and_the_original_keeps_its_own(
    postgres_rig: PostgresRig, copied: Copy
) -> None:
    rig = postgres_rig
    await rig.add(job_id="a")
    before = await rig.store.position()
    life = await copied(rig)

    first = await life.store.position()
    await life.reopen()

    assert first.epoch != before.epoch
    assert (await life.store.position()).epoch == first.epoch, "the second opening is none of a copy"
    assert (await rig.store.position()).epoch == before.epoch
    assert await life.state("a") is State.PENDING
    [line] = [line for line in life.logged() if line["event"] == "store.restored"]
    assert (line["previous_epoch"], line["epoch"]) == (before.epoch, first.epoch)


async def test_what_was_leased_when_the_copy_was_made_is_handed_back_and_its_holder_is_told(
    postgres_rig: PostgresRig, copied: Copy
) -> None:
    await postgres_rig.add(job_id="remote")
    held = await postgres_rig.lease_one(owner=REMOTE, lease_s=3600)
    life = await copied(postgres_rig)

    assert (await life.store.recover(instance_id="new", limit=10)).returned == 1

    assert await life.state("remote") is State.PENDING
    assert await _report_all(life, [held]) == {ReportCode.LEASE_LOST}


async def test_a_late_report_of_the_old_life_never_meets_a_lease_of_the_new_one(
    postgres_rig: PostgresRig, copied: Copy
) -> None:
    rig = postgres_rig
    await rig.add(job_id="old")
    life = await copied(rig)
    late = await _leased_three_times(rig)
    await rig.add(job_id="after-the-copy")
    late.append(await rig.lease_one(owner=REMOTE))

    mine = await _leased_three_times(life)
    await life.add(job_id="new")
    newest = await life.lease_one(owner=REMOTE)

    assert newest.key not in {lease.key for lease in late}
    assert await _report_all(life, late) == {ReportCode.LEASE_LOST}
    assert await _report_all(life, [mine[-1], newest]) == {ReportCode.RECORDED}
    fences = [lease.fence for lease in mine]
    assert [later - earlier for earlier, later in itertools.pairwise(fences)] == [1, 1, 1]


async def test_revisions_of_a_new_life_are_above_all_that_anybody_has_seen(
    postgres_rig: PostgresRig, copied: Copy
) -> None:
    rig = postgres_rig
    await rig.add(job_id="watched")
    life = await copied(rig)
    for _ in range(20):
        await rig.add()
    seen = (await rig.store.position()).revision

    await life.store.cancel("default", "watched")
    await life.add(job_id="new")

    [_, cancelled] = await life.events("watched")
    [created] = await life.events("new")
    assert seen < cancelled.revision < created.revision < 2**53


async def test_servers_of_a_new_life_tell_each_other_of_what_they_commit(
    postgres_rig: PostgresRig, copied: Copy
) -> None:
    life = await copied(postgres_rig)
    life.settings = life._made_settings({"poll_us": SECOND_US // 50, "notify": False})
    other = life.subject()
    assert isinstance(other, PostgresStore)
    await other.open()
    told = asyncio.Event()
    other.subscribe(lambda notice: told.set() if notice.pending else None)
    await life.add(job_id="new")
    async with asyncio.timeout(20):
        await told.wait()
    await other.close()


async def test_a_fence_leaps_to_just_above_the_floor_by_a_lease_and_by_nothing_else(
    postgres_rig: PostgresRig, copied: Copy
) -> None:
    life = await copied(postgres_rig)
    await life.add(job_id="a")
    [(floor,)] = life.sql("SELECT fence_floor FROM meta")
    step = "UPDATE job SET revision = revision + 1, sequence = sequence + 1"
    lease = "state = 3, attempt = 1, lease_expire_us = 0, transport = 1, instance_id = 'i'"
    for illegal in (f"fence = {floor}", f"fence = {floor + 1}", f"{lease}, fence = {floor + 2}", f"{lease}, fence = 2"):
        with pytest.raises(psycopg.errors.CheckViolation, match="illegal step"):
            life.tamper(f"{step}, {illegal}")
    life.tamper(f"{step}, {lease}, fence = {floor + 1}")


async def test_a_dump_that_is_read_back_into_the_same_database_ends_the_servers_of_the_old_life(
    postgres_rig: PostgresRig, neighbour: Neighbour, postgres: PostgresServer
) -> None:
    rig = postgres_rig
    kept = await rig.add()
    epoch = (await rig.store.position()).epoch
    postgres.dump(rig.database, postgres.folder / "dump")
    await rig.add()
    server = await neighbour(poll_us=SECOND_US // 50)
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    server.on_fatal(ended.set_result)
    await rig.close()

    rig.altered = True
    postgres.restore(rig.database, postgres.folder / "dump")
    rig.cut()

    async with asyncio.timeout(30):
        assert "new epoch: start this server again" in str(await ended)
    with pytest.raises(StoreUnavailable):
        await server.counts()
    await rig.open()
    assert (await rig.store.position()).epoch != epoch
    assert (await rig.store.counts()).by_state == {State.PENDING: 1}
    assert await rig.state(kept) is State.PENDING


async def test_a_host_that_keeps_its_identity_to_itself_is_no_reason_not_to_start(postgres: PostgresServer) -> None:
    database = postgres.empty_database()
    postgres.admin("CREATE ROLE tenant LOGIN")
    postgres.admin(f"ALTER DATABASE {database} OWNER TO tenant")
    with psycopg.connect(postgres.url(database)) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    url = postgres.url(database).replace("user=jobwire", "user=tenant")
    store = PostgresStore(url, clock=SystemClock(), chance=lambda: 0.5)
    try:
        await store.open()
        [(home,)] = postgres.read(database, "SELECT home FROM jobwire.meta")
        assert home.startswith("0/00000001/")
    finally:
        await store.close()
        postgres.drop(database)
        postgres.admin("DROP ROLE tenant")
