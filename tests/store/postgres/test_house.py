"""A whole store is carried from SQLite to PostgreSQL and back: nothing is missing, and nobody serves the half of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import Content, State
from jobwire_server.domain.outcome import Failed, JobError, Succeeded
from jobwire_server.store.base import Report, ReportCode
from jobwire_server.store.moving import TABLES, Carried, CopyDiffers, Row, Table, carry
from jobwire_server.store.postgres import house as database
from jobwire_server.store.postgres.store import PostgresStore
from jobwire_server.store.postgres.visiting import check_store as check_database
from jobwire_server.store.postgres.visiting import read_status
from jobwire_server.store.sqlite import house as file
from jobwire_server.store.sqlite.copying import TargetTaken
from jobwire_server.store.sqlite.visiting import check_store as check_file
from tests.helpers.clock import ManualClock
from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import REMOTE, SECOND_US, StoreRig
from tests.store.tampering import fill

pytestmark = pytest.mark.asyncio


def nobody(_done: int, _total: int) -> None:
    """Who is told how far it is."""


def bring_in(path: Path, url: str) -> Carried:
    with file.leaving(path) as source, database.arriving(url, ManualClock()) as target:
        return carry(source, target, now_us=lambda: 7, progress=nobody)


def take_out(url: str, path: Path) -> Carried:
    with database.leaving(url) as source, file.arriving(path, ManualClock()) as target:
        return carry(source, target, now_us=lambda: 8, progress=nobody)


def rows_of(path: Path) -> dict[str, list[Row]]:
    """Every row of a file, table by table."""
    with file.leaving(path) as house:
        return {table.name: list(house.rows(table, house.columns(table), None)) for table in TABLES}


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    """Url of a database with nothing in it."""
    name = postgres.empty_database()
    yield postgres.url(name)
    postgres.drop(name)


async def furnish(rig: StoreRig) -> None:
    """All that a store may hold: jobs in every state with all that may belong to them, keys, secrets, what is gone."""
    await fill(rig)
    later_us = rig.clock.wall_us() + SECOND_US
    await rig.add(request_id="again and again", job_id="keyed", priority=7, schedule_time_us=later_us)
    await rig.store.delete("default", await rig.job_in(State.COMPLETED, job_id="chosen", id_chosen=True))
    await rig.add(payload=Content(b"\x00\xff" * 3000, "image/png"), headers={"trace": "ü"}, labels={"k": "wörld"})
    await rig.store.secret("tokens")
    await rig.close()


def path_of(rig: StoreRig) -> Path:
    assert rig.path is not None
    return rig.path


async def test_a_store_that_goes_to_the_database_and_back_is_the_same_to_the_last_row(
    file_rig: StoreRig, empty: str, tmp_path: Path
) -> None:
    await furnish(file_rig)
    before = rows_of(path_of(file_rig))

    there = bring_in(path_of(file_rig), empty)
    back = take_out(empty, tmp_path / "back.db")

    assert there.rows == back.rows == {name: len(rows) for name, rows in before.items()}
    assert not there.resumed
    assert all(there.rows.values()), "a table that nothing went through proves nothing"
    assert rows_of(tmp_path / "back.db") == before
    assert rows_of(path_of(file_rig)) == before, "what was carried away is still there"
    assert list(check_database(empty)) == []
    assert list(check_file(tmp_path / "back.db")) == []
    assert not (tmp_path / "back.db.part").exists()


async def test_what_arrived_is_served_as_a_new_life_and_old_workers_are_told(
    file_rig: StoreRig, empty: str, postgres_rig: PostgresRig
) -> None:
    await file_rig.add(job_id="held")
    held = await file_rig.lease_one(owner=REMOTE, lease_s=3600)
    await file_rig.add(job_id="waits")
    before = await file_rig.store.position()
    await file_rig.close()
    bring_in(path_of(file_rig), empty)

    store = PostgresStore(empty, clock=postgres_rig.clock, chance=lambda: 0.5)
    position = await store.open()
    try:
        assert position.epoch != before.epoch
        assert position.revision > before.revision
        assert (await store.recover(instance_id="new", limit=9)).returned == 1
        [answer] = await store.report([Report(held.key, held.fence, Succeeded())])
        assert answer.code is ReportCode.LEASE_LOST
        [job] = await store.get("default", ["waits"], full=True)
        assert job is not None
        assert job.status.state is State.PENDING
        await store.cancel("default", "waits")
        assert (await store.events(after=before.revision, limit=9))[-1].revision > position.revision
    finally:
        await store.close()
    assert list(check_database(empty)) == []


class Stop(Exception):
    """Where the test ends a move."""


class Stopping:
    """A target that fails after so many batches, as a machine does."""

    def __init__(self, target: Any, batches: int) -> None:
        self._target, self._left = target, batches

    def put(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Take the batch, or fail."""
        if not self._left:
            raise Stop
        self._left -= 1
        self._target.put(table, columns, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


async def test_a_move_that_broke_off_goes_on_where_it_stopped_wherever_that_was(
    file_rig: StoreRig, empty: str, tmp_path: Path
) -> None:
    await furnish(file_rig)
    stops = 0
    for batches in range(len(TABLES) + 1):
        try:
            with file.leaving(path_of(file_rig)) as source, database.arriving(empty, ManualClock()) as target:
                done = carry(source, Stopping(target, int(batches > 0)), now_us=lambda: 7, progress=nobody)
        except Stop:
            stops += 1
            with pytest.raises(StoreUnavailable, match="run the same jobwire db import again"):
                await PostgresStore(empty, clock=ManualClock(), chance=lambda: 0.5).open()
            assert read_status(empty).moving is not None
    assert stops == len(TABLES)
    assert done.resumed

    stops, back = 0, tmp_path / "back.db"
    while not back.exists():
        try:
            with database.leaving(empty) as house, file.arriving(back, ManualClock()) as part:
                carry(house, Stopping(part, 1), now_us=lambda: 8, progress=nobody)
        except Stop:
            stops += 1
            half = StoreRig(back.with_name("back.db.part"))
            with pytest.raises(StoreUnavailable, match="half of a store"):
                await half.open()
    assert stops == len(TABLES) - 1
    assert rows_of(back) == rows_of(path_of(file_rig))


async def test_a_move_does_not_go_on_with_a_store_that_was_used_meanwhile(file_rig: StoreRig, empty: str) -> None:
    await furnish(file_rig)
    with (
        pytest.raises(Stop),
        file.leaving(path_of(file_rig)) as source,
        database.arriving(empty, ManualClock()) as target,
    ):
        carry(source, Stopping(target, 2), now_us=lambda: 7, progress=nobody)
    await file_rig.open()
    await file_rig.add()
    await file_rig.close()
    with pytest.raises(StoreUnavailable, match="holds another store already"):
        bring_in(path_of(file_rig), empty)


CHANGES = {
    "a row that differs": ("UPDATE job SET worker_id = 'x' WHERE key = 1", "job key 1: it has another worker_id"),
    "a row that is missing": ("DELETE FROM label WHERE name = 'k'", "it is missing"),
    "a row too many": ("INSERT INTO tombstone VALUES ('zzz', 'zzz', 1)", "it is there, and was not sent"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES.keys())
async def test_what_arrived_otherwise_than_it_was_sent_is_found_and_is_not_served(
    file_rig: StoreRig, empty: str, change: str, said: str
) -> None:
    await furnish(file_rig)

    class Changed(Stopping):
        def put(self, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
            self._target.put(table, columns, rows)
            if table is TABLES[-1]:
                with psycopg.connect(empty, autocommit=True, options="-c search_path=jobwire") as connection:
                    connection.execute(change)

    with (
        pytest.raises(CopyDiffers, match=said),
        file.leaving(path_of(file_rig)) as source,
        database.arriving(empty, ManualClock()) as target,
    ):
        carry(source, Changed(target, 0), now_us=lambda: 7, progress=nobody)
    with pytest.raises(StoreUnavailable, match="not whole"):
        await PostgresStore(empty, clock=ManualClock(), chance=lambda: 0.5).open()


async def test_nothing_is_carried_over_another_store(
    file_rig: StoreRig, postgres_rig: PostgresRig, tmp_path: Path
) -> None:
    await file_rig.add()
    await file_rig.close()
    await postgres_rig.add()
    await postgres_rig.close()
    with pytest.raises(StoreUnavailable, match="holds another store already"):
        bring_in(path_of(file_rig), postgres_rig.url)
    (tmp_path / "taken.db").touch()
    with pytest.raises(TargetTaken):
        take_out(postgres_rig.url, tmp_path / "taken.db")


async def test_a_store_that_is_served_is_not_carried_away(
    file_rig: StoreRig, postgres_rig: PostgresRig, empty: str, tmp_path: Path
) -> None:
    with pytest.raises(StoreUnavailable, match="Another jobwire server has"):
        bring_in(path_of(file_rig), empty)
    await postgres_rig.close()
    postgres_rig.tamper(f"INSERT INTO server VALUES ('one', {postgres_rig.clock.time_us + SECOND_US})")
    with pytest.raises(StoreUnavailable, match="1 server has the store open"):
        take_out(postgres_rig.url, tmp_path / "out.db")


async def test_a_move_into_a_database_that_another_one_is_filling_is_refused(file_rig: StoreRig, empty: str) -> None:
    await furnish(file_rig)
    with (
        database.arriving(empty, ManualClock()),
        pytest.raises(StoreUnavailable, match="Another jobwire db import"),
    ):
        bring_in(path_of(file_rig), empty)


async def test_the_guards_of_the_tables_are_back_in_the_end(file_rig: StoreRig, empty: str, tmp_path: Path) -> None:
    await file_rig.run(Failed(JobError(type="E", retryable=False)), job_id="failed")
    await file_rig.close()
    triggers = "SELECT name, sql FROM sqlite_schema WHERE type IN ('trigger', 'index', 'table') ORDER BY name"
    before = apsw.Connection(str(path_of(file_rig))).execute(triggers).fetchall()
    bring_in(path_of(file_rig), empty)
    take_out(empty, tmp_path / "back.db")
    assert apsw.Connection(str(tmp_path / "back.db")).execute(triggers).fetchall() == before
    with psycopg.connect(empty) as connection, pytest.raises(psycopg.errors.CheckViolation, match="illegal transition"):
        connection.execute("UPDATE jobwire.job SET state = 5, revision = revision + 1, sequence = sequence + 1")
