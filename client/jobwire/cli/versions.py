"""Versions of what is installed."""

from __future__ import annotations

from importlib import metadata


def installed_version(distribution: str) -> str:
    """Version of an installed distribution, without importing it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
