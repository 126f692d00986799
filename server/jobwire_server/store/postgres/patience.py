"""How long a database may keep silent: one that was frozen, or cut off without a word, would be waited for for ever.

The client library has no such bound for a statement, and that of the database is no help when it is the database that
stands still. So whoever waits says so here, and is hung up on when it has waited too long: its statement fails then as
that of any broken connection does.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg

_TICK_SECONDS: Final = 0.25


class Patience:
    """A thread that counts the time for those who wait. `start` and `stop` once each; `of` in any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[socket.socket, float] = {}
        """The last tick for which each line may wait."""
        self._tick = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobwire-patience", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread: nobody waits any more. Idempotent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def of(self, connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
        """What the block asks of the database is answered within so many seconds, or its connection is broken."""
        # A line of our own to the same socket: the library may close its own at any moment, and its number is reused.
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            with self._guard:
                self._waiting[line] = self._tick + seconds / _TICK_SECONDS
            try:
                yield
            finally:
                with self._guard:
                    self._waiting.pop(line, None)

    def lose(self) -> None:
        """Hang up on the database wherever somebody waits for it."""
        with self._guard:
            self._hang_up(list(self._waiting))

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            with self._guard:
                self._tick += 1
                self._hang_up([line for line, last_tick in self._waiting.items() if last_tick < self._tick])

    def _hang_up(self, lines: Iterable[socket.socket]) -> None:
        for line in lines:
            del self._waiting[line]
            with suppress(OSError):  # it is gone already
                line.shutdown(socket.SHUT_RDWR)
