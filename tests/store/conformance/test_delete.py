"""Clauses of `Store.delete`."""

from __future__ import annotations

import pytest

from jobwire_server.domain.errors import JobNotTerminal
from jobwire_server.domain.job import TERMINAL_STATES, Content, State
from jobwire_server.domain.outcome import Failed, Succeeded
from jobwire_server.store.base import EventKind, JobFilter, ListQuery
from tests.helpers.stores import ERROR, StoreRig

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES))
async def test_a_terminal_job_is_gone_for_good(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state, labels={"k": "v"})
    assert await rig.store.delete("default", job_id) is True
    assert await rig.store.get("default", [job_id], full=True) == [None]
    page = await rig.store.list_jobs("default", ListQuery(JobFilter(labels={"k": "v"}), 10))
    assert list(page.jobs) == []
    assert await rig.store.delete("default", job_id) is False


async def test_nothing_of_it_stays_but_its_events(rig: StoreRig) -> None:
    large = Content(bytes(100_000))
    job_id = await rig.add(payload=large, labels={"k": "v"})
    await rig.report(await rig.lease_one(), Failed(ERROR, retry_delay_us=0))
    await rig.store.promote_due(limit=1)
    await rig.report(await rig.lease_one(), Succeeded(large))
    await rig.store.delete("default", job_id)
    left = {table: rows for table, rows in rig.dump().items() if rows}
    assert left.keys() == {"event", "meta", "migration"}


async def test_its_events_stay_and_end_with_its_deletion(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.COMPLETED)
    before = await rig.events()
    rig.clock.advance(1)
    await rig.store.delete("default", job_id)
    *rest, last = await rig.events()
    assert rest == before
    assert (last.kind, last.job_id, last.sequence) == (EventKind.DELETED, job_id, before[-1].sequence + 1)
    assert (last.state, last.time_us) == (State.COMPLETED, rig.clock.wall_us())
    assert (await rig.store.position()).revision == last.revision


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.PROCESSING, State.RETRYING])
async def test_a_job_that_has_not_ended_is_refused(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state)
    before = rig.dump()
    with pytest.raises(JobNotTerminal, match=state.name):
        await rig.store.delete("default", job_id)
    assert rig.dump() == before


async def test_the_job_of_another_tenant_is_as_if_it_were_not_there(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.COMPLETED)
    before = rig.dump()
    assert await rig.store.delete("blue", job_id) is False
    assert rig.dump() == before
