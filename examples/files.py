"""Handlers that read real files: what `make demo` runs.

    jobwire dev --app examples.files:app
    jobwire run file.digest -d '{"path": "README.md"}'

A job names a path, and the server reads it with its own rights. That is right for a demo on your own machine; behind a
door where strangers submit jobs, let a handler accept names below one folder only.
"""

from __future__ import annotations

import hashlib
import mimetypes
import threading
from pathlib import Path
from typing import Any

from jobwire import App, Fail, JobContext

CHUNK_BYTES = 1024 * 1024

app = App("files")

SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF8", "GIF image"),
    (b"%PDF-", "PDF document"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x7fELF", "ELF binary"),
    (b"SQLite format 3\x00", "SQLite database"),
)


@app.job("file.digest")
def digest(ctx: JobContext, path: str, pace_seconds: float = 0.0) -> dict[str, Any]:
    """Read one file: SHA-256, line and word count, file type. Progress is reported for every MiB.

    `pace_seconds` makes the job last longer, in small steps, so that people can watch it.
    """
    file = Path(path)
    try:
        size_bytes = file.stat().st_size
        with file.open("rb") as stream:
            counts = _Counts()
            while chunk := stream.read(CHUNK_BYTES):
                ctx.check()  # cancelled, or the lease is lost: stop here
                counts.add(chunk)
                ctx.progress(counts.size_bytes, total=max(size_bytes, counts.size_bytes), message=file.name)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise Fail(f"cannot read {path}: {error.strerror}") from error  # no retry will find it
    _linger(ctx, pace_seconds)
    return {"path": path, "bytes": counts.size_bytes, "sha256": counts.sha256, "lines": counts.lines,
            "words": counts.words, "type": counts.type_of(file)}  # fmt: skip


class _Counts:
    """Everything that one pass over the bytes tells."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._head = b""
        self._is_text = True
        self._in_word = False
        self.size_bytes = self.lines = self.words = 0

    def add(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self._hash.update(chunk)
        self._head = self._head or chunk[:512]
        self._is_text = self._is_text and b"\x00" not in chunk
        self.size_bytes += len(chunk)
        self.lines += chunk.count(b"\n")
        # A word that goes on from the chunk before was counted there.
        self.words += len(chunk.split()) - (self._in_word and not chunk[:1].isspace())
        self._in_word = not chunk[-1:].isspace()

    @property
    def sha256(self) -> str:
        """Hexadecimal digest."""
        return self._hash.hexdigest()

    def type_of(self, file: Path) -> str:
        """What the content says, then what the name says."""
        if not self.size_bytes:
            return "empty"
        for signature, name in SIGNATURES:
            if self._head.startswith(signature):
                return name
        guessed, _ = mimetypes.guess_type(file.name)
        return guessed or ("text" if self._is_text else "data")


def _linger(ctx: JobContext, seconds: float) -> None:
    steps = max(1, round(seconds / 0.1)) if seconds > 0 else 0
    for step in range(steps):
        ctx.check()
        threading.Event().wait(seconds / steps)
        ctx.progress(step + 1, total=steps)
