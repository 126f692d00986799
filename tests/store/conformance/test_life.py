"""Clauses of `open` and `close`, the lock, the store's clock, and what survives an orderly restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State
from jobwire_server.store.base import Submission
from jobwire_server.store.sqlite.store import SqliteStore
from tests.helpers.factories import new_job
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


async def test_a_fresh_store_is_empty_at_revision_zero(tmp_path: Path) -> None:
    rig = StoreRig(tmp_path / "deep" / "er" / "jobs.db")
    store = rig.subject()
    position = await store.open()
    assert (position.revision, position.compacted) == (0, 0)
    assert len(position.epoch) >= 8
    await store.close()


async def test_an_epoch_belongs_to_the_file(file_rig: StoreRig, tmp_path: Path) -> None:
    epoch = (await file_rig.store.position()).epoch
    await file_rig.reopen()
    assert (await file_rig.store.position()).epoch == epoch
    other = StoreRig(tmp_path / "other.db")
    await other.open()
    assert (await other.store.position()).epoch != epoch
    await other.close()


async def test_opening_answers_with_the_position_of_the_log(file_rig: StoreRig) -> None:
    await file_rig.add()
    position = await file_rig.store.position()
    await file_rig.close()
    store = file_rig.subject()
    assert await store.open() == position
    await store.close()


async def test_a_second_server_on_the_same_file_fails_at_once_with_the_remedy(file_rig: StoreRig) -> None:
    second = file_rig.subject()
    with pytest.raises(StoreUnavailable, match=r"Another jobwire server has .*jobs\.db open: stop it first"):
        await second.open()
    await second.close()
    await file_rig.add()


async def test_the_lock_is_free_after_close(file_rig: StoreRig) -> None:
    await file_rig.close()
    await file_rig.open()


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


async def test_closing_finishes_what_is_queued(file_rig: StoreRig) -> None:
    rig = file_rig
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(rig.submit(new_job())) for _ in range(50)]
        await asyncio.sleep(0)
        await rig.store.close()
    assert all(task.result().answers for task in tasks)
    rig._store = None
    await rig.open()
    assert (await rig.store.counts()).by_state == {State.PENDING: 50}


async def test_a_memory_store_leaves_nothing_behind() -> None:
    rig = StoreRig(None)
    await rig.open()
    folder = rig.file.parent
    await rig.add()
    assert folder.exists()
    await rig.close()
    assert not folder.exists()


async def test_two_memory_stores_share_nothing() -> None:
    rigs = [StoreRig(None), StoreRig(None)]
    for rig in rigs:
        await rig.open()
    await rigs[0].add()
    assert (await rigs[1].store.counts()).by_state == {}
    for rig in rigs:
        await rig.close()


async def test_a_file_of_another_kind_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at as one\n" * 100)
    store = StoreRig(path).subject()
    with pytest.raises(StoreUnavailable, match=r"notes\.txt"):
        await store.open()
    await store.close()
    assert path.read_text().startswith("not a database")


async def test_a_folder_that_cannot_be_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = StoreRig(tmp_path / "file" / "jobs.db").subject()
    with pytest.raises(StoreUnavailable, match=r"jobs\.db"):
        await store.open()
    await store.close()


async def test_the_schema_of_a_newer_release_is_refused_and_left_alone(file_rig: StoreRig) -> None:
    await file_rig.add()
    path = file_rig.file
    await file_rig.close()
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO migration VALUES (9999, 'from the future', 'abc', 1)")
    connection.close()
    with pytest.raises(StoreUnavailable, match="at least as new"):
        await file_rig.open()
    await file_rig.store.close()
    file_rig._store = None


async def test_a_migration_that_was_altered_after_the_fact_is_refused(file_rig: StoreRig) -> None:
    path = file_rig.file
    await file_rig.close()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE migration SET checksum = 'other'")
    connection.close()
    with pytest.raises(StoreUnavailable):
        await file_rig.open()
    await file_rig.store.close()
    file_rig._store = None


async def test_a_crash_inside_the_first_migration_is_repaired_by_the_next_start(tmp_path: Path) -> None:
    rig = StoreRig(tmp_path / "jobs.db")

    def fail(name: str) -> None:
        if name == "migrate.before_commit":
            raise StoreUnavailable(name)

    rig.failpoint = fail
    with pytest.raises(StoreUnavailable):
        await rig.open()
    await rig.store.close()
    rig.failpoint = lambda name: None
    await rig.open()
    await rig.add()
    await rig.close()


async def test_the_stores_time_never_goes_back_though_the_wall_clock_does(file_rig: StoreRig) -> None:
    rig = file_rig
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


async def test_a_restart_takes_up_the_wall_clock_again(file_rig: StoreRig) -> None:
    await file_rig.add()
    file_rig.clock.jump_wall(3600)
    await file_rig.reopen()
    assert (await file_rig.submit(new_job())).time_us == file_rig.clock.wall_us()


async def test_the_writers_pragmas_make_commits_durable(file_rig: StoreRig) -> None:
    subject = file_rig.store
    assert isinstance(subject, SqliteStore)
    assert subject._writer is not None
    connection = subject._writer._connection
    wanted = {"journal_mode": "wal", "synchronous": 2, "trusted_schema": 0, "cell_size_check": 1, "mmap_size": 0}
    assert {name: connection.pragma(name) for name in wanted} == wanted


async def test_a_store_that_was_opened_by_another_process_is_refused(
    rig: StoreRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.store, "_process", -1)
    with pytest.raises(StoreUnavailable, match="another process"):
        await rig.submit(new_job())
    with pytest.raises(StoreUnavailable, match="another process"):
        await rig.store.position()
    monkeypatch.undo()
