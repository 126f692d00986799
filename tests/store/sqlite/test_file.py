"""What only a store in a file or in memory has to do when it is opened: its lock, folder, pragmas and clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.store.sqlite.store import SqliteStore
from tests.helpers.factories import new_job
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


async def test_a_second_server_on_the_same_file_fails_at_once_with_the_remedy(file_rig: StoreRig) -> None:
    second = file_rig.subject()
    with pytest.raises(StoreUnavailable, match=r"Another jobwire server has .*jobs\.db open: stop it first"):
        await second.open()
    await second.close()
    await file_rig.add()


async def test_the_lock_is_free_after_close(file_rig: StoreRig) -> None:
    await file_rig.close()
    await file_rig.open()


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


async def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    rig = StoreRig(tmp_path / "deep" / "er" / "jobs.db")
    await rig.open()
    await rig.close()
    assert (tmp_path / "deep" / "er" / "jobs.db").exists()
