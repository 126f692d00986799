"""Clauses of `Store.get`."""

from __future__ import annotations

import pytest

from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Succeeded
from tests.helpers.stores import RESULT, StoreRig

pytestmark = pytest.mark.asyncio


async def test_jobs_come_in_the_order_asked_with_none_where_there_is_none(rig: StoreRig) -> None:
    one, two = await rig.add(), await rig.add()
    jobs = await rig.store.get("default", [two, "nobody", one, two], full=False)
    assert [job and job.job_id for job in jobs] == [two, None, one, two]
    assert await rig.store.get("default", [], full=True) == []


async def test_a_basic_read_has_no_payload_result_or_attempts(rig: StoreRig) -> None:
    lease = await rig.run(Succeeded(RESULT))
    basic = await rig.job(lease.job_id, full=False)
    full = await rig.job(lease.job_id, full=True)
    assert (basic.spec.payload, basic.status.result, basic.attempts) == (None, None, ())
    assert full.spec.payload == lease.payload
    assert full.status.result == RESULT
    assert len(full.attempts) == 1
    assert basic.status.state is full.status.state is State.COMPLETED


async def test_the_jobs_of_other_tenants_cannot_be_seen(rig: StoreRig) -> None:
    await rig.add(tenant="red", job_id="same")
    await rig.add(tenant="blue", job_id="same", type="other")
    assert (await rig.job("same", tenant="red")).spec.type == "work"
    assert (await rig.job("same", tenant="blue")).spec.type == "other"
    assert await rig.store.get("green", ["same"], full=True) == [None]


async def test_a_thousand_jobs_are_read_at_once(rig: StoreRig) -> None:
    ids = [await rig.add() for _ in range(20)]
    jobs = await rig.store.get("default", ids * 50, full=False)
    assert [job and job.job_id for job in jobs] == ids * 50
