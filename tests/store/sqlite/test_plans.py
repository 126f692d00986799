"""Each statement of the SQLite driver is served by the index that its comment names, whatever stands in the tables."""

from __future__ import annotations

import itertools
import re
from importlib.resources import files

import apsw
import pytest

from jobwire_server.domain.job import State
from jobwire_server.store.base import JobFilter, ListQuery
from jobwire_server.store.listing import list_statement
from jobwire_server.store.sqlite.reader import SqliteReader
from tests.helpers.factories import new_job
from tests.helpers.stores import REMOTE, US, StoreRig

pytestmark = pytest.mark.asyncio

QUERIES = {
    entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8")
    for entry in sorted((files("jobwire_server.store.sqlite") / "queries").iterdir(), key=lambda entry: entry.name)
    if entry.name.endswith(".sql")
}
# The elements of an argument, and the rows that an inner query found.
SCANS_ALLOWED = re.compile(r"SCAN (\w+ VIRTUAL TABLE|\(|page|scan|holder|head|walk|CONSTANT ROW|\d+ CONSTANT)")
# Statements that read a bounded stretch of an index or a table from one of its ends, or all of it on purpose.
WHOLE_INDEX_ON_PURPOSE = {"count_states", "count_leased"}


def _plan(rig: StoreRig, statement: str, values: tuple[object, ...] = ()) -> list[str]:
    connection = apsw.Connection(str(rig.file))
    try:
        bindings = values or dict.fromkeys(re.findall(r":(\w+)", statement), 0)
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", bindings).fetchall()
    finally:
        connection.close()
    return [detail for *_, detail in rows]


def _scans(plan: list[str]) -> list[str]:
    """Steps that read a table or an index from end to end."""
    return [detail for detail in plan if detail.startswith("SCAN") and not SCANS_ALLOWED.match(detail)]


@pytest.mark.parametrize("name", QUERIES)
async def test_a_statement_never_reads_a_whole_table(file_rig: StoreRig, name: str) -> None:
    scans = _scans(_plan(file_rig, QUERIES[name]))
    if name in WHOLE_INDEX_ON_PURPOSE:
        assert all("COVERING INDEX" in scan for scan in scans)
        return
    # A scan along an index in its own order, ended by a LIMIT, reads no more than it returns.
    bounded = "LIMIT" in QUERIES[name] and not any("TEMP B-TREE" in detail for detail in _plan(file_rig, QUERIES[name]))
    assert not scans or (bounded and all("INDEX" in scan for scan in scans)), scans


NAMED = {
    name: index
    for name, text in QUERIES.items()
    for index in re.findall(r"INDEXED BY (\w+)", text) or re.findall(r"Index: (job_\w+)", text)
}


@pytest.mark.parametrize("name", NAMED)
async def test_a_statement_is_served_by_the_index_it_names(file_rig: StoreRig, name: str) -> None:
    assert any(f"INDEX {NAMED[name]}" in detail for detail in _plan(file_rig, QUERIES[name]))


@pytest.mark.parametrize(
    "name",
    [
        "claim_candidates",
        "due_jobs",
        "expired_jobs",
        "expired_leases",
        "orphaned_leases",
        "purgeable_jobs",
        "unnamed_leases",
    ],
)
async def test_claims_and_sweeps_sort_nothing_and_read_no_row_that_they_do_not_want(
    file_rig: StoreRig, name: str
) -> None:
    plan = _plan(file_rig, QUERIES[name])
    assert any(detail.startswith("SEARCH job USING") for detail in plan), plan
    assert not any("TEMP B-TREE" in detail for detail in plan), plan


FILTERS = {
    "nothing": JobFilter(),
    "queues": JobFilter(queues=("a", "b")),
    "types": JobFilter(types=("x", "y")),
    "states": JobFilter(states=(State.PENDING, State.FAILED)),
    "rare states and a type": JobFilter(states=(State.FAILED,), types=("x",)),
    "a label": JobFilter(labels={"k": "v"}),
    "labels and a queue": JobFilter(labels={"k": "v", "l": "w"}, queues=("a",)),
    "a batch": JobFilter(batch_id="b"),
    "everything": JobFilter(
        queues=("a",), types=("x",), states=(State.PENDING,), labels={"k": "v"}, batch_id="b", create_time_min_us=1
    ),
}


@pytest.mark.parametrize(("wanted", "full"), list(itertools.product(FILTERS, (False, True))))
async def test_every_list_is_served_by_an_index_from_where_the_page_begins(
    file_rig: StoreRig, wanted: str, full: bool
) -> None:
    query = ListQuery(FILTERS[wanted], 50, 1000, full)
    statement, values = list_statement(SqliteReader.dialect, "default", query, "key, tenant", low=0, high=1000)
    plan = _plan(file_rig, statement, tuple(values))
    assert _scans(plan) == [], plan
    assert any(re.match(r"SEARCH (job|label) USING", detail) for detail in plan), plan


def _steps(rig: StoreRig, name: str, **values: object) -> int:
    """How many steps of SQLite's machine a statement takes; what it did is undone."""
    connection = apsw.Connection(str(rig.file))
    taken = 0

    def count() -> bool:
        nonlocal taken
        taken += 1
        return False

    connection.set_progress_handler(count, 1)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(QUERIES[name], values).fetchall()
    connection.execute("ROLLBACK")
    connection.close()
    return taken


async def test_the_age_of_request_keys_is_swept_without_a_look_at_those_of_living_jobs(file_rig: StoreRig) -> None:
    rig = file_rig
    values = {"before": 1 << 60, "limit": 100}
    few = _steps(rig, "delete_request_keys", **values)
    await rig.submit(*(new_job(request_id=f"k{number}", fingerprint=b"f") for number in range(500)))
    assert _steps(rig, "delete_request_keys", **values) == few


@pytest.mark.parametrize("name", ["expired_leases", "orphaned_leases"])
async def test_leases_that_end_are_found_without_a_look_at_those_that_stand(file_rig: StoreRig, name: str) -> None:
    rig = file_rig
    now_us = rig.clock.wall_us()
    values = {"orphaned_leases": {"instance_id": "us", "skipped": "[]"}, "expired_leases": {"now": now_us}}[name]

    async def steps(leased: int) -> int:
        await rig.submit(*(new_job() for _ in range(leased)))
        for number in range(3):
            await rig.lease(leased // 3, owner=REMOTE._replace(instance_id=f"instance-{number}"))
        return _steps(rig, name, limit=100, **values)

    few = await steps(6)
    assert await steps(600) == few


async def test_what_one_instance_holds_is_found_without_a_look_at_what_others_hold(file_rig: StoreRig) -> None:
    rig = file_rig

    async def steps(leased: int) -> int:
        await rig.submit(*(new_job() for _ in range(leased)))
        await rig.lease(leased, owner=REMOTE)
        held = _steps(rig, "held_leases", instance_id=US.instance_id, now=0, limit=100)
        return held + _steps(rig, "unnamed_leases", instance_id=US.instance_id, held="[]", now=0)

    few = await steps(6)
    assert await steps(600) == few


async def test_lanes_cost_a_seek_each_whatever_their_backlog(file_rig: StoreRig) -> None:
    rig = file_rig

    async def steps(backlog: int) -> int:
        await rig.submit(*(new_job(queue=queue, type=kind) for queue in "ab" for kind in "xy" for _ in range(backlog)))
        return _steps(rig, "next_queue", queue="a") + _steps(rig, "next_type", queue="a", type="y")

    few = await steps(3)
    assert await steps(300) == few
