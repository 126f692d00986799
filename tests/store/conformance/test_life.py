"""Clauses of `open` and `close`, the store's clock, and what survives an orderly restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State
from jobwire_server.store.base import Submission
from tests.helpers.factories import new_job
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


async def test_a_fresh_store_is_empty_at_revision_zero(durable_rig: StoreRig) -> None:
    position = await durable_rig.store.position()
    assert (position.revision, position.compacted) == (0, 0)
    assert len(position.epoch) >= 8


async def test_an_epoch_belongs_to_the_store(durable_rig: StoreRig, tmp_path: Path) -> None:
    epoch = (await durable_rig.store.position()).epoch
    await durable_rig.reopen()
    assert (await durable_rig.store.position()).epoch == epoch
    other = StoreRig(tmp_path / "other.db")
    await other.open()
    assert (await other.store.position()).epoch != epoch
    await other.close()


async def test_opening_answers_with_the_position_of_the_log(durable_rig: StoreRig) -> None:
    await durable_rig.add()
    position = await durable_rig.store.position()
    await durable_rig.close()
    store = durable_rig.subject()
    assert await store.open() == position
    await store.close()


async def test_closing_twice_or_before_opening_is_harmless(rig: StoreRig) -> None:
    await rig.store.close()
    await rig.store.close()
    await rig.subject().close()
    rig._store = None


async def test_a_closed_store_is_unavailable(rig: StoreRig) -> None:
    store = rig.store
    await rig.close()
    with pytest.raises(StoreUnavailable):
        await store.submit(Submission("default", [new_job()]))
    with pytest.raises(StoreUnavailable):
        await store.get("default", ["a"], full=False)


async def test_closing_finishes_what_is_queued(durable_rig: StoreRig) -> None:
    rig = durable_rig
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(rig.submit(new_job())) for _ in range(50)]
        await asyncio.sleep(0)
        await rig.store.close()
    assert all(task.result().answers for task in tasks)
    rig._store = None
    await rig.open()
    assert (await rig.store.counts()).by_state == {State.PENDING: 50}


async def test_the_schema_of_a_newer_release_is_refused_and_left_alone(durable_rig: StoreRig) -> None:
    await durable_rig.add()
    durable_rig.tampered = True
    durable_rig.tamper("INSERT INTO migration VALUES (9999, 'from the future', 'abc', 1)")
    await durable_rig.close()
    with pytest.raises(StoreUnavailable, match="at least as new"):
        await durable_rig.open()
    await durable_rig.store.close()
    durable_rig._store = None


async def test_a_migration_that_was_altered_after_the_fact_is_refused(durable_rig: StoreRig) -> None:
    durable_rig.tampered = True
    durable_rig.tamper("UPDATE migration SET checksum = 'other'")
    await durable_rig.close()
    with pytest.raises(StoreUnavailable):
        await durable_rig.open()
    await durable_rig.store.close()
    durable_rig._store = None


async def test_the_stores_time_never_goes_back_though_the_wall_clock_does(durable_rig: StoreRig) -> None:
    rig = durable_rig
    rig.clock.advance(100)
    first = await rig.submit(new_job())
    rig.clock.jump_wall(-3600)
    second = await rig.submit(new_job())
    assert second.time_us == first.time_us
    await rig.reopen()
    third = await rig.submit(new_job())
    assert third.time_us >= first.time_us
    rig.clock.advance(1)
    assert (await rig.submit(new_job())).time_us == third.time_us + 1_000_000


async def test_a_store_that_was_opened_by_another_process_is_refused(
    rig: StoreRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.store, "_process", -1)
    with pytest.raises(StoreUnavailable, match="another process"):
        await rig.submit(new_job())
    with pytest.raises(StoreUnavailable, match="another process"):
        await rig.store.position()
    monkeypatch.undo()
