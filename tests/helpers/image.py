"""A store file read as it stands on disk, without touching it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apsw


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


def integrity(path: Path) -> str:
    """What SQLite itself thinks of the file: "ok" or its complaint."""
    connection = apsw.Connection(str(path))
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchall()[0][0])
    finally:
        connection.close()


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
        rows=_read_rows(connection),
    )


def _read_rows(connection: apsw.Connection) -> dict[int, Row]:
    content: dict[Any, Any] = dict(connection.execute("SELECT id, data FROM content").fetchall())
    checkpoints = {key: rest for key, *rest in connection.execute("SELECT * FROM checkpoint")}
    cursor = connection.execute("SELECT * FROM job")
    rows: dict[int, Row] = {}
    names: list[str] = []
    for values in cursor:
        names = names or [name for name, _ in cursor.get_description()]
        job: dict[str, Any] = dict(zip(names, values, strict=True))
        key = job["key"]
        payload, result = content.get(2 * key, job["payload"]), content.get(2 * key + 1, job["result"])
        digest = hashlib.sha256(repr((values, payload, result, checkpoints.get(key))).encode()).hexdigest()
        rows[key] = Row(
            key, job["id"], job["type"], job["state"], job["revision"], job["sequence"], job["attempt"],
            job["max_attempts"], job["fence"], payload or b"", result, digest,
        )  # fmt: skip
    return rows
