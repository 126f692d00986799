"""Copies of a store: a backup while its server works, and a restore in its place.

A copy is made beside its final name, checked, synced, and takes the name in one step: under that name there is never a
half of one, whenever the machine stops.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

import apsw

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.kernel.clock import Clock
from jobwire_server.store.audit import Problem
from jobwire_server.store.sqlite.audit import audit
from jobwire_server.store.sqlite.connection import FileLock, StoreInUse, lock_path
from jobwire_server.store.sqlite.lives import mark_as_backup
from jobwire_server.store.sqlite.visiting import pending_migrations, visit

Progress = Callable[[int, int], None]
"""(pages done, pages in all)."""

PAGES_A_STEP: Final = 2048
"""Pages that are copied between two words of progress: 8 MiB."""
MOST_PROBLEMS: Final = 20

_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS})
"""How file systems say that they know no second names (FAT, some of the network)."""
_SIDE_FILES: Final = ("-wal", "-shm")


class TargetTaken(Exception):
    """Something has the name that the copy should get."""


class CopyDamaged(Exception):
    """The copy does not pass the check; it was removed, and nothing else was touched."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(f"{len(problems)} problems or more")
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A copy that is in its place."""

    path: Path
    bytes: int
    checked: bool
    """False: only SQLite's own check was made, since the store has the schema of an older jobwire."""
    kept: Path | None = None
    """Where the store went that had the name before."""


def back_up(
    source: Path,
    target: Path,
    *,
    overwrite: bool,
    clock: Clock,
    progress: Progress,
    pages_a_step: int = PAGES_A_STEP,
) -> Copied:
    """Copy the store as it is at this moment to `target`, also while a server works on it.

    One snapshot: everything that was acknowledged before the call is in the copy. While it is read the server goes on,
    and its WAL grows by what it writes. The copy has passed the check and is synced before it gets its name.

    Raises `FileNotFoundError` without a store, `TargetTaken` when something is there and `overwrite` is not said,
    `CopyDamaged`, `StoreUnavailable`, `OSError`.
    """
    if target.exists() and (not overwrite or target.samefile(source)):
        raise TargetTaken(f"{target} is there already.")
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    with _removed_unless_renamed(part):
        checked = _copy(source, part, clock, progress, pages_a_step)
        take_name(part, target, overwrite=overwrite)
    return Copied(path=target, bytes=target.stat().st_size, checked=checked)


def restore(backup: Path, target: Path, *, clock: Clock, progress: Progress) -> Copied:
    """Put a copy of `backup` in the place of the store `target`; what was there is kept beside it.

    Holds the store's lock meanwhile, so no server has it or can get it. The next server that opens it begins a new life
    (`lives`). Whenever the machine stops, the name is the old store or the new one, whole.

    Raises `FileNotFoundError` without a backup, `TargetTaken` when backup and target are one file, `CopyDamaged`,
    `StoreUnavailable` when a server has the target open or the backup cannot be read, `OSError`.
    """
    if target.exists() and backup.exists() and target.samefile(backup):
        raise TargetTaken(f"{backup} is the store itself, not a backup of it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_path(target))
    lock.acquire()
    part = target.with_name(f"{target.name}.restore.part")
    try:
        part.unlink(missing_ok=True)  # of a restore that was killed: nobody but the holder of the lock makes one
        with _removed_unless_renamed(part):
            checked = _copy(backup, part, clock, progress)
            kept = _set_aside(target, clock)
            part.replace(target)
            sync_folder(target.parent)
    finally:
        lock.release()
    return Copied(path=target, bytes=target.stat().st_size, checked=checked, kept=kept)


def _copy(source: Path, part: Path, clock: Clock, progress: Progress, pages_a_step: int = PAGES_A_STEP) -> bool:
    """Copy, mark, check and sync; tell whether the rows could be checked, too."""
    now_us = clock.wall_us()
    reading = visit(source)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # payloads are nobody else's business
    writing = apsw.Connection(str(part))
    try:
        current = not pending_migrations(reading)
        # The snapshot of this transaction is what is copied. Without it, SQLite would begin anew after every commit of
        # the server, and under load never end.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM meta").fetchall()
        with writing.backup("main", reading, "main") as backup:
            while not backup.done:
                backup.step(pages_a_step)
                progress(backup.page_count - backup.remaining, backup.page_count)
        reading.execute("ROLLBACK")
        # One file with nothing beside it, so that it may be moved and copied like any other.
        writing.execute("PRAGMA journal_mode = delete").fetchall()
        mark_as_backup(writing, now_us)
        problems = list(islice(audit(writing) if current else _sqlite_problems(writing), MOST_PROBLEMS))
    except apsw.Error as error:
        raise StoreUnavailable(f"{source} cannot be copied: {error}.") from error
    finally:
        writing.close()
        reading.close()
    if problems:
        raise CopyDamaged(problems)
    _sync(part)
    return current


def _sqlite_problems(connection: apsw.Connection) -> Iterator[Problem]:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield Problem("file", "SQLite", str(line))


def _set_aside(target: Path, clock: Clock) -> Path | None:
    """Give the store a second name under which it stays; None when there is none.

    Its WAL goes into it first: a WAL that stayed behind would be replayed into the store that comes next.
    """
    moment = datetime.fromtimestamp(clock.wall_us() / 1_000_000, UTC)
    kept = target.with_name(f"{target.name}.before-restore-{moment:%Y%m%dT%H%M%S.%fZ}")
    if not _fold_wal(target):
        # It is gone or damaged, which may be why there is a restore: what there is of it is kept as it is.
        for ending in _SIDE_FILES:
            with suppress(FileNotFoundError):
                target.with_name(target.name + ending).rename(kept.with_name(kept.name + ending))
    if not target.exists():
        return None
    os.link(target, kept)
    sync_folder(target.parent)
    return kept


def _fold_wal(path: Path) -> bool:
    """Put what is committed into the file itself; False when SQLite cannot work with what is there."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # if it cannot be folded, it stays
            folded = connection.pragma("journal_mode", "delete") == "delete"
        finally:
            connection.close()
    except (apsw.BusyError, apsw.LockedError):
        folded = False
    except apsw.Error:
        return False
    if not folded:
        raise StoreInUse(f"{path} is open in another program: close it first.")
    return True


@contextmanager
def _removed_unless_renamed(part: Path) -> Iterator[None]:
    try:
        yield
    finally:
        for ending in ("", "-journal", *_SIDE_FILES):
            part.with_name(part.name + ending).unlink(missing_ok=True)


def take_name(part: Path, target: Path, *, overwrite: bool) -> None:
    """Give a complete file its name, durably. Raises `TargetTaken` when something has it and is not to be replaced."""
    if overwrite:
        part.replace(target)
    else:
        try:
            os.link(part, target)  # unlike a rename, this fails when somebody has taken the name meanwhile
        except FileExistsError:
            raise TargetTaken(f"{target} is there already.") from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            part.replace(target)
    sync_folder(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names that were given or taken in a folder durable."""
    _sync(folder)
