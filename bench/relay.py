"""A relay between two Unix sockets that counts bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHUNK_BYTES = 1 << 16


class Relay:
    """Passes on to the server at `target` whatever comes to its own `address`."""

    def __init__(self, path: Path, target: str) -> None:
        self.address = f"unix:{path}"
        self.bytes = 0
        """What went through, both ways (the threads may lose a few)."""
        self._target = target.removeprefix("unix:")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()

    def serve(self) -> None:
        """Serve connections until closed."""
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def close(self) -> None:
        """Take no new connections; the others end with their sides."""
        self._listener.close()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with source, suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                self.bytes += len(chunk)
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def relaying(folder: Path, target: str) -> Iterator[Relay]:
    """Run a relay until the block ends."""
    relay = Relay(folder / "relay.sock", target)
    threading.Thread(target=relay.serve, daemon=True).start()
    try:
        yield relay
    finally:
        relay.close()
