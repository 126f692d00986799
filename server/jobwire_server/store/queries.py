"""The statements of a driver: one `.sql` file each, named as the verbs call it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from types import MappingProxyType


def load(folder: Traversable) -> Mapping[str, str]:
    """Read all statements; the key is the file's name without its ending."""
    return MappingProxyType(
        {
            entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8")
            for entry in folder.iterdir()
            if entry.name.endswith(".sql")
        }
    )
