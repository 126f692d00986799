"""The driver's statements: one `.sql` file each, named as its verb."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType


def load() -> Mapping[str, str]:
    """Read all statements; the key is the file's name without its ending."""
    folder = files(__package__) / "queries"
    return MappingProxyType(
        {
            entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8")
            for entry in folder.iterdir()
            if entry.name.endswith(".sql")
        }
    )
