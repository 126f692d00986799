"""docs/tutorials/fastapi-progress.md, followed: its files, its commands, a browser, a kill -9 in the middle."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.helpers.processes import REPOSITORY
from tests.integrations.web import Event, browser, event_source

PAGE = (REPOSITORY / "docs/tutorials/fastapi-progress.md").read_text(encoding="utf-8")
_FILE = re.compile(r"^```\w+\n(?:# |<!-- )([\w.]+)(?: -->)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def files_of(page: str) -> dict[str, str]:
    """The files that the page says to write."""
    return dict(_FILE.findall(page))


def commands_of(page: str) -> list[str]:
    """The commands that the page says to type."""
    return re.findall(r"^\$ (.*)$", page, re.MULTILINE)


@asynccontextmanager
async def typed(command: str, folder: Path, ready: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Type a command that goes on, as the page says it; ended in the end."""
    program, *arguments = shlex.split(command)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBWIRE_")} | {
        "JOBWIRE_LISTEN": f"unix:{folder}/jobs",
        "JOBWIRE_ADDRESS": f"unix:{folder}/jobs",
        "UVICORN_UDS": f"{folder}/web",
    }
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name(program)), *arguments, cwd=folder, env=environment,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said = b""
    try:
        assert process.stderr is not None
        while ready.encode() not in said:
            line = await process.stderr.readline()
            assert line, f"{command!r} ended:\n{said.decode()}"
            said += line
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.communicate()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_bar_moves_and_goes_on_after_a_kill_of_the_server(folder: Path) -> None:
    for name, text in files_of(PAGE).items():
        (folder / name).write_text(text, encoding="utf-8")
    start_server, start_web, _, start_again = commands_of(PAGE)
    seen: list[Event] = []

    async with (
        typed(start_web, folder, "startup complete"),
        browser(folder / "web") as user,
        browser(folder / "web") as stranger,
        typed(start_server, folder, "ready ") as server,
    ):
        page = await user.get("/")
        assert "EventSource" in page.text
        made = (await user.post("/reports", json={"month": "2026-10"})).json()
        await stranger.get("/")
        assert (await stranger.get(f"/jobs/{made['id']}")).status_code == 404
        async with event_source(user, made["events"]) as events:
            while not seen or (seen[-1].data["progress"] or 0) < 10:
                seen.append(await anext(events))
            server.kill()
            await server.wait()
            async with typed(start_again, folder, "ready "):
                seen += [event async for event in events]

    ended = seen[-1]
    assert (ended.kind, ended.data["state"], ended.data["attempt"]) == ("end", "COMPLETED", 2)
    assert ended.data["result"] == {"month": "2026-10", "pages": 40}
    second = [event.data["progress"] for event in seen if event.data["attempt"] == 2 and event.data["progress"]]
    assert second, "the second attempt showed its progress"
    assert second[0] > 5, "the second attempt began anew"


@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_button_cancels(folder: Path) -> None:
    for name, text in files_of(PAGE).items():
        (folder / name).write_text(text, encoding="utf-8")
    start_server, start_web, *_ = commands_of(PAGE)
    async with (
        typed(start_server, folder, "ready "),
        typed(start_web, folder, "startup complete"),
        browser(folder / "web") as user,
    ):
        await user.get("/")
        made = (await user.post("/reports", json={"month": "2026-10"})).json()
        async with event_source(user, made["events"]) as events:
            while (await anext(events)).data["state"] != "PROCESSING":
                pass
            assert (await user.post(f"/jobs/{made['id']}/cancel")).status_code == 202
            rest = [event async for event in events]
    assert (rest[-1].kind, rest[-1].data["state"]) == ("end", "CANCELLED")
