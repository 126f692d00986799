"""Clauses of `Store.lease` with shares: fair between queues, strict by priority inside one."""

from __future__ import annotations

import pytest

from jobwire_server.domain.job import Content, State
from jobwire_server.store.base import Lane, LeaseRequest, QueueShare
from tests.helpers.factories import new_job
from tests.helpers.stores import SECOND_US, US, StoreRig

pytestmark = pytest.mark.asyncio


async def _fill(rig: StoreRig, queue: str, count: int, **fields: object) -> None:
    await rig.submit(*(new_job(queue=queue, **fields) for _ in range(count)))


async def test_queues_share_a_request_by_their_weights(rig: StoreRig) -> None:
    await _fill(rig, "a", 20)
    await _fill(rig, "b", 20)
    queues = await rig.share(8, QueueShare("a", weight=3), QueueShare("b"))
    assert (queues.count("a"), queues.count("b")) == (6, 2)


async def test_a_backlog_in_one_queue_does_not_keep_another_waiting(rig: StoreRig) -> None:
    await _fill(rig, "a", 50, priority=9)
    await _fill(rig, "b", 2)
    assert (await rig.share(4, QueueShare("a"), QueueShare("b"))).count("b") == 2


async def test_without_shares_all_lanes_are_one_order_whatever_their_queues(rig: StoreRig) -> None:
    await _fill(rig, "b", 1)
    await _fill(rig, "a", 3, priority=9)
    assert await rig.share(4, queues=["a", "b"]) == ["a", "a", "a", "b"]


async def test_inside_a_queue_priority_is_strict_over_all_its_types(rig: StoreRig) -> None:
    await rig.add(queue="a", type="x", priority=1)
    await rig.add(queue="a", type="y", priority=9)
    await rig.add(queue="a", type="x", priority=5)
    await rig.add(queue="b", type="x", priority=0)
    lanes = [Lane("a", "x"), Lane("a", "y"), Lane("b", "x")]
    request = LeaseRequest(US, lanes, 10, SECOND_US, shares=[QueueShare("a"), QueueShare("b")])
    leases = await rig.store.lease(request)
    assert [(lease.queue, lease.priority) for lease in leases] == [("a", 9), ("b", 0), ("a", 5), ("a", 1)]


async def test_the_queue_with_the_lowest_turn_is_served_next(rig: StoreRig) -> None:
    await _fill(rig, "a", 3)
    await _fill(rig, "b", 3)
    assert await rig.share(1, QueueShare("a", turn=7.0), QueueShare("b", turn=6.5)) == ["b"]


async def test_a_queue_gets_no_more_than_its_own_limit(rig: StoreRig) -> None:
    await _fill(rig, "a", 5)
    await _fill(rig, "b", 5)
    assert (await rig.share(10, QueueShare("a", limit=2), QueueShare("b", limit=0))) == ["a", "a"]
    assert (await rig.store.counts()).by_state[State.PENDING] == 8


async def test_the_limit_of_the_only_queue_counts_too(rig: StoreRig) -> None:
    await _fill(rig, "a", 5)
    assert await rig.share(10, QueueShare("a", limit=2)) == ["a", "a"]


async def test_a_queue_without_a_share_has_weight_1(rig: StoreRig) -> None:
    await _fill(rig, "a", 9)
    await _fill(rig, "b", 9)
    queues = await rig.share(6, QueueShare("a", weight=2), queues=["b"])
    assert (queues.count("a"), queues.count("b")) == (4, 2)


async def test_a_share_of_a_queue_that_is_not_asked_for_means_nothing(rig: StoreRig) -> None:
    await _fill(rig, "a", 1)
    await _fill(rig, "b", 1)
    lanes = [Lane("a", "work")]
    leases = await rig.store.lease(LeaseRequest(US, lanes, 9, SECOND_US, shares=[QueueShare("a"), QueueShare("b")]))
    assert [lease.queue for lease in leases] == ["a"]


async def test_payloads_end_a_shared_lease_early_but_one_job_always_comes(rig: StoreRig) -> None:
    for queue in ("a", "b"):
        await _fill(rig, queue, 2, payload=Content(bytes(600)))
    lanes = [Lane("a", "work"), Lane("b", "work")]
    request = LeaseRequest(US, lanes, 10, SECOND_US, max_bytes=500, shares=[QueueShare("a"), QueueShare("b")])
    assert [len(await rig.store.lease(request)) for _ in range(5)] == [1, 1, 1, 1, 0]
