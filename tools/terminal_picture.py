"""Draw docs/img/first-run.svg: three terminals in which real commands run, recorded and played in a loop.

python -m tools.terminal_picture [FILE]      (make pictures)

Each terminal is a shell on a pseudo terminal; what it shows is what the commands wrote, at the time they wrote it. The
picture moves by CSS alone. Whoever asks for less motion sees the end of it, and colours follow the reader's theme.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import psutil

from tools.svg_screen import Frame, Pane, render

ROOT: Final = Path(__file__).resolve().parent.parent
PICTURE: Final = ROOT / "docs/img/first-run.svg"
USUAL_PORT: Final = 7780
COLUMNS: Final = 104
_LETTER_SECONDS: Final = 0.035
_LONGEST_PAUSE: Final = 0.9
"""Nothing happens for longer in the picture, whatever it took."""

_RENDER: Final = """\
#!/bin/sh
for page in 1 2 3 4 5 6 7 8 9 10; do
  sleep 0.6
  echo "${page}0 page $page of 10" >&3
done
echo '{"pages": 10}'
"""


class Chunk(NamedTuple):
    """What a terminal was sent, and when."""

    seconds: float
    pane: int
    data: bytes


class Stage:
    """Shells on terminals of their own, and a record of what each showed."""

    def __init__(self, folder: Path, titles: Sequence[tuple[str, int]], environ: Mapping[str, str]) -> None:
        self.record: list[Chunk] = []
        self._selector = selectors.DefaultSelector()
        self._shells: list[subprocess.Popen[bytes]] = []
        self._ends: list[int] = []
        for number, (_, rows) in enumerate(titles):
            ours, theirs = pty.openpty()
            termios.tcsetwinsize(theirs, (rows, COLUMNS))
            self._shells.append(
                subprocess.Popen(
                    ["bash", "--norc", "--noprofile", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder,
                    env={**environ, "PS1": "$ ", "TERM": "xterm-256color", "BASH_SILENCE_DEPRECATION_WARNING": "1"},
                    start_new_session=True, preexec_fn=_own_terminal,  # noqa: PLW1509 (there are no threads here)
                )
            )  # fmt: skip
            os.close(theirs)
            self._ends.append(ours)
            self._selector.register(ours, selectors.EVENT_READ, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for shell in reversed(self._shells):
            for child in psutil.Process(shell.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGTERM)
        for shell, end in zip(reversed(self._shells), reversed(self._ends), strict=True):
            with contextlib.suppress(OSError):
                os.close(end)
            shell.kill()
            shell.wait()

    def listen(self, seconds: float) -> None:
        """Record for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._take(left)

    def type(self, pane: int, command: str) -> None:
        """Type a command, letter by letter, and press Enter."""
        for letter in command:
            os.write(self._ends[pane], letter.encode())
            self.listen(_LETTER_SECONDS)
        self.listen(0.3)
        os.write(self._ends[pane], b"\n")

    def await_text(self, pane: int, pattern: str, *, seconds: float = 30) -> None:
        """Record until the terminal has shown it since now. Raises RuntimeError when it does not."""
        begin = len(self.record)
        end = time.monotonic() + seconds
        while True:
            shown = b"".join(chunk.data for chunk in self.record[begin:] if chunk.pane == pane).decode(errors="replace")
            if re.search(pattern, shown):
                return
            if time.monotonic() > end:
                raise RuntimeError(f"{pattern!r} does not appear in:\n{shown}")
            self._take(0.5)

    def kill(self, pane: int) -> None:
        """`kill -9` what the shell is running."""
        for child in psutil.Process(self._shells[pane].pid).children():
            child.send_signal(signal.SIGKILL)

    def _take(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            with contextlib.suppress(OSError):
                data = os.read(key.fd, 65536)
                self.record.append(Chunk(time.monotonic(), key.data, data))


def _own_terminal() -> None:
    """Make the terminal on stdin the controlling one, so that job control works."""
    import fcntl  # noqa: PLC0415

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


TITLES: Final = (("the server", 7), ("a worker: any program", 5), ("you", 6))


def play(folder: Path, *, port: int = USUAL_PORT) -> list[Chunk]:
    """Run the scene; return what was shown. Raises RuntimeError when something else happens than should."""
    (folder / "render.sh").write_text(_RENDER, encoding="utf-8")
    (folder / "render.sh").chmod(0o755)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("JOBWIRE_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "JOBWIRE_ADDRESS": f"127.0.0.1:{port}",
        "JOBWIRE_PORT": str(port),
    }
    with Stage(folder, TITLES, environ) as stage:
        stage.listen(0.5)
        stage.type(0, "jobwire dev")
        stage.await_text(0, r"\nready ")
        stage.listen(0.4)
        stage.type(1, "jobwire work report --worker-id print-1 -- ./render.sh")
        stage.await_text(1, "drains")
        stage.listen(0.4)
        stage.type(2, """jobwire run report -d '"October"'""")
        stage.await_text(2, r" [3-6]0 %")
        stage.kill(0)
        stage.listen(0.8)
        stage.type(0, "jobwire dev")
        stage.await_text(0, r"\nready ")
        stage.await_text(2, r"\{.*pages")
        stage.listen(1.0)
        return stage.record


def paced(record: Sequence[Chunk]) -> Iterator[Chunk]:
    """The same, from 0 on, with long pauses shortened."""
    now = before = record[0].seconds
    shown = 0.0
    for chunk in record:
        now = chunk.seconds
        shown += min(now - before, _LONGEST_PAUSE)
        before = now
        yield chunk._replace(seconds=shown)


def main(arguments: Sequence[str]) -> int:
    """Run the program; return its exit code."""
    target = Path(arguments[0]) if arguments else PICTURE
    with tempfile.TemporaryDirectory() as folder:
        chunks = list(paced(play(Path(folder))))
    frames = [Frame(chunk.seconds, chunk.pane, chunk.data) for chunk in chunks]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render([Pane(*title) for title in TITLES], frames, columns=COLUMNS), encoding="utf-8")
    print(f"{os.path.relpath(target)}: {target.stat().st_size // 1024} KiB, {chunks[-1].seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
