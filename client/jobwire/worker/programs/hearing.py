"""The files between a worker and a program, and what is heard through them."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import tempfile
from collections.abc import Mapping
from io import FileIO
from typing import IO, Any, Protocol

from jobwire.payload import MAX_PAYLOAD_BYTES, Payload
from jobwire.worker.clock import Clock
from jobwire.worker.context import JobContext
from jobwire.worker.programs.contract import MAX_CHECKPOINT_BYTES, MAX_DETAIL_BYTES, Progress, word_of
from jobwire.worker.programs.launching import Launching
from jobwire.worker.run import Run

_log = logging.getLogger("jobwire.worker")

_PIPE_BYTES = 64 << 10
"""What a pipe holds at most."""
_STDERR = 2


def pipe() -> tuple[FileIO, FileIO]:
    """A pipe: its reading and its writing end. Neither is inherited by anything that is started meanwhile."""
    reader, writer = os.pipe()
    return FileIO(reader, "rb"), FileIO(writer, "wb")


def file_with(payload: Payload | None) -> IO[Any]:
    """A file with the payload, at its start: unlike a pipe it is whole, whatever becomes of the worker."""
    file: IO[Any]
    if hasattr(os, "memfd_create"):
        file = FileIO(os.memfd_create("jobwire-payload"), "r+b")
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (the caller closes it)
    if payload is not None:
        rest = memoryview(payload.data)
        while rest:
            rest = rest[file.write(rest) :]
    file.seek(0)
    return file


class Ear(Protocol):
    """Takes what comes through one pipe."""

    def hear(self, piece: bytes) -> bool:
        """Take the next piece. False = no more of it, the writer may know that nobody listens."""

    def end(self) -> None:
        """There will be no more."""


class Output:
    """A result, as far as one may be long."""

    def __init__(self) -> None:
        self._data = bytearray()

    def hear(self, piece: bytes) -> bool:
        """See `Ear`."""
        self._data += piece
        return len(self._data) <= MAX_PAYLOAD_BYTES

    def end(self) -> None:
        """See `Ear`."""

    def whole(self) -> bytes | None:
        """All of it; None when it was too long."""
        return bytes(self._data) if len(self._data) <= MAX_PAYLOAD_BYTES else None


class Tail:
    """The end of what goes to the worker's own stderr."""

    def __init__(self) -> None:
        self._data = bytearray()

    def hear(self, piece: bytes) -> bool:
        """See `Ear`."""
        self._data += piece
        del self._data[:-MAX_DETAIL_BYTES]
        rest = memoryview(piece)
        with contextlib.suppress(OSError):  # nobody listens to us either
            while rest:
                rest = rest[os.write(_STDERR, rest) :]
        return True

    def end(self) -> None:
        """See `Ear`."""

    def tail(self) -> bytes:
        """The last of it."""
        return bytes(self._data)


class Words:
    """Lines about the progress of a run, and its checkpoints."""

    def __init__(self, run: Run, clock: Clock) -> None:
        self._context = JobContext(run, clock)
        self._line = b""
        self._has_complained = False

    def hear(self, piece: bytes) -> bool:
        """See `Ear`."""
        *lines, self._line = (self._line + piece).split(b"\n")
        for line in lines:
            self._take(line)
        # A line without an end is kept as far as a good one may be long, and refused when its end comes.
        self._line = self._line[: MAX_CHECKPOINT_BYTES + 100]
        return True

    def end(self) -> None:
        """See `Ear`."""
        self._take(self._line)

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            word = word_of(line)
            if isinstance(word, Progress):
                self._context.progress(word.percent, message=word.message)
            else:
                self._context.checkpoint(word)
        except ValueError as error:
            if not self._has_complained:
                self._has_complained = True
                _log.warning("A line of the program of job %s is passed by: %s.", self._context.job_id, error)


def listen(launching: Launching, ears: Mapping[FileIO, Ear]) -> int:
    """Listen until the program has ended; returns its exit code as `Launching.ended` does. Raises LauncherGone.

    Something that left the program's group may hold a pipe open for ever, so the end of the program is the end of the
    listening: what it wrote before is in the pipes by then, and they hold no more than one reading takes.
    """
    poll = select.poll()
    poll.register(launching.fileno(), select.POLLIN)
    files = {file.fileno(): file for file in ears}
    for number in files:
        poll.register(number, select.POLLIN)
    code = None
    while code is None:
        ready = {number for number, _ in poll.poll()}
        for number in ready & files.keys():
            if not _hear(files[number], ears):
                poll.unregister(number)
                del files[number]
        if launching.fileno() in ready:
            code = launching.ended()
    poll.unregister(launching.fileno())
    for number, _ in poll.poll(0):
        _hear(files[number], ears)
    for ear in ears.values():
        ear.end()
    return code


def _hear(file: FileIO, ears: Mapping[FileIO, Ear]) -> bool:
    """Pass on what there is. False when no more is wanted or to come: then the file is closed."""
    piece = os.read(file.fileno(), _PIPE_BYTES)
    if piece and ears[file].hear(piece):
        return True
    file.close()
    return False
