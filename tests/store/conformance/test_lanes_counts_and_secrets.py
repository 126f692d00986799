"""Clauses of `pending_lanes`, `counts` and `secret`."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.domain.job import State
from jobwire_server.store.base import Lane
from tests.helpers.factories import new_job
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


async def test_lanes_are_those_of_the_types_that_hold_a_pending_job(rig: StoreRig) -> None:
    for queue, kind in (("a", "x"), ("a", "y"), ("b", "x"), ("c", "z"), ("a", "x")):
        await rig.add(queue=queue, type=kind)
    await rig.job_in(State.CANCELLED, queue="d", type="x")
    await rig.add(queue="e", type="x", schedule_time_us=rig.clock.wall_us() + 1)
    assert set(await rig.store.pending_lanes(["x", "y"])) == {Lane("a", "x"), Lane("a", "y"), Lane("b", "x")}
    assert len(await rig.store.pending_lanes(["x", "y", "x"])) == 3
    assert await rig.store.pending_lanes(["nobody"]) == []
    assert await rig.store.pending_lanes([]) == []


async def test_a_lane_is_gone_with_its_last_pending_job(rig: StoreRig) -> None:
    await rig.add()
    await rig.lease_one()
    assert await rig.store.pending_lanes(["work"]) == []


async def test_lanes_are_found_behind_any_names(rig: StoreRig) -> None:
    lanes = {Lane("0", "\t a"), Lane("0", "z"), Lane("a", ""), Lane("a.b", "é"), Lane("z", "z")}
    for queue, kind in lanes:
        await rig.submit(new_job(queue=queue, type=kind))
    assert set(await rig.store.pending_lanes([kind for _, kind in lanes])) == lanes


async def test_lanes_of_any_type_and_of_some_queues(rig: StoreRig) -> None:
    for queue, kind in (("a", "x"), ("a", "y"), ("b", "x"), ("c", "z"), ("c", "z")):
        await rig.add(queue=queue, type=kind)
    await rig.add(queue="c", type="later", schedule_time_us=rig.clock.wall_us() + 1)
    every = {Lane("a", "x"), Lane("a", "y"), Lane("b", "x"), Lane("c", "z")}
    found = await rig.store.pending_lanes(None)
    assert (len(found), set(found)) == (4, every)
    assert set(await rig.store.pending_lanes(None, ["c", "a", "none"])) == {lane for lane in every if lane.queue != "b"}
    assert await rig.store.pending_lanes(["x", "later"], ["b", "b", "c"]) == [Lane("b", "x")]
    assert set(await rig.store.pending_lanes(["w", "x", "xx", "z", "zz"])) == every - {Lane("a", "y")}
    assert await rig.store.pending_lanes(None, []) == await rig.store.pending_lanes([], ["a"]) == []


async def test_counts_are_per_state_over_all_tenants(rig: StoreRig) -> None:
    assert (await rig.store.counts()).by_state == {}
    for state in State:
        if state is not State.BLOCKED:
            await rig.job_in(state)
    await rig.add(tenant="red")
    expected = dict.fromkeys((state for state in State if state is not State.BLOCKED), 1)
    assert (await rig.store.counts()).by_state == expected | {State.PENDING: 2}


async def test_a_lease_counts_as_held_until_its_time_is_over(rig: StoreRig) -> None:
    await rig.add()
    await rig.lease_one(lease_s=5)
    assert (await rig.store.counts()).still_leased == 1
    rig.clock.advance(5)
    counts = await rig.store.counts()
    assert (counts.still_leased, counts.by_state) == (0, {State.PROCESSING: 1})


async def test_a_secret_has_32_bytes_and_belongs_to_its_purpose(rig: StoreRig) -> None:
    page, lease = await rig.store.secret("page-token"), await rig.store.secret("lease-token")
    assert len(page) == len(lease) == 32
    assert page != lease
    assert await rig.store.secret("page-token") == page


async def test_callers_that_ask_together_get_one_secret(rig: StoreRig) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(rig.store.secret("p")) for _ in range(10)]
    assert len({task.result() for task in tasks}) == 1


async def test_a_secret_is_the_same_after_any_restart(durable_rig: StoreRig) -> None:
    secret = await durable_rig.store.secret("p")
    await durable_rig.crash()
    assert await durable_rig.store.secret("p") == secret
    await durable_rig.reopen()
    assert await durable_rig.store.secret("p") == secret


async def test_making_a_secret_is_no_event(rig: StoreRig) -> None:
    await rig.store.secret("p")
    assert (await rig.store.position()).revision == 0
    assert rig.notices == []
