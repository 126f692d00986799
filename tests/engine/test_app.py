"""The composition root: what fails at start is undone, what fails later ends the server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jobwire_server.config import Command, load
from jobwire_server.dispatch.dispatcher import Dispatcher
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.kernel.telemetry import SilentLog
from jobwire_server.process import Ready, Server, StartFailed
from jobwire_server.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.asyncio


class World:
    """Servers of this process on one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ready: list[Ready] = []
        self.is_ready = asyncio.Event()

    def server(self, **flags: str) -> Server:
        flags = {"db": str(self.folder / "jobs.db"), "listen": f"unix:{self.folder}/s", **flags}
        return Server(
            load(Command.DEV, flags, {}, None), log=SilentLog(), failpoint=no_failpoint, on_ready=self._on_ready
        )

    def _on_ready(self, ready: Ready) -> None:
        self.ready.append(ready)
        self.is_ready.set()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_start_that_fails_late_releases_what_it_had_taken(world: World) -> None:
    (world.folder / "taken").mkdir()
    with pytest.raises(StartFailed, match="gRPC listener"):
        await world.server(listen=f"unix:{world.folder}/taken").run()

    # The lock of the file would refuse a second server.
    running = asyncio.create_task(world.server().run())
    await world.is_ready.wait()
    running.cancel()
    await asyncio.wait((running,))

    assert len(world.ready) == 1


async def test_a_part_that_fails_ends_the_server_with_1(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fail = asyncio.Event()

    async def broken(dispatcher: Dispatcher) -> None:
        await fail.wait()
        raise AttributeError("a bug")

    monkeypatch.setattr(Dispatcher, "run", broken)
    running = asyncio.create_task(world.server().run())
    await world.is_ready.wait()
    assert not running.done()

    fail.set()

    assert await running == 1


async def test_a_store_that_failed_for_good_ends_the_server_with_1(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[SqliteStore] = []
    really = SqliteStore.open

    async def seen(store: SqliteStore) -> object:
        stores.append(store)
        return await really(store)

    monkeypatch.setattr(SqliteStore, "open", seen)
    running = asyncio.create_task(world.server().run())
    await world.is_ready.wait()

    stores[0]._die(OSError("the disk is gone"))

    assert await running == 1
