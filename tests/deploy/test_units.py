"""The units of `deploy/systemd`, and what a server tells the service manager that started it."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.helpers.processes import JOBWIRE, REPOSITORY, ServerProcess

UNITS = sorted((REPOSITORY / "deploy" / "systemd").glob("*.service"))


class Manager:
    """A socket on which a service manager listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(30)

    async def hears(self) -> list[str]:
        """The lines of the next message."""
        return (await asyncio.to_thread(self._socket.recv, 4096)).decode().split("\n")

    def close(self) -> None:
        self._socket.close()


@pytest.mark.asyncio
async def test_a_service_manager_is_told_when_calls_are_served_and_when_the_drain_begins(tmp_path: Path) -> None:
    manager = Manager(tmp_path / "notify")
    server = ServerProcess(
        ["dev", "--db", str(tmp_path / "jobs.db"), "--listen", f"unix:{tmp_path}/s"],
        environment={"NOTIFY_SOCKET": str(manager.path)},
    )
    try:
        assert await manager.hears() == ["READY=1", f"STATUS=ready unix:{tmp_path}/s"]
        health = [*JOBWIRE, "health", "--address", f"unix:{tmp_path}/s"]
        await asyncio.to_thread(subprocess.run, health, check=True, capture_output=True)
        server.send(signal.SIGTERM)
        assert (await manager.hears())[0] == "STOPPING=1"
        assert await server.wait(30) == 0
    finally:
        await server.destroy()
        manager.close()


@pytest.mark.asyncio
async def test_a_manager_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    server = ServerProcess(
        ["dev", "--memory", "--listen", f"unix:{tmp_path}/s"], environment={"NOTIFY_SOCKET": str(tmp_path / "gone")}
    )
    try:
        await server.expect_ready()
    finally:
        await server.destroy()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    text = unit.read_text().replace("/usr/local/bin/jobwire", JOBWIRE[0])
    copy = tmp_path / unit.name.replace("@", "@jobs")
    copy.write_text(text)
    ran = subprocess.run([verify, "verify", str(copy)], capture_output=True, text=True, check=False)
    complaints = [line for line in ran.stderr.splitlines() if unit.name.split("@")[0].split(".")[0] in line]
    assert complaints == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_stops_later_than_the_grace_and_starts_a_command_that_exists(unit: Path) -> None:
    text = unit.read_text()
    [command] = re.findall(r"^ExecStart=/usr/local/bin/jobwire (\w+)", text, re.MULTILINE)
    assert subprocess.run([*JOBWIRE, command, "--help"], capture_output=True, check=False).returncode == 0
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(seconds) > 30, "the default grace"
