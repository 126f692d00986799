"""Text that is stored: bounded, and free of what storages refuse."""

from __future__ import annotations


def bounded(text: str, limit_bytes: int, *, keep_end: bool = False) -> str:
    """Cut to at most `limit_bytes` of UTF-8, at the end (or at the start, `keep_end`); NULs and surrogates escaped."""
    data = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace")
    if len(data) > limit_bytes:
        data = data[-limit_bytes:] if keep_end else data[:limit_bytes]
    return data.decode("utf-8", "ignore")
