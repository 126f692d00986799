"""What becomes of callers when the database, or the way to it, fails: nothing is lost, or doubled, or untrue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from jobwire_server.domain.errors import StoreFull, StoreUnavailable
from jobwire_server.domain.job import SECOND_US, State
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import Report, ReportAnswer, ReportCode, Submission, Submitted
from jobwire_server.store.postgres.connection import refusal_of, unavailable
from jobwire_server.store.postgres.store import PostgresStore
from jobwire_server.store.postgres.writer import OutcomeUnknown
from tests.helpers.factories import new_job
from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_proxy import PostgresProxy
from tests.helpers.postgres_rig import PostgresRig

pytestmark = pytest.mark.asyncio

PATIENCE = 30.0


# --- a database that would not keep what it promises ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ((130_010, "on", "on", "on", False), "needs 14 or newer"),
        ((160_014, "off", "on", "on", False), "fsync = off"),
        ((160_014, "on", "off", "on", False), "full_page_writes = off"),
        ((160_014, "on", "on", "off", False), "synchronous_commit = off"),
        ((160_014, "on", "on", "on", True), "name the primary"),
    ],
)
async def test_a_database_that_could_lose_what_was_acknowledged_is_refused_with_the_remedy(
    facts: tuple[int, str, str, str, bool], said: str
) -> None:
    assert said in (refusal_of(*facts) or "")


@pytest.mark.parametrize("commit", ["on", "local", "remote_write", "remote_apply"])
async def test_a_database_that_syncs_before_it_answers_is_taken(commit: str) -> None:
    assert refusal_of(140_000, "on", "on", commit, False) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.errors.InvalidSqlStatementName(), "start it with --db-pooler"),
        (psycopg.errors.DuplicatePreparedStatement(), "start it with --db-pooler"),
        (psycopg.errors.InsufficientPrivilege("no permission"), "It cannot be opened: no permission."),
    ],
)
async def test_whoever_opens_a_store_is_told_of_a_pooler_or_what_the_database_said(
    error: psycopg.Error, said: str
) -> None:
    assert said in str(unavailable(error, "It cannot be opened"))


async def test_a_server_does_not_start_on_a_database_that_answers_before_it_syncs(postgres_rig: PostgresRig) -> None:
    rig = postgres_rig
    rig.tamper(f"ALTER DATABASE {rig.database} SET synchronous_commit = off")
    with pytest.raises(StoreUnavailable, match="synchronous_commit = off"):
        await rig.subject().open()


async def test_a_server_does_not_start_on_a_database_without_fsync() -> None:
    with pytest.raises(StoreUnavailable, match="fsync = off"):
        PostgresServer(fsync="off")


async def test_a_database_that_is_not_there_is_named_with_what_to_do(tmp_path: Path, postgres_rig: PostgresRig) -> None:
    postgres_rig.url = f"postgresql:///jobs?host={tmp_path}&user=jobwire"
    with pytest.raises(StoreUnavailable, match=r"cannot be reached: .* See that it runs, and that --db names it"):
        await postgres_rig.subject().open()


# --- connections that are lost ----------------------------------------------------------------------------------------


async def test_a_session_that_was_ended_between_two_calls_is_not_even_noticed(postgres_rig: PostgresRig) -> None:
    rig = postgres_rig
    ids = []
    for _ in range(5):
        ids.append(await rig.add())
        rig.cut()
        assert [await rig.state(job_id) for job_id in ids] == [State.PENDING] * len(ids)
        rig.cut()


async def test_a_session_that_ends_in_the_middle_of_a_transaction_leaves_no_half_of_it(
    postgres_rig: PostgresRig,
) -> None:
    rig = postgres_rig
    await rig.close()
    cuts = iter([True, True, False])

    def cut(name: str) -> None:
        if name == "group.after_begin" and next(cuts):
            rig.cut()

    rig.failpoint = cut
    await rig.open()
    with pytest.raises(StoreUnavailable):
        await rig.submit(new_job(), new_job())
    assert rig.sql("SELECT count(*) FROM job") == [(0,)]
    await rig.submit(new_job(), new_job())
    assert rig.sql("SELECT count(*) FROM job") == [(2,)]


@pytest_asyncio.fixture
async def through_proxy(
    postgres_rig: PostgresRig, tmp_path: Path
) -> AsyncIterator[tuple[PostgresProxy, PostgresStore]]:
    """A store whose way to the database can break."""
    proxy = PostgresProxy(tmp_path / "proxy", postgres_rig.server.folder)
    direct = postgres_rig.url
    postgres_rig.url = direct.replace(str(postgres_rig.server.folder), str(proxy.folder))
    store = postgres_rig.subject()
    postgres_rig.url = direct
    assert isinstance(store, PostgresStore)
    await store.open()
    yield proxy, store
    await store.close()
    proxy.close()


async def test_a_commit_whose_answer_never_comes_is_called_unknown_and_the_same_request_settles_it(
    through_proxy: tuple[PostgresProxy, PostgresStore], postgres_rig: PostgresRig
) -> None:
    proxy, store = through_proxy
    for number in range(10):
        submission = Submission("default", [new_job(request_id=f"k{number}", fingerprint=b"f")])
        proxy.lose_commits(1)
        with pytest.raises(OutcomeUnknown, match="ask again with the same request_id"):
            await store.submit(submission)
        receipt = await store.submit(submission)
        assert receipt.answers[0].created is False, "it had happened"
    assert proxy.commits_lost == 10
    assert postgres_rig.sql("SELECT count(*) FROM job") == [(10,)]


async def test_a_report_whose_commit_was_not_answered_is_known_when_it_comes_again(
    through_proxy: tuple[PostgresProxy, PostgresStore], postgres_rig: PostgresRig
) -> None:
    proxy, store = through_proxy
    await postgres_rig.add()
    lease = await postgres_rig.lease_one()
    report = Report(lease.key, lease.fence, Succeeded())
    proxy.lose_commits(1)
    with pytest.raises(OutcomeUnknown):
        await store.report([report])
    [answer] = await store.report([report])
    assert (answer.code, answer.state) == (ReportCode.DUPLICATE, State.COMPLETED)


# --- a database that dies ---------------------------------------------------------------------------------------------


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A PostgreSQL that may be killed."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.mark.timeout(120)
async def test_a_database_that_was_killed_is_waited_for_and_nothing_acknowledged_is_lost(
    mortal: PostgresServer,
) -> None:
    rig = PostgresRig(mortal)
    await rig.open()
    store = rig.store
    assert isinstance(store, PostgresStore)
    reached: list[bool] = []
    changed = asyncio.Event()

    def note(now: bool) -> None:
        reached.append(now)
        changed.set()

    store.on_reach(note)
    acknowledged: list[str] = []
    for _ in range(3):
        acknowledged += [await rig.add() for _ in range(5)]
        changed.clear()
        mortal.kill()
        with pytest.raises(StoreUnavailable, match="does not answer now"):
            await rig.add()
        await asyncio.wait_for(changed.wait(), PATIENCE)
        assert reached[-1] is False, "health is told"
        changed.clear()
        mortal.start()
        await asyncio.wait_for(changed.wait(), PATIENCE)
        assert reached[-1] is True
        rig.reconnect()
        acknowledged.append(await rig.add())
    found = await store.get("default", acknowledged, full=False)
    assert len(acknowledged) == 18
    assert all(job is not None for job in found)
    await rig.close()
    rig.dispose()


@pytest.mark.timeout(120)
async def test_a_frozen_database_is_not_waited_for_and_goes_on_where_it_stood(mortal: PostgresServer) -> None:
    rig = PostgresRig(mortal, silence_us=SECOND_US, connect_timeout_us=2 * SECOND_US, poll_us=SECOND_US // 20)
    await rig.open()
    assert isinstance(rig.store, PostgresStore)
    reach = Reach(rig.store)
    before = await rig.add()
    mortal.freeze()
    try:
        answers = await asyncio.gather(rig.add(), rig.add(), rig.state(before), return_exceptions=True)
        assert [type(answer) for answer in answers[2:]] == [StoreUnavailable]
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        await reach.becomes(False)
    finally:
        mortal.thaw()
    await reach.becomes(True)
    rig.reconnect()
    assert await rig.state(before) is State.PENDING
    assert await rig.state(await rig.add()) is State.PENDING
    await rig.close()
    rig.dispose()


async def test_what_was_being_committed_when_the_database_froze_is_called_unknown(mortal: PostgresServer) -> None:
    rig = PostgresRig(mortal, silence_us=SECOND_US, connect_timeout_us=2 * SECOND_US, poll_us=SECOND_US // 20)
    frozen = False

    def freeze(name: str) -> None:
        nonlocal frozen
        if name == "group.before_commit" and not frozen:
            frozen = True
            mortal.freeze()

    await rig.open()
    await rig.close()
    rig.failpoint = freeze
    await rig.open()
    submission = Submission("default", [new_job(request_id="k", fingerprint=b"f")])
    try:
        with pytest.raises(OutcomeUnknown, match="ask again with the same request_id"):
            await rig.store.submit(submission)
    finally:
        mortal.thaw()
    receipt = await rig.store.submit(submission)
    assert rig.sql("SELECT count(*) FROM job") == [(1,)]
    assert isinstance(receipt.answers[0], Submitted)
    await rig.close()
    rig.dispose()


async def test_a_connection_that_breaks_as_soon_as_it_is_made_is_none(postgres_rig: PostgresRig) -> None:
    """The database accepts, and is gone before it has said where it is."""
    rig = postgres_rig
    await rig.add()
    rig.tamper("ALTER TABLE meta RENAME COLUMN home TO unreadable")
    rig.cut()
    for ask in (rig.store.counts, rig.store.position, lambda: rig.submit(new_job())):
        with pytest.raises(StoreUnavailable):
            await ask()
    rig.tamper("ALTER TABLE meta RENAME COLUMN unreadable TO home")
    assert (await rig.store.counts()).by_state == {State.PENDING: 1}


# --- a database without room ------------------------------------------------------------------------------------------


async def test_a_database_that_takes_no_more_connections_is_waited_for(postgres: PostgresServer) -> None:
    database = postgres.empty_database()
    postgres.admin("CREATE ROLE guest LOGIN")
    postgres.admin(f"ALTER DATABASE {database} OWNER TO guest")
    url = postgres.url(database).replace("user=jobwire", "user=guest")
    store = PostgresStore(url, clock=SystemClock(), chance=lambda: 0.5)
    try:
        await store.open()
        reach = Reach(store)
        await store.submit(Submission("default", [new_job()]))
        postgres.admin("ALTER ROLE guest CONNECTION LIMIT 0")
        postgres.cut(database)
        with pytest.raises(StoreUnavailable, match="does not answer now"):
            await store.submit(Submission("default", [new_job()]))
        with pytest.raises(StoreUnavailable, match="does not answer now"):
            await store.counts()
        await reach.becomes(False)
        with pytest.raises(StoreUnavailable, match="too many connections"):
            await PostgresStore(url, clock=SystemClock(), chance=lambda: 0.5).open()
        postgres.admin("ALTER ROLE guest CONNECTION LIMIT -1")
        await reach.becomes(True)
        await store.submit(Submission("default", [new_job()]))
        assert (await store.counts()).by_state == {State.PENDING: 2}
    finally:
        await store.close()
        postgres.drop(database)
        postgres.admin("DROP ROLE guest")


async def test_a_full_disk_keeps_new_jobs_out_lets_running_ones_end_and_is_over_when_there_is_room(
    postgres_rig: PostgresRig,
) -> None:
    rig = postgres_rig
    running = await rig.add()
    lease = await rig.lease_one()
    rig.tamper(
        "CREATE FUNCTION jobwire.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
    )
    rig.tamper("CREATE TRIGGER full_disk BEFORE INSERT ON job FOR EACH ROW EXECUTE FUNCTION jobwire.no_room()")
    refused, answered = await asyncio.gather(
        rig.submit(new_job()), rig.report(lease, Succeeded()), return_exceptions=True
    )
    assert isinstance(refused, StoreFull)
    assert isinstance(answered, ReportAnswer)
    assert answered.code is ReportCode.RECORDED
    rig.tamper("DROP TRIGGER full_disk ON job")
    assert await rig.state(running) is State.COMPLETED
    assert await rig.state(await rig.add()) is State.PENDING


class Reach:
    """Whether a store reaches its database, as it says."""

    def __init__(self, store: PostgresStore) -> None:
        self._said: asyncio.Queue[bool] = asyncio.Queue()
        store.on_reach(self._said.put_nowait)

    async def becomes(self, reached: bool) -> None:
        """Wait until it says so."""
        async with asyncio.timeout(PATIENCE):
            while await self._said.get() is not reached:
                pass
