"""Each statement of the PostgreSQL driver takes the rows that it names by the index that its comment names. Whole
tables are never read, not even while the database knows nothing of what is in them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from jobwire_server.domain.job import State
from jobwire_server.store.base import JobFilter, Lane, ListQuery
from jobwire_server.store.listing import list_statement
from jobwire_server.store.postgres.reader import PostgresReader
from jobwire_server.store.queries import load
from tests.helpers.factories import new_job
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import REMOTE

pytestmark = pytest.mark.asyncio

QUERIES = load(files("jobwire_server.store.postgres") / "queries")
TABLES = ("job", "identity", "event", "label", "content", "attempt", "checkpoint", "request_key", "tombstone")
NAMED = {
    name: re.findall(r"\b((?:job|identity|event|label|content|attempt|checkpoint|request_key|tombstone)_\w+)", found[0])
    for name, text in QUERIES.items()
    if (found := re.findall(r"Index(?:es)?:([^(]*?)(?:\.|;|\n[A-Z])", text.replace("\n-- ", " ")))
}
# They read all of an index on purpose, and which one is a matter of what has been vacuumed.
WHOLE_INDEX_ON_PURPOSE = {"count_states", "count_unfinished"}


def _plan(rig: PostgresRig, statement: str, values: Any = None) -> list[dict[str, Any]]:
    """The steps of the plan that a server would run, under the settings that its transactions have."""
    if values is None:
        values = {name: _VALUES.get(name, 1) for name in re.findall(r"%\((\w+)\)", statement)}
    with rig.connection.transaction(force_rollback=True):
        # Of a table of a few pages reading all of it may be the cheapest way, depending on when it was last analyzed.
        rig.connection.execute("SET LOCAL enable_seqscan = off")
        rig.connection.execute("SELECT jobwire.enter(10000, 10000)")
        [(found,)] = rig.connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", values, prepare=False).fetchall()
    return list(_steps(found[0]["Plan"]))


_VALUES: dict[str, object] = {
    **dict.fromkeys(("rows", "keys", "pairs", "held", "ids", "skipped"), "[]"),
    **dict.fromkeys(("tenant", "queue", "type", "instance_id", "worker_id", "reason", "purpose"), "default"),
    "id": "7",
    "base": 1 << 40,
    "content": b"",
    "value": b"",
    "full": True,
}


def _steps(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield step
    for inner in step.get("Plans", ()):
        yield from _steps(inner)


def _scans(plan: list[dict[str, Any]]) -> list[str]:
    """Tables of ours that are read from end to end, or through a bitmap."""
    return [
        f"{step['Node Type']} of {step['Relation Name']}"
        for step in plan
        if step["Node Type"] in {"Seq Scan", "Bitmap Heap Scan"} and step.get("Relation Name") in TABLES
    ]


async def _fill(rig: PostgresRig) -> None:
    """Some of everything, and counted, as a server sees to it when jobs come (`Neighbours`)."""
    for number in range(3):
        jobs = [new_job(queue=f"q{number}", labels={"k": str(n)}, request_id=f"{number}-{n}") for n in range(500)]
        await rig.submit(*jobs, batch_id=f"b{number}")
        await rig.lease(20, lanes=[Lane(f"q{number}", "work")], owner=REMOTE)
    for number in range(20):
        job_id = await rig.add(job_id=f"mine-{number}", id_chosen=True)
        await rig.store.cancel("default", job_id)
        await rig.store.delete("default", job_id)
    for table in TABLES:
        rig.connection.execute(f"ANALYZE {table}")


@pytest.mark.parametrize("name", QUERIES)
async def test_a_statement_never_reads_a_whole_table(postgres_rig: PostgresRig, name: str) -> None:
    assert _scans(_plan(postgres_rig, QUERIES[name])) == []


async def test_a_statement_is_served_by_the_index_it_names(postgres_rig: PostgresRig) -> None:
    await _fill(postgres_rig)
    for name in NAMED.keys() - WHOLE_INDEX_ON_PURPOSE:
        used = {step["Index Name"] for step in _plan(postgres_rig, QUERIES[name]) if "Index Name" in step}
        assert set(NAMED[name]) <= used, QUERIES[name]


@pytest.mark.parametrize(
    "name", ["claim_candidates", "due_jobs", "expired_jobs", "purgeable_jobs", "next_due", "next_expiry", "next_type"]
)
async def test_claims_and_sweeps_read_their_rows_in_order(postgres_rig: PostgresRig, name: str) -> None:
    plan = _plan(postgres_rig, QUERIES[name])
    below_the_limit = itertools.dropwhile(lambda step: step["Node Type"] != "Limit", plan)
    assert not [step for step in below_the_limit if "Sort" in step["Node Type"]]


FILTERS = {
    "nothing": JobFilter(),
    "queues": JobFilter(queues=("a", "b")),
    "types": JobFilter(types=("x", "y")),
    "states": JobFilter(states=(State.PENDING, State.FAILED)),
    "rare states and a type": JobFilter(states=(State.FAILED,), types=("x",)),
    "a label": JobFilter(labels={"k": "v"}),
    "labels and a queue": JobFilter(labels={"k": "v", "l": "w"}, queues=("a",)),
    "a batch": JobFilter(batch_id="b"),
}


@pytest.mark.parametrize("wanted", FILTERS)
async def test_every_list_is_served_by_an_index(postgres_rig: PostgresRig, wanted: str) -> None:
    query = ListQuery(FILTERS[wanted], 50, 1000, False)
    statement, values = list_statement(PostgresReader.dialect, "default", query, "key, tenant", low=0, high=1000)
    assert _scans(_plan(postgres_rig, statement, values)) == []


async def _rows_read(rig: PostgresRig, name: str, **values: object) -> int:
    """How many rows of its tables a statement looks at; what it did is undone."""
    with rig.connection.transaction(force_rollback=True):
        rig.connection.execute("SELECT jobwire.enter(10000, 10000)")
        [(found,)] = rig.connection.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES[name]}", values, prepare=False
        ).fetchall()
    steps = [step for step in _steps(found[0]["Plan"]) if "Relation Name" in step]
    return sum((step["Actual Rows"] + step.get("Rows Removed by Filter", 0)) * step["Actual Loops"] for step in steps)


async def test_a_claim_looks_at_no_more_rows_than_it_takes_whatever_waits_or_has_ended(
    postgres_rig: PostgresRig,
) -> None:
    rig = postgres_rig

    async def rows_read() -> int:
        return await _rows_read(rig, "claim_candidates", queue="default", type="work", now=rig.clock.wall_us(), limit=5)

    await rig.submit(*(new_job() for _ in range(5)))
    few = await rows_read()
    await rig.submit(*(new_job() for _ in range(300)), *(new_job(type="unserved", priority=9) for _ in range(300)))
    for _ in range(100):
        await rig.store.cancel("default", await rig.add())
    assert await rows_read() == few


async def test_leases_that_end_are_found_without_a_look_at_those_that_stand(postgres_rig: PostgresRig) -> None:
    rig = postgres_rig

    async def rows_read(leased: int) -> int:
        await rig.submit(*(new_job() for _ in range(leased)))
        for number in range(3):
            await rig.lease(leased // 3, owner=REMOTE._replace(instance_id=f"instance-{number}"))
        return await _rows_read(rig, "expired_leases", now=rig.clock.wall_us(), limit=100)

    few = await rows_read(6)
    assert await rows_read(600) == few
