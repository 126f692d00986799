"""Servers of all kinds for the command line to meet: real ones as processes, and programs that are none."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trustme

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]


def written(authority: trustme.CA, folder: Path, name: str, **dates: Any) -> None:
    """Write server.pem, server.key (for `name`), me.pem, me.key and ca.pem into a folder."""
    for file, made in (("server", authority.issue_cert(name, **dates)), ("me", authority.issue_cert("me"))):
        made.private_key_pem.write_to_path(str(folder / f"{file}.key"))
        (folder / f"{file}.pem").write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))


class LiveServer:
    """`jobwire dev` as a process, without handlers of its own, with one job that has ended and one that waits."""

    def __init__(self, *flags: str) -> None:
        self._process = subprocess.Popen(
            [BIN / "jobwire", "dev", "--memory", *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith("ready"):
                self.address = line.split()[1]
                return
        raise AssertionError("it did not start")

    def stop(self) -> None:
        """End it."""
        assert self._process.stderr is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.stderr.read()
        self._process.stderr.close()
        self._process.wait(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Pretender:
    """A program that listens and is no gRPC server: `behave` is given each connection, which is closed afterwards."""

    def __init__(self, behave: Callable[[socket.socket], object]) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(opened,), daemon=True).start()

    def _serve(self, opened: socket.socket) -> None:
        with opened:
            try:
                self._behave(opened)
            except OSError:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=10)
