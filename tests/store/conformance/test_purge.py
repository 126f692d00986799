"""Clauses of `Store.purge`: nothing grows for ever, and nothing goes too early."""

from __future__ import annotations

from typing import Any

import pytest

from jobwire_server.domain.errors import RevisionCompacted
from jobwire_server.domain.job import TERMINAL_STATES, Content, State
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.store.base import EventKind
from tests.helpers.factories import new_job
from tests.helpers.stores import SECOND_US, StoreRig

pytestmark = pytest.mark.asyncio
DAY = 86_400
RETENTION_DAYS = {State.COMPLETED: 7, State.CANCELLED: 7, State.EXPIRED: 7, State.FAILED: 30}


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES))
async def test_a_terminal_job_goes_when_its_states_retention_is_over(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state)
    rig.clock.advance(RETENTION_DAYS[state] * DAY - 1)
    await rig.store.purge(limit=100)
    assert await rig.state(job_id) is state
    rig.clock.advance(1)
    assert (await rig.store.purge(limit=100)).changed >= 1
    assert await rig.store.get("default", [job_id], full=False) == [None]


@pytest.mark.parametrize("state", sorted(TERMINAL_STATES))
async def test_the_retention_of_its_spec_goes_before_the_services(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state, retention_us=5 * SECOND_US)
    rig.clock.advance(4)
    await rig.store.purge(limit=100)
    assert await rig.state(job_id) is state
    rig.clock.advance(1)
    await rig.store.purge(limit=100)
    assert await rig.store.get("default", [job_id], full=False) == [None]


@pytest.mark.parametrize("state", [State.SCHEDULED, State.PENDING, State.PROCESSING, State.RETRYING])
async def test_a_job_that_has_not_ended_never_goes(rig: StoreRig, state: State) -> None:
    job_id = await rig.job_in(state, retention_us=1)
    rig.clock.advance(400 * DAY)
    await rig.store.purge(limit=100)
    assert await rig.state(job_id) is state


async def test_a_purged_job_leaves_one_deleted_event_and_nothing_else(rig: StoreRig) -> None:
    job_id = await rig.add(retention_us=1, payload=Content(bytes(9000)), labels={"k": "v"})
    await rig.report(await rig.lease_one(), Succeeded(Content(bytes(9000))))
    rig.clock.advance(1)
    await rig.store.purge(limit=100)
    last = (await rig.events())[-1]
    assert (last.kind, last.job_id, last.time_us) == (EventKind.DELETED, job_id, rig.clock.wall_us())
    left = {table for table, rows in rig.dump().items() if rows}
    assert left == {"event", "meta", "migration"}


async def test_an_id_that_a_caller_chose_leaves_a_tombstone_when_purged(rig: StoreRig) -> None:
    await rig.job_in(State.CANCELLED, job_id="mine", id_chosen=True, retention_us=1)
    rig.clock.advance(1)
    await rig.store.purge(limit=100)
    assert [row[1] for row in rig.sql("SELECT * FROM tombstone")] == ["mine"]


async def test_purging_is_bounded_and_says_when_work_was_left(rig: StoreRig) -> None:
    for _ in range(7):
        await rig.job_in(State.CANCELLED, retention_us=1)
    rig.clock.advance(1)
    left = []
    for _ in range(3):
        sweep = await rig.store.purge(limit=3)
        left.append((len(rig.sql("SELECT key FROM job")), sweep.more))
    assert left == [(4, True), (1, True), (0, False)]


async def test_a_purge_without_work_changes_nothing(rig: StoreRig) -> None:
    await rig.job_in(State.COMPLETED, request_id="k", fingerprint=b"f")
    before = rig.dump()
    sweep = await rig.store.purge(limit=100)
    assert (sweep.changed, sweep.more) == (0, False)
    assert rig.dump() == before


async def _log_of(rig: StoreRig, **settings: Any) -> None:
    """Ten jobs, ten events, a second apart."""
    await rig.configure(**settings)
    for _ in range(10):
        await rig.add()
        rig.clock.advance(1)


async def test_events_stay_for_their_age(rig: StoreRig) -> None:
    await _log_of(rig, event_retention_us=5 * SECOND_US, event_retention_count=0)
    await rig.store.purge(limit=100)
    position = await rig.store.position()
    events = await rig.events(after=position.compacted)
    assert [rig.clock.wall_us() - event.time_us for event in events] == [
        seconds * SECOND_US for seconds in (5, 4, 3, 2, 1)
    ]


async def test_events_stay_by_their_number_however_old(rig: StoreRig) -> None:
    await _log_of(rig, event_retention_us=0, event_retention_count=4)
    await rig.store.purge(limit=100)
    position = await rig.store.position()
    assert len(await rig.events(after=position.compacted)) == 4
    assert position.revision - position.compacted == 4


async def test_what_keeps_more_wins(rig: StoreRig) -> None:
    await _log_of(rig, event_retention_us=DAY * SECOND_US, event_retention_count=4)
    await rig.store.purge(limit=100)
    assert (await rig.store.position()).compacted == 0
    assert len(await rig.events()) == 10


async def test_the_log_is_compacted_in_bounded_steps_from_its_old_end(rig: StoreRig) -> None:
    await _log_of(rig, event_retention_us=0, event_retention_count=0)
    floors = []
    for _ in range(4):
        await rig.store.purge(limit=4)
        floors.append((await rig.store.position()).compacted)
    assert floors == [4, 8, 10, 10]
    assert (await rig.store.position()).revision == 10


async def test_a_cursor_below_the_floor_is_told_so_and_one_at_the_floor_is_not(rig: StoreRig) -> None:
    await _log_of(rig, event_retention_us=0, event_retention_count=4)
    await rig.store.purge(limit=100)
    floor = (await rig.store.position()).compacted
    with pytest.raises(RevisionCompacted):
        await rig.events(after=floor - 1)
    with pytest.raises(RevisionCompacted):
        await rig.store.events(after=0, limit=10, tenant="default")
    assert [event.revision for event in await rig.events(after=floor)] == [floor + 1, floor + 2, floor + 3, floor + 4]


async def test_of_named_jobs_what_is_left_is_returned(rig: StoreRig) -> None:
    await rig.configure(event_retention_us=0, event_retention_count=1)
    job_id = await rig.add()
    await rig.store.cancel("default", job_id)
    rig.clock.advance(1)
    await rig.store.purge(limit=100)
    assert [event.sequence for event in await rig.events(job_id)] == [2]


async def test_revisions_go_on_above_an_empty_log(durable_rig: StoreRig) -> None:
    rig = durable_rig
    await _log_of(rig, event_retention_us=0, event_retention_count=0)
    await rig.store.purge(limit=100)
    assert await rig.store.position() == ((await rig.store.position()).epoch, 10, 10)
    await rig.crash()
    receipt = await rig.submit(new_job())
    assert receipt.position.revision == 11


async def test_a_purge_reaches_what_must_go_behind_what_must_stay(rig: StoreRig) -> None:
    for number in range(30):
        await rig.add(request_id=f"stays-{number}", fingerprint=b"f")
    await rig.job_in(State.CANCELLED, request_id="goes", fingerprint=b"f", retention_us=1)
    rig.clock.advance(2 * DAY)
    for _ in range(3):
        await rig.store.purge(limit=5)
    assert rig.sql("SELECT * FROM request_key WHERE request_id = 'goes'") == []
    assert len(rig.sql("SELECT * FROM request_key")) == 30
