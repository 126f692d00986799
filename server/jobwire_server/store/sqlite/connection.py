"""Opening the file: lock, version gate, pragmas set and read back, migrations, the store's own clock."""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import apsw

from jobwire_server.domain.errors import StoreUnavailable
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.failpoint import Failpoint
from jobwire_server.store.migrations import plan, shipped
from jobwire_server.store.sqlite.settings import SqliteSettings

OLDEST_SAFE_SQLITE: Final = (3, 51, 3)
"""Older ones can lose or corrupt data when the WAL is reset (found 2026-03); jsonb_each needs 3.51 as well."""

NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph"})


class StoreInUse(StoreUnavailable):
    """A server has the store open."""


_LOCK_TRIES: Final = 20
_LOCK_PAUSE_SECONDS: Final = 0.005


def lock_path(path: Path) -> Path:
    """Where the lock of the store at `path` is."""
    return path.with_name(path.name + ".lock")


class FileLock:
    """An exclusive lock on `<db>.lock`, held by an open descriptor that no child inherits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise `StoreUnavailable`: two servers on one file would damage it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(descriptor):
            os.close(descriptor)
            raise StoreInUse(
                f"Another jobwire server has {self._path.with_suffix('')} open: stop it first, or name another --db."
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _locked(descriptor: int) -> bool:
    """Lock the file, False when somebody has it. Whoever only looks who that is holds it for an instant, so once more
    is worth a try; a server holds it for its life."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            threading.Event().wait(_LOCK_PAUSE_SECONDS)
        else:
            return True
    return False


def refuse_unsafe_places(path: Path) -> None:
    """Raise `StoreUnavailable` for a SQLite that is too old or a file on a network file system."""
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_SAFE_SQLITE:
        wanted = ".".join(map(str, OLDEST_SAFE_SQLITE))
        raise StoreUnavailable(
            f"SQLite {apsw.sqlite_lib_version()} may lose data; install an apsw with {wanted} or newer."
        )
    kind = _file_system(path)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreUnavailable(
            f"{path} lies on a network file system ({kind}), which breaks SQLite's locks: use a local disk."
        )


def _file_system(path: Path) -> str:
    """The type of the file system that holds `path`, "" where the system does not say."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    place = str(path.resolve())
    best, kind = "", ""
    for line in mounts:
        fields = line.split(" ")
        point = fields[1].encode().decode("unicode_escape")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def open_writer(path: Path, settings: SqliteSettings, *, durable: bool) -> apsw.Connection:
    """Open the one connection that writes and checkpoints, its pragmas set and read back."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # payloads are nobody else's business
    connection = apsw.Connection(str(path), statementcachesize=200)
    _set_pragmas(
        connection,
        {
            "journal_mode": "wal",
            "synchronous": 2 if durable else 0,
            "foreign_keys": 1,
            "busy_timeout": settings.busy_timeout_us // 1000,
            "wal_autocheckpoint": 1000,
            "journal_size_limit": settings.wal_limit_bytes,
            "mmap_size": 0,
            "trusted_schema": 0,
            "cell_size_check": 1,
            "cache_size": -32_000,
            "temp_store": 2,
            "fullfsync": 1 if durable else 0,
            "checkpoint_fullfsync": 1 if durable else 0,
        },
    )
    return connection


def open_reader(path: Path, settings: SqliteSettings) -> apsw.Connection:
    """Open a connection that can only read and never checkpoints."""
    connection = apsw.Connection(str(path), statementcachesize=100)
    _set_pragmas(
        connection,
        {
            "query_only": 1,
            "busy_timeout": settings.busy_timeout_us // 1000,
            "wal_autocheckpoint": 0,
            "mmap_size": 0,
            "trusted_schema": 0,
            "cell_size_check": 1,
            "cache_size": -8_000,
        },
    )
    return connection


def open_visitor(path: Path) -> apsw.Connection:
    """Open a connection of another program, beside the server's: it can only read, and leaves the files as they are,
    also when it is the last one to close."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    # A WAL that is there stays, with what is in it. One that is made for this connection goes with it.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(path.with_name(path.name + "-wal").exists()))
    _set_pragmas(
        connection,
        {
            "query_only": 1,
            "busy_timeout": 5000,
            "wal_autocheckpoint": 0,
            "mmap_size": 0,
            "trusted_schema": 0,
            "cell_size_check": 1,
            "cache_size": -8_000,
        },
    )
    return connection


def _set_pragmas(connection: apsw.Connection, wanted: dict[str, int | str]) -> None:
    for name, value in wanted.items():
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
        if connection.pragma(name) != value:
            raise StoreUnavailable(
                f"SQLite did not accept PRAGMA {name} = {value}: the file may be read-only or of a foreign format."
            )


def migrate(connection: apsw.Connection, clock: Clock, failpoint: Failpoint) -> None:
    """Bring the schema up to date: each migration in one transaction with its record."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, "
        "applied_us INTEGER NOT NULL) STRICT"
    )
    rows: Any = connection.execute("SELECT number, checksum FROM migration").fetchall()
    applied: dict[int, str] = dict(rows)
    for migration in plan(applied, shipped(files(__package__) / "migrations")):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO migration VALUES (?, ?, ?, ?)",
                (migration.number, migration.name, migration.checksum, clock.wall_us()),
            )
            failpoint("migrate.before_commit")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        failpoint("migrate.after_commit")
    connection.execute(
        "INSERT OR IGNORE INTO meta VALUES ('epoch', ?), ('compacted', 0)",
        (new_epoch(),),
    )


def new_epoch() -> str:
    """Draw the identity of one life of a store."""
    return secrets.token_hex(8)


class StoreClock:
    """The store's time: the machine's wall clock at start, then monotonic; never behind the newest time in the file."""

    def __init__(self, clock: Clock, newest_us: int) -> None:
        self._monotonic: Callable[[], float] = clock.monotonic
        self._start = clock.monotonic()
        self._base_us = max(clock.wall_us(), newest_us)

    def now_us(self) -> int:
        """Microseconds since the epoch; never goes back."""
        return self._base_us + int((self._monotonic() - self._start) * 1_000_000)
