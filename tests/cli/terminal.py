"""A pseudo terminal to run programs on."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.helpers.processes import kill_tree


class Terminal:
    """A terminal for one program."""

    def __init__(self, *, columns: int = 100) -> None:
        self._ours, self._theirs = pty.openpty()
        termios.tcsetwinsize(self._theirs, (40, columns))

    def run(
        self,
        arguments: Sequence[str | Path],
        environ: Mapping[str, str],
        *,
        stdout: int | None = None,
        folder: Path | None = None,
        typed: str = "",
        interrupt_at: str | None = None,
    ) -> tuple[int, str]:
        """Run with stdin, stdout and stderr (or all but stdout) on the terminal, where `typed` waits to be read.

        The program gets Ctrl+C once it has shown `interrupt_at`. Returns the exit code and what the terminal showed.
        """
        os.write(self._ours, typed.encode())
        environ = {name: value for name, value in environ.items() if name != "COLUMNS"}
        running = subprocess.Popen(
            arguments, stdin=self._theirs, stdout=self._theirs if stdout is None else stdout, stderr=self._theirs,
            env=environ, cwd=folder,
        )  # fmt: skip
        os.close(self._theirs)
        shown = b""
        try:
            for chunk in self._chunks():
                shown += chunk
                if interrupt_at is not None and interrupt_at.encode() in shown:
                    running.send_signal(signal.SIGINT)
                    interrupt_at = None
            return running.wait(timeout=30), shown.decode()
        except BaseException:  # the test's time is over: what goes on in a loop would be the next test's trouble
            kill_tree(running)
            raise

    def _chunks(self) -> Iterator[bytes]:
        while True:
            try:
                chunk = os.read(self._ours, 65536)
            except OSError:  # Linux: the last writer has closed it
                chunk = b""
            if not chunk:
                os.close(self._ours)
                return
            yield chunk


def without_escapes(text: str) -> str:
    """The text without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
