"""Running the command line in this process, against a scripted server."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jobwire.cli import main
from tests.cli.scripted import ScriptedServer, Service


class Ran(NamedTuple):
    """What a command did."""

    exit_code: int
    stdout: str
    stderr: str
    raw: bytes


Jobwire = Callable[..., Ran]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ScriptedServer]:
    with ScriptedServer(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a terminal remembers out of the home of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def service(server: ScriptedServer) -> Service:
    return server.service


@pytest.fixture
def jobwire(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Jobwire:
    """Run `jobwire ...` with the scripted server as the default address; stdin may be given."""
    monkeypatch.setenv("JOBWIRE_ADDRESS", server.address)
    for name in ("NO_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)

    def run(line: str, *, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        exit_code = main(shlex.split(line))
        captured = capsysbinary.readouterr()
        return Ran(exit_code, captured.out.decode(errors="replace"), captured.err.decode(), captured.out)

    return run
