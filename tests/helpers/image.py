"""A store file read as it stands on disk, without touching it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

_NAMES_IN_POSTGRES: Final = (
    "SELECT attname FROM pg_attribute WHERE attrelid = 'jobwire.job'::regclass AND attnum > 0 AND NOT attisdropped "
    "ORDER BY attnum"
)


class Event(NamedTuple):
    """One row of the event log."""

    revision: int
    key: int
    job_id: str
    type: str
    sequence: int
    kind: int
    previous_state: int | None
    state: int
    attempt: int
    max_attempts: int
    fence: int
    last_error: str | None
    time_us: int = 0
    """By the store's clock."""
    worker_id: str | None = None


class Row(NamedTuple):
    """One job."""

    key: int
    job_id: str
    type: str
    state: int
    revision: int
    sequence: int
    attempt: int
    max_attempts: int
    fence: int
    payload: bytes
    result: bytes | None
    digest: str
    """Over every column, and over payload, result and checkpoint wherever they stand."""
    progress_message: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """All that a store file promised at one moment."""

    epoch: str
    compacted: int
    events: Sequence[Event]
    """In order of revision."""
    rows: Mapping[int, Row]

    @property
    def revision(self) -> int:
        """Newest revision."""
        return self.events[-1].revision if self.events else 0


EMPTY = Image(epoch="", compacted=0, events=(), rows={})
"""The image of a store that was never migrated."""


def read_image(path: Path) -> Image:
    """Read the file of a server that is down (or dead: what it committed to the log beside the file counts).

    Works on a copy: opening the file itself would do the server's own recovery of it.
    """
    with tempfile.TemporaryDirectory(prefix="torture-image-") as folder:
        copy = Path(folder) / "copy.db"
        for suffix in ("", "-wal"):
            source = path.with_name(path.name + suffix)
            if source.exists():
                shutil.copyfile(source, copy.with_name(copy.name + suffix))
        connection = apsw.Connection(str(copy))
        try:
            return _read(connection)
        finally:
            connection.close()


def read_row(path: Path, job_id: str) -> Row | None:
    """Read one job of a server that lives."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5_000)
        with connection:
            found = connection.execute("SELECT key FROM job WHERE id = ?", (job_id,)).fetchall()
            return _read_rows(connection, checkpoints=True, key=int(found[0][0])).popitem()[1] if found else None
    finally:
        connection.close()


def integrity(path: Path) -> str:
    """What SQLite itself thinks of the file: "ok" or its complaint."""
    connection = apsw.Connection(str(path))
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchall()[0][0])
    finally:
        connection.close()


Read = Callable[[str], Sequence[tuple[Any, ...]]]
"""Executes a query on the tables of a store, of any driver."""


def read_store(read: Read, epoch: str, compacted: int) -> Image:
    """Read what a database holds that nobody changes meanwhile."""
    columns = ", ".join(Event._fields)
    names = [name for name, *_ in read(_NAMES_IN_POSTGRES)]
    content = {int(key): bytes(data) for key, data in read("SELECT id, data FROM content")}
    kept = {int(key): rest for key, *rest in read("SELECT * FROM checkpoint")}
    jobs = [dict(zip(names, values, strict=True)) for values in read(f"SELECT {', '.join(names)} FROM job")]
    return Image(
        epoch=epoch,
        compacted=compacted,
        events=[Event(*event) for event in read(f"SELECT {columns} FROM event ORDER BY revision")],
        rows={job["key"]: _row(job, content, kept.get(job["key"])) for job in jobs},
    )


def _read(connection: apsw.Connection) -> Image:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if "meta" not in tables:
        return EMPTY
    meta: dict[Any, Any] = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    columns = ", ".join(Event._fields)
    events: list[Any] = connection.execute(f"SELECT {columns} FROM event ORDER BY revision").fetchall()
    return Image(
        epoch=meta.get("epoch", ""),
        compacted=meta.get("compacted", 0),
        events=[Event(*event) for event in events],
        rows=_read_rows(connection, checkpoints="checkpoint" in tables),
    )


def _read_rows(connection: apsw.Connection, *, checkpoints: bool, key: int | None = None) -> dict[int, Row]:
    """Read all jobs, or one."""
    content: dict[Any, Any] = dict(
        connection.execute("SELECT id, data FROM content WHERE id / 2 = coalesce(?, id / 2)", (key,)).fetchall()
    )
    # A store whose making was interrupted has no table of checkpoints yet.
    kept = {job: rest for job, *rest in connection.execute("SELECT * FROM checkpoint")} if checkpoints else {}
    cursor = connection.execute("SELECT * FROM job WHERE key = coalesce(?, key)", (key,))
    rows: dict[int, Row] = {}
    names: list[str] = []
    for values in cursor:
        names = names or [name for name, _ in cursor.get_description()]
        job: dict[str, Any] = dict(zip(names, values, strict=True))
        rows[job["key"]] = _row(job, content, kept.get(job["key"]))
    return rows


def _row(job: Mapping[str, Any], content: Mapping[int, bytes], checkpoint: object) -> Row:
    key = int(job["key"])
    payload, result = content.get(2 * key, job["payload"]), content.get(2 * key + 1, job["result"])
    digest = hashlib.sha256(repr((tuple(job.values()), payload, result, checkpoint)).encode()).hexdigest()
    return Row(
        key, job["id"], job["type"], job["state"], job["revision"], job["sequence"], job["attempt"],
        job["max_attempts"], job["fence"], payload or b"", result, digest, job["progress_message"],
    )  # fmt: skip
