"""A load balancer of the simplest kind: a new connection goes to one of the servers in it, in turn, and stays there."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Balancer:
    """Listens on a port of loopback (`async with`); `add` and `remove` say which servers get new connections."""

    def __init__(self) -> None:
        self.address = ""
        self._servers: list[str] = []
        self._turn = 0
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Balancer:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._listener.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def add(self, address: str) -> None:
        """This server is ready."""
        self._servers.append(address)

    def remove(self, address: str) -> None:
        """This server gets no new connections; those that it has stay."""
        self._servers.remove(address)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            self._turn += 1
            host, port = self._servers[self._turn % len(self._servers)].rsplit(":", 1)
            behind, before = await asyncio.open_connection(host, int(port))
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, before))
                both.create_task(_pass_on(behind, writer))
        except* OSError:
            writer.close()
        finally:
            self._connections.discard(task)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except OSError:
        pass  # the other direction sees the end, too
    finally:
        with suppress(OSError):
            target.close()
