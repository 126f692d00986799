"""The check of a store in PostgreSQL: silent about what its verbs wrote, and it names the row of all else."""

from __future__ import annotations

import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.store.audit import Problem
from jobwire_server.store.postgres.visiting import NotAStore, bring_up_to_date, check_store, read_status
from tests.helpers.postgres import PostgresServer
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import SECOND_US
from tests.store.postgres.conftest import Neighbour
from tests.store.tampering import TAMPERED, fill

pytestmark = pytest.mark.asyncio

OF_THIS_DRIVER = {
    "an identity of nobody": (
        "INSERT INTO identity VALUES (9999, 'default', 'nobody', 'default', 'work')", "identity", "key 9999", "no job",
    ),
    "an identity that is lost": ("DELETE FROM identity WHERE id = 'done'", "job", "done", "not found by its id"),
    "an identity of another queue": (
        "UPDATE identity SET queue = 'other' WHERE id = 'done'", "identity", "key ", "of no job",
    ),
}  # fmt: skip


def _tamper(rig: PostgresRig, statement: str) -> None:
    """Change the store past every guard that it has."""
    constraints = "SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c' AND connamespace = "
    for table, name in rig.sql(f"{constraints} 'jobwire'::regnamespace"):
        rig.tamper(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    rig.tamper("ALTER TABLE job DISABLE TRIGGER USER")
    own_way = statement.replace("x'00'", "'\\x00'::bytea")
    rig.tamper(own_way.replace("SET value = 1 WHERE name = 'compacted'", "SET compacted = 1"))


def _found(rig: PostgresRig) -> list[Problem]:
    return list(check_store(rig.url))


async def test_what_the_verbs_wrote_is_sound_while_servers_are_there(postgres_rig: PostgresRig) -> None:
    await fill(postgres_rig)
    assert _found(postgres_rig) == []


@pytest.mark.parametrize(
    ("statement", "table", "row", "words"),
    [*TAMPERED.values(), *OF_THIS_DRIVER.values()],
    ids=[*TAMPERED.keys(), *OF_THIS_DRIVER.keys()],
)
async def test_what_was_tampered_with_is_found_and_its_row_named(
    postgres_rig: PostgresRig, statement: str, table: str, row: str, words: str
) -> None:
    rig = postgres_rig
    await fill(rig)
    await rig.close()
    _tamper(rig, statement)

    found = _found(rig)

    assert any(each.table == table and row in each.row and words in each.problem for each in found), found


async def test_the_status_says_what_is_there(postgres_rig: PostgresRig, neighbour: Neighbour) -> None:
    rig = postgres_rig
    await fill(rig)
    server = await neighbour(presence_us=60 * SECOND_US)
    await server.recover(instance_id="one", limit=1)
    position = await rig.store.position()

    status = read_status(rig.url)

    assert (status.epoch, status.revision, status.compacted) == position
    assert (status.servers, status.pending_migrations, status.moving) == (1, (), None)
    assert status.jobs == (await rig.store.counts()).by_state
    assert sum(status.jobs.values()) == 4
    assert status.bytes > 0
    assert status.schema >= 4


async def test_a_schema_is_brought_up_to_date_when_no_server_is_there(postgres_rig: PostgresRig) -> None:
    rig = postgres_rig
    await rig.add()
    await rig.close()
    rig.tamper(f"INSERT INTO server VALUES ('one', {rig.clock.time_us + SECOND_US})")
    assert bring_up_to_date(rig.url, rig.clock) == []
    rig.tamper("DROP FUNCTION home")
    for column in ("fence_floor", "home", "backup_us", "restored_us", "restored_backup_us", "moving"):
        rig.tamper(f"ALTER TABLE meta DROP COLUMN {column}")
    rig.tamper("DROP FUNCTION refuse_step CASCADE")
    rig.tamper("CREATE TRIGGER job_steps AFTER INSERT ON job FOR EACH ROW EXECUTE FUNCTION jobwire.refuse('x')")
    rig.tamper("DELETE FROM migration WHERE number = 4")
    assert read_status(rig.url).pending_migrations == ("0004_lives",)
    with pytest.raises(StoreUnavailable, match="older jobwire, whose rows cannot be checked"):
        list(check_store(rig.url))
    with pytest.raises(StoreUnavailable, match="1 server has the store open: stop them first"):
        bring_up_to_date(rig.url, rig.clock)
    rig.clock.advance(1)
    assert bring_up_to_date(rig.url, rig.clock) == ["0004_lives"]
    assert _found(rig) == []


async def test_a_database_without_a_store_is_said_to_be_one(postgres: PostgresServer) -> None:
    database = postgres.empty_database()
    with pytest.raises(NotAStore, match="no schema jobwire"):
        read_status(postgres.url(database))
    postgres.drop(database)
