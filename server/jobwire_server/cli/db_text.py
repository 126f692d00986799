"""What `jobwire db` says to people, and the documents it writes for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jobwire_server.store.moving import Carried
    from jobwire_server.store.postgres.visiting import DatabaseStatus
    from jobwire_server.store.sqlite.copying import Copied
    from jobwire_server.store.sqlite.visiting import FileStatus
    from jobwire_server.store.status import StoreStatus

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def status_document(status: FileStatus) -> dict[str, Any]:
    """The answer of `status` for programs."""
    own = {"path": str(status.path), "wal_bytes": status.wal_bytes, "server_pid": status.server_pid}
    return {**own, **_facts(status)}


def database_document(place: str, status: DatabaseStatus) -> dict[str, Any]:
    """The answer of `status` for programs, of a store in a database."""
    return {"path": place, "servers": status.servers, "is_whole": status.moving is None, **_facts(status)}


def _facts(status: StoreStatus) -> dict[str, Any]:
    return {
        "bytes": status.bytes,
        "schema": status.schema,
        "pending_migrations": list(status.pending_migrations),
        "epoch": status.epoch,
        "revision": status.revision,
        "compacted": status.compacted,
        "jobs": {state.name: count for state, count in sorted(status.jobs.items())},
        "backup_time": time_text(status.backup_us),
        "restored_time": time_text(status.restored_us),
        "restored_backup_time": time_text(status.restored_backup_us),
    }


def status_lines(status: FileStatus) -> list[str]:
    """The answer of `status` for people."""
    return _lines(
        [
            ("Store", f"{status.path} · {size_text(status.bytes)} · WAL {size_text(status.wal_bytes)}"),
            ("Server", "none" if status.server_pid is None else f"process {status.server_pid} has it open"),
            *_inside(status),
        ]
    )


def database_lines(place: str, status: DatabaseStatus) -> list[str]:
    """The answer of `status` for people, of a store in a database."""
    facts = [("Store", f"{place} · {size_text(status.bytes)}"), ("Servers", str(status.servers or "none"))]
    facts += _inside(status)
    if status.moving is not None:
        facts.append(("Moving", "not all of it has arrived: run the same jobwire db import again"))
    return _lines(facts)


def _inside(status: StoreStatus) -> list[tuple[str, str]]:
    pending = status.pending_migrations
    facts = [
        ("Schema", f"{status.schema}, " + (f"the next start runs {', '.join(pending)}" if pending else "up to date")),
        ("Epoch", status.epoch),
        ("Log", f"revision {status.revision}, kept from {status.compacted + 1} on"),
        ("Jobs", " · ".join(f"{state.name} {count:,}" for state, count in sorted(status.jobs.items())) or "none"),
    ]
    if status.backup_us is not None:
        facts.append(("Backup", f"of {time_text(status.backup_us)}, not opened by a server yet"))
    if status.restored_us is not None:
        origin = (
            "" if status.restored_backup_us is None else f" from a backup of {time_text(status.restored_backup_us)}"
        )
        facts.append(("Restored", f"{time_text(status.restored_us)}{origin}"))
    return facts


def _lines(facts: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{name:<9} {value}" for name, value in facts]


def carried_lines(done: Carried, origin: str, target: str) -> list[str]:
    """The answer of `import` and `export`."""
    rows, events = sum(done.rows.values()), done.rows["event"]
    return [
        f"✓ {target} · {done.rows['job']:,} jobs, {events:,} events, {rows:,} rows in all, each compared",
        f"  Start no server on {origin} any more.",
        "  The first one on the new store begins a new epoch: watchers and workers of before are told.",
    ]


def backup_lines(done: Copied) -> list[str]:
    """The answer of `backup`."""
    return [f"✓ {done.path} · {size_text(done.bytes)} · {_checked(done)}"]


def restore_lines(done: Copied) -> list[str]:
    """The answer of `restore`."""
    kept = "" if done.kept is None else f" · the old store is {done.kept}"
    return [
        f"✓ {done.path} · {size_text(done.bytes)} · {_checked(done)}{kept}",
        "  The next server that opens it begins a new epoch: watchers and workers of before are told.",
    ]


def _checked(done: Copied) -> str:
    return "checked" if done.checked else "checked as far as an older schema can be (jobwire db migrate)"


def check_lines(path: object, problems: Sequence[Mapping[str, Any]], *, more: bool) -> list[str]:
    """The answer of `check`."""
    if not problems:
        return [f"✓ {path} is sound"]
    return [*(f"✕ {problem_line(each)}" for each in problems), *(["… and more"] if more else [])]


def problem_line(problem: Mapping[str, Any]) -> str:
    """One problem on one line."""
    return f"{problem['table']} {problem['row']}: {problem['problem']}"


def migrate_lines(rows: Sequence[Mapping[str, Any]], *, dry_run: bool) -> list[str]:
    """The answer of `migrate`."""
    if not rows:
        return ["✓ the schema is up to date"]
    word = "○ would run" if dry_run else "✓ ran"
    return [line for row in rows for line in (f"{word} {row['name']}", *([row["sql"]] if row["sql"] else []))]


def row_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The answer of `sql` for people."""
    from jobwire.cli.output import table  # noqa: PLC0415 - help pages need no protobuf

    return table(columns, [["" if value is None else str(value) for value in row] for row in rows])


def plain(value: Any) -> Any:
    """A value of SQLite as JSON can say it."""
    return value.hex() if isinstance(value, bytes) else value


def time_text(microseconds: int | None) -> str | None:
    """RFC 3339, None = never."""
    if microseconds is None:
        return None
    return (
        datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def size_text(size: float) -> str:
    """Bytes as people read them."""
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
