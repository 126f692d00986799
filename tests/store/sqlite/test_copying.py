"""Copies take their name whole and checked, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import apsw
import pytest

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.domain.job import State
from jobwire_server.store.sqlite.connection import FileLock, StoreInUse, lock_path
from jobwire_server.store.sqlite.copying import CopyDamaged, TargetTaken, back_up, restore
from jobwire_server.store.sqlite.visiting import NotAStore, check_store, pending_at, read_status
from tests.helpers import fsck
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


def _quiet(_done: int, _total: int) -> None:
    pass


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class _Copies:
    """A store, and short names for what is done with its copies."""

    def __init__(self, rig: StoreRig) -> None:
        assert rig.path is not None
        self.rig = rig
        self.store = rig.path
        self.backup = rig.path.with_name("backup.db")

    def back_up(self, target: Path | None = None, *, overwrite: bool = False) -> None:
        back_up(self.store, target or self.backup, overwrite=overwrite, clock=self.rig.clock, progress=_quiet)

    def restore(self) -> Path | None:
        return restore(self.backup, self.store, clock=self.rig.clock, progress=_quiet).kept


@pytest.fixture
def copies(file_rig: StoreRig) -> _Copies:
    return _Copies(file_rig)


async def test_a_backup_of_an_open_store_is_one_file_with_all_that_was_committed(copies: _Copies) -> None:
    await copies.rig.job_in(State.COMPLETED, job_id="a")
    before = _names(copies.store.parent)

    copies.back_up()

    assert _names(copies.store.parent) == before | {"backup.db"}, "no WAL and no part of it is left"
    assert copies.backup.stat().st_mode & 0o777 == 0o600
    assert list(check_store(copies.backup)) == []
    rows, copied = copies.rig.dump(), fsck.dump(copies.backup)
    assert copied.pop("meta") == sorted([*rows.pop("meta"), ("backup_us", copies.rig.clock.wall_us())])
    assert copied == rows


async def test_a_commit_while_the_copy_is_made_neither_enters_it_nor_makes_it_begin_anew(copies: _Copies) -> None:
    rig = copies.rig
    for _ in range(40):
        await rig.add(payload=None, headers={"much": "x" * 6000})
    writer = apsw.Connection(str(copies.store))
    steps: list[int] = []

    def commit_in_between(done: int, _total: int) -> None:
        steps.append(done)
        writer.execute("INSERT INTO tombstone VALUES ('default', ?, 1)", (f"t-{len(steps)}",))

    back_up(copies.store, copies.backup, overwrite=False, clock=rig.clock, progress=commit_in_between, pages_a_step=8)
    writer.close()

    assert len(steps) > 3
    assert steps == sorted(set(steps)), "it never began anew"
    assert fsck.read(copies.backup, "SELECT count(*) FROM tombstone") == [(0,)]


async def test_a_name_that_is_taken_is_refused_unless_it_may_be_overwritten(copies: _Copies) -> None:
    copies.backup.write_text("precious")
    with pytest.raises(TargetTaken):
        copies.back_up()
    assert copies.backup.read_text() == "precious"

    copies.back_up(overwrite=True)

    assert list(check_store(copies.backup)) == []


async def test_a_store_is_never_overwritten_with_a_backup_of_itself(copies: _Copies) -> None:
    with pytest.raises(TargetTaken):
        copies.back_up(copies.store, overwrite=True)
    link = copies.store.with_name("link.db")
    link.symlink_to(copies.store)
    with pytest.raises(TargetTaken):
        copies.back_up(link, overwrite=True)


async def test_a_copy_that_does_not_pass_the_check_gets_no_name(copies: _Copies) -> None:
    rig = copies.rig
    rig.tampered = True
    await rig.job_in(State.COMPLETED, job_id="a")
    await rig.store.close()
    connection = apsw.Connection(str(copies.store))
    connection.execute("DELETE FROM event WHERE state = 5")
    connection.close()
    before = _names(copies.store.parent)

    with pytest.raises(CopyDamaged) as caught:
        copies.back_up()

    assert caught.value.problems[0].row == "a"
    assert _names(copies.store.parent) == before


async def test_what_is_no_store_is_not_copied(copies: _Copies, tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("These are my notes. " * 100)
    connection = apsw.Connection(str(other))
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    for path in (text, other):
        with pytest.raises(NotAStore):
            back_up(path, copies.backup, overwrite=False, clock=copies.rig.clock, progress=_quiet)
    with pytest.raises(FileNotFoundError):
        back_up(tmp_path / "nowhere.db", copies.backup, overwrite=False, clock=copies.rig.clock, progress=_quiet)
    assert not copies.backup.exists()


async def test_a_store_is_not_restored_while_a_server_has_it(copies: _Copies) -> None:
    copies.back_up()
    before = copies.rig.dump()
    with pytest.raises(StoreInUse):
        copies.restore()
    assert copies.rig.dump() == before


async def test_a_restore_keeps_what_was_there_wal_included(copies: _Copies) -> None:
    """The store was killed: what it had committed last stands in its WAL alone."""
    rig = copies.rig
    await rig.add(job_id="in-both")
    copies.back_up()
    await rig.add(job_id="after-the-backup")
    killed = copies.store.with_name("killed.db")
    for ending in ("", "-wal"):
        (killed.with_name(killed.name + ending)).write_bytes(
            copies.store.with_name(copies.store.name + ending).read_bytes()
        )
    assert killed.with_name("killed.db-wal").stat().st_size > 0

    kept = restore(copies.backup, killed, clock=rig.clock, progress=_quiet).kept

    assert kept is not None
    assert fsck.read(killed, "SELECT id FROM job") == [("in-both",)]
    assert fsck.read(kept, "SELECT id FROM job ORDER BY key") == [("in-both",), ("after-the-backup",)]


async def test_a_store_that_cannot_be_read_is_kept_in_its_parts(copies: _Copies) -> None:
    rig = copies.rig
    rig.tampered = True
    await rig.add(job_id="a")
    copies.back_up()
    await rig.store.close()
    copies.store.write_bytes(b"\xff" * 9000)
    copies.store.with_name(copies.store.name + "-wal").write_bytes(b"\xee" * 5000)

    kept = copies.restore()

    assert kept is not None
    assert kept.read_bytes() == b"\xff" * 9000
    assert kept.with_name(kept.name + "-wal").read_bytes() == b"\xee" * 5000
    assert fsck.read(copies.store, "SELECT id FROM job") == [("a",)]


async def test_a_wal_without_its_store_is_not_replayed_into_the_restored_one(copies: _Copies) -> None:
    rig = copies.rig
    await rig.add(job_id="a")
    copies.back_up()
    await rig.add(job_id="b")
    target = copies.store.with_name("new.db")
    target.with_name("new.db-wal").write_bytes(copies.store.with_name(copies.store.name + "-wal").read_bytes())

    restore(copies.backup, target, clock=rig.clock, progress=_quiet)

    assert fsck.read(target, "SELECT id FROM job") == [("a",)]


async def test_a_damaged_backup_leaves_the_store_as_it_was(copies: _Copies) -> None:
    rig = copies.rig
    await rig.add(job_id="a")
    copies.back_up()
    await rig.close()
    connection = apsw.Connection(str(copies.backup))
    connection.execute("UPDATE event SET sequence = 7")
    connection.close()
    before = fsck.dump(copies.store)

    with pytest.raises(CopyDamaged):
        copies.restore()

    assert fsck.dump(copies.store) == before
    assert not [name for name in _names(copies.store.parent) if "restore" in name]


async def test_a_backup_of_a_newer_jobwire_is_refused(copies: _Copies) -> None:
    copies.back_up()
    await copies.rig.close()
    connection = apsw.Connection(str(copies.backup))
    connection.execute("INSERT INTO migration VALUES (9999, 'future', 'x', 1)")
    connection.close()
    with pytest.raises(StoreUnavailable, match="at least as new"):
        copies.restore()


async def test_a_store_of_an_older_schema_is_copied_and_said_to_be_half_checked(copies: _Copies) -> None:
    rig = copies.rig
    await rig.close()
    connection = apsw.Connection(str(copies.store))
    connection.execute("DELETE FROM migration WHERE number = (SELECT max(number) FROM migration)")
    connection.close()
    assert len(pending_at(copies.store)) == 1

    done = back_up(copies.store, copies.backup, overwrite=False, clock=rig.clock, progress=_quiet)

    assert not done.checked
    assert read_status(copies.backup).backup_us is not None


async def test_who_looks_whether_a_store_is_open_keeps_no_server_from_it(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    lock = FileLock(lock_path(path))
    lock.acquire()
    lock.release()
    looking = FileLock(lock_path(path))
    looking.acquire()  # as a look does, but for longer than any look
    with pytest.raises(StoreInUse):
        lock.acquire()
    looking.release()
    lock.acquire()
    lock.release()


async def test_a_name_that_is_taken_while_the_copy_is_made_is_not_overwritten(copies: _Copies) -> None:
    def take_the_name(_done: int, _total: int) -> None:
        copies.backup.write_text("precious")

    with pytest.raises(TargetTaken):
        back_up(copies.store, copies.backup, overwrite=False, clock=copies.rig.clock, progress=take_the_name)
    assert copies.backup.read_text() == "precious"


async def test_a_file_system_without_second_names_gets_its_backup_too(
    copies: _Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    copies.back_up()
    assert list(check_store(copies.backup)) == []
