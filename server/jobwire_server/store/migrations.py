"""Numbered `.sql` migrations: which to run is decided purely, running one is a transaction with its own record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import NamedTuple

from jobwire_server.domain.errors import StoreUnavailable

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class Migration(NamedTuple):
    """One shipped file. Its number is its place; it is never edited once shipped."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped(folder: Traversable) -> list[Migration]:
    """Read the migrations of a driver, in order."""
    found = []
    for entry in folder.iterdir():
        match = _FILE.fullmatch(entry.name)
        if match is not None:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    return sorted(found)


def plan(applied: Mapping[int, str], available: Sequence[Migration]) -> list[Migration]:
    """Return what has to run, given the checksums of what ran.

    Raises `StoreUnavailable` when the store is newer than this program, when a file that ran was edited since, or
    when one is missing in the middle: in each case going on could damage the store.
    """
    newest = available[-1].number if available else 0
    if applied and max(applied) > newest:
        raise StoreUnavailable(
            f"The store has schema {max(applied)}, this version of jobwire knows {newest}: "
            "start a jobwire at least as new as the one that wrote it."
        )
    for migration in available:
        ran = applied.get(migration.number)
        if ran is not None and ran != migration.checksum:
            raise StoreUnavailable(
                f"Migration {migration.number:04d}_{migration.name} differs from the one that this store was made "
                "with: install an unmodified jobwire."
            )
    pending = [migration for migration in available if migration.number not in applied]
    if pending and applied and pending[0].number < max(applied):
        raise StoreUnavailable(
            f"Migration {pending[0].number:04d}_{pending[0].name} is missing in a store that has later ones: "
            "restore a backup made by an official release."
        )
    return pending
