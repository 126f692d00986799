"""Somebody who does what a page says, in an empty folder with a home of its own, and sees whether it happens.

- A `console` block is typed into a terminal. Each line below a `$` command must appear in its output, in that order
  (… is anything). A command that fails must be expected to: its block shows an `error[…]` or asks for `$?`.
- An `sh` block is a script that has to end well.
- A `python` block is a program that has to end well; what stands behind `print(…)  # ` must be in its output.
- A block whose first line is a comment with the name of a file is that file.
- `jobwire dev`, `serve` and `work` go on while the page does, or until a line `^C`. A page that starts no server finds
  one.
- Blocks of other languages, and one below `<!-- not run: the reason -->`, are only read.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from tests.cli.terminal import Terminal, without_escapes

BIN: Final = Path(sys.executable).parent
_BLOCK: Final = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+) -->\n+)?^```(?P<language>\w+)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL
)
_FILE: Final = re.compile(r"(?:#|//) ([\w./-]+\.\w+)\n")
_ADDRESSES: Final = re.compile(r"\b(?:127\.0\.0\.1|localhost):7780\b")
_STAYS: Final[Mapping[str, str]] = {"jobwire dev": "ready", "jobwire serve": "ready", "jobwire work ": "worker "}
"""Commands that go on, and how the line begins that says that they are there."""
_ENDS: Final = re.compile(r" --(?:check|print)-config\b| --max-jobs\b| --help\b")
"""Flags with which they do not."""
_SERVERS: Final = ("jobwire dev", "jobwire serve")
_RUN: Final = ("console", "sh", "python")
_INTERRUPT: Final = "^C"


class Step(NamedTuple):
    """Something that the page says to do: a command with the lines it is said to print, a script, a program, a file."""

    kind: str
    """command, script, program or file."""
    text: str
    lines: tuple[str, ...] = ()
    name: str = ""
    """Of the file."""


def steps_of(page: str) -> Iterator[Step]:
    """What the page tells people to do, in order."""
    for block in _BLOCK.finditer(page):
        language, body = block["language"], block["body"]
        if block["reason"]:
            continue
        if (named := _FILE.match(body)) is not None:
            yield Step("file", body, name=named[1])
        elif language == "console":
            yield from _commands(body)
        elif language in _RUN:
            yield Step("script" if language == "sh" else "program", body)


def not_run(page: str) -> Iterator[tuple[str, str]]:
    """Blocks that would be run and are not: the reason that the page gives, and the block."""
    return ((block["reason"], block["body"]) for block in _BLOCK.finditer(page) if block["reason"])


def _commands(body: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        command = [lines.pop(0)]
        while command[-1].endswith("\\"):
            command.append(lines.pop(0))
        yield Step("command", "\n".join(command), tuple(line.strip() for line in lines if line.strip()))


class _Staying:
    """A command that goes on, with all that it has said."""

    def __init__(self, command: Sequence[str], folder: Path, environ: Mapping[str, str], ready: str) -> None:
        self._command = shlex.join(command)
        self._said: list[str] = []
        self._is_ready = threading.Event()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            text=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        self._listener = threading.Thread(target=self._listen, args=(ready,), daemon=True)
        self._listener.start()
        is_heard = self._is_ready.wait(timeout=30)
        if not any(line.startswith(ready) for line in self._said):
            self._process.kill()
            code = self._join()
            became = f"ended with {code}" if is_heard else "is not ready after 30 s"
            raise AssertionError(f"{self._command!r} {became}:\n{self.said}")

    @property
    def said(self) -> str:
        return "".join(self._said)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to end, and see that it ends well."""
        self._process.send_signal(number)
        code = self._join()
        assert code == 0, f"{self._command!r} ended with {code}:\n{self.said}"

    def _join(self) -> int:
        """Wait for its end and for the last that it says; return its exit code."""
        code = self._process.wait(timeout=30)
        self._listener.join(timeout=30)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code

    def _listen(self, ready: str) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line)
            if line.startswith(ready):
                self._is_ready.set()
        self._is_ready.set()


class Reader:
    """The reader of one page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "project"
        self._folder.mkdir()
        self._state = folder / "state.sh"
        self._code = 0
        self._address = f"127.0.0.1:{free_port()}"
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("JOBWIRE_", "XDG_"))},
            "HOME": str(folder),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "JOBWIRE_ADDRESS": self._address,
            "TERM": "xterm",
        }
        self._staying: dict[str, _Staying] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Workers first: they were started after their server.
        for command in reversed(list(self._staying)):
            self._staying.pop(command).end()

    def read(self, page: str) -> int:
        """Do all that the page says; return how many steps that were. Raises AssertionError when one goes otherwise."""
        steps = list(steps_of(page))
        needs = next((step for step in steps if step.kind != "file" and "jobwire" in step.text), None)
        if needs is not None and not (needs.text.startswith(_SERVERS) and not _ENDS.search(needs.text)):
            self._start("jobwire dev", ())
        for place, step in enumerate(steps):
            following = steps[place + 1].text if place + 1 < len(steps) else ""
            self._do(step, following)
        return len(steps)

    def _do(self, step: Step, following: str) -> None:
        text = _ADDRESSES.sub(self._address, step.text)
        lines = tuple(_ADDRESSES.sub(self._address, line) for line in step.lines)
        match step.kind:
            case "file":
                path = self._folder / step.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                path.chmod(0o755)
            case "program":
                self._program(text)
            case "script":
                code, shown = self._bash(f"set -euo pipefail\n{text}")
                assert code == 0, f"exit code {code}: {text}\n{shown}"
            case _ if text.startswith(tuple(_STAYS)) and not _ENDS.search(text):
                self._start(text, lines)
            case _:
                self._command(text, lines, following)

    def _program(self, text: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=self._folder, env=self._environ, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for promised in re.findall(r"print\(.*\) +# (.+)$", text, re.MULTILINE):
            assert promised in done.stdout, f"{promised!r} is not in:\n{done.stdout}"

    def _start(self, command: str, lines: tuple[str, ...]) -> None:
        if command.startswith(_SERVERS):
            for other in [other for other in self._staying if other.startswith(_SERVERS)]:
                self._staying.pop(other).end()
        words = shlex.split(command, comments=True)
        if command.startswith("jobwire dev") and "--port" not in words:
            words += ["--port", self._address.rpartition(":")[2]]
        if command.startswith("jobwire serve") and "--listen" not in words:
            words += ["--listen", self._address]
        ready = next(ready for kind, ready in _STAYS.items() if command.startswith(kind))
        started = _Staying(words, self._folder, self._environ, ready)
        before = lines[: lines.index(_INTERRUPT)] if _INTERRUPT in lines else lines
        assert_shows(started.said, before)
        if before is lines:
            self._staying[command] = started
            return
        started.end(signal.SIGINT)
        assert_shows(started.said, tuple(line for line in lines if line != _INTERRUPT))

    def _command(self, command: str, lines: tuple[str, ...], following: str) -> None:
        code, shown = self._bash(command)
        assert_shows(shown, lines)
        is_expected = code == 0 or following.startswith("echo $?") or any("error[" in line for line in lines)
        assert is_expected, f"exit code {code}, of which the page says nothing: {command}\n{shown}"

    def _bash(self, command: str) -> tuple[int, str]:
        """Run it on a terminal, with the variables and the exit code of the command before."""
        script = (
            f"[ -f {self._state} ] && . {self._state}; set -a\n"
            f"trap 'ended=$?; export -p | grep -v \" \\(SHLVL\\|_\\|ended\\)=\" > {self._state}; exit $ended' EXIT\n"
            f"(exit {self._code})\n{command}\n"
        )
        self._code, shown = Terminal(columns=200).run(["bash", "-c", script], self._environ, folder=self._folder)
        return self._code, without_escapes(shown)


def assert_shows(shown: str, lines: tuple[str, ...]) -> None:
    """Each line appears, in this order; … stands for anything within a line."""
    rest = shown.replace("\r", "\n").split("\n")
    for line in lines:
        pattern = ".*".join(r"\s+".join(map(re.escape, part.split())) for part in line.split("…"))
        found = next((place for place, text in enumerate(rest) if re.search(pattern, text)), None)
        assert found is not None, f"{line!r} does not follow in:\n{shown}"
        rest = rest[found + 1 :]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
