"""A way to PostgreSQL that can break at the worst moment: the COMMIT has arrived, and its answer never does."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Final

_NAME: Final = ".s.PGSQL.5432"
_CHUNK: Final = 65_536


class PostgresProxy:
    """Listens in a folder of its own, and passes everything on to the socket in `target`."""

    def __init__(self, folder: Path, target: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.commits_lost = 0
        """How many answers to a COMMIT were kept back."""
        self._target = str(target / _NAME)
        self._armed = 0
        self._guard = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _NAME))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_commits(self, count: int) -> None:
        """Cut the connection of the next so many COMMITs when the database has answered, and keep the answer back."""
        with self._guard:
            self._armed = count

    def close(self) -> None:
        """Cut everything."""
        _cut(self._listener)
        _close(self._listener, *self._open)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target)
            except OSError:
                _close(client, server)  # the database is away
                continue
            self._open += [client, server]
            committing = threading.Event()
            threading.Thread(target=self._forward, args=(client, server, committing), daemon=True).start()
            threading.Thread(target=self._back, args=(server, client, committing), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, committing: threading.Event) -> None:
        try:
            while chunk := client.recv(_CHUNK):
                if b"COMMIT\0" in chunk and self._take():
                    committing.set()
                server.sendall(chunk)
        except OSError:
            pass
        finally:
            _cut(client, server)

    def _back(self, server: socket.socket, client: socket.socket, committing: threading.Event) -> None:
        try:
            while chunk := server.recv(_CHUNK):
                if committing.is_set():
                    self.commits_lost += 1
                    return
                client.sendall(chunk)
        except OSError:
            pass
        finally:
            _cut(client, server)

    def _take(self) -> bool:
        with self._guard:
            taken = self._armed > 0
            self._armed -= taken
            return taken


def _cut(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue


def _close(*ends: socket.socket) -> None:
    for end in ends:
        end.close()
