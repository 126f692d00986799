"""The check of a store: silent about what its verbs wrote, and it names the row of whatever else was done to it."""

from __future__ import annotations

from itertools import pairwise

import apsw
import pytest

from jobwire_server.store.audit import Problem
from jobwire_server.store.sqlite.visiting import check_store
from tests.helpers.stores import StoreRig
from tests.store.tampering import TAMPERED, fill

pytestmark = pytest.mark.asyncio


def _tamper(rig: StoreRig, *statements: str) -> None:
    """Change the closed file past every guard that it has."""
    assert rig.path is not None
    connection = apsw.Connection(str(rig.path))
    connection.execute("PRAGMA ignore_check_constraints = 1")
    for (trigger,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        connection.execute(statement)
        assert connection.changes() > 0, statement
    connection.close()


def _found(rig: StoreRig) -> list[Problem]:
    assert rig.path is not None
    return list(check_store(rig.path))


async def test_what_the_verbs_wrote_is_sound_also_beside_the_open_store(file_rig: StoreRig) -> None:
    await fill(file_rig)
    assert _found(file_rig) == []
    await file_rig.store.close()
    assert _found(file_rig) == []


@pytest.mark.parametrize(("statement", "table", "row", "words"), TAMPERED.values(), ids=TAMPERED.keys())
async def test_what_was_tampered_with_is_found_and_its_row_named(
    file_rig: StoreRig, statement: str, table: str, row: str, words: str
) -> None:
    await fill(file_rig)
    await file_rig.store.close()
    _tamper(file_rig, statement)

    problems = _found(file_rig)

    assert any(each.table == table and row in each.row and words in each.problem for each in problems), problems


async def test_a_page_that_is_no_page_is_found(file_rig: StoreRig) -> None:
    await fill(file_rig)
    await file_rig.store.close()
    path = file_rig.path
    assert path is not None
    data = bytearray(path.read_bytes())
    data[3 * 4096 : 3 * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)

    assert any(each.table == "file" for each in _found(file_rig))


async def test_a_log_that_was_compacted_is_held_to_what_is_left_of_it(file_rig: StoreRig) -> None:
    rig = file_rig
    await rig.configure(event_retention_us=0, event_retention_count=3)
    await fill(rig)
    rig.clock.advance(1)
    while (await rig.store.purge(limit=1000)).more:
        pass
    assert (await rig.store.position()).compacted > 0
    assert _found(rig) == []

    await rig.store.close()
    _tamper(rig, "DELETE FROM event WHERE revision = (SELECT max(revision) FROM event)")

    assert [each.table for each in _found(rig)] != []


async def test_problems_come_in_the_order_of_the_jobs(file_rig: StoreRig) -> None:
    await fill(file_rig)
    await file_rig.store.close()
    _tamper(file_rig, "UPDATE job SET fence = fence + 1")
    order = [each.row for each in _found(file_rig) if each.table == "job"]
    keys = dict(file_rig.sql("SELECT id, key FROM job"))
    assert all(keys[before] < keys[after] for before, after in pairwise(order))
