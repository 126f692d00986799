"""A TCP proxy on loopback that does to connections what networks do: delay, freeze, cut, reset."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from typing import Final

CHUNK_BYTES: Final = 64 << 10
_RESET: Final = struct.pack("ii", 1, 0)


class Fault(StrEnum):
    """What happens to the connections of a proxy."""

    PASS = "pass"
    DELAY = "delay"
    """Every chunk takes a while, in both directions."""
    FREEZE = "freeze"
    """Nothing passes and nobody is told: both sides believe in the connection."""
    MUTE = "mute"
    """What clients say arrives; what they are answered does not."""
    CUT_REPLY = "cut reply"
    """The next words of a client are passed on; its connection ends before it is answered."""
    RESET = "reset"
    """Every connection is reset."""


class Proxy:
    """Stands between clients and one server. Faults hold for the connections that are open, and for new ones."""

    def __init__(self, target: str, *, delay_seconds: float = 0.1) -> None:
        """`target`: HOST:PORT. The server may go and come back there."""
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._delay_seconds = delay_seconds
        self._passing = asyncio.Event()
        self._answering = asyncio.Event()
        self._fault = Fault.PASS
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None
        self._came = asyncio.Condition()
        self.connections = 0
        """How many clients have connected so far."""
        self.address = ""

    @property
    def fault(self) -> Fault:
        """What happens now."""
        return self._fault

    async def open(self, host: str) -> None:
        """Listen on a port of `host`."""
        self.set(Fault.PASS)
        self._listener = await asyncio.start_server(self._serve, host, 0)
        self.address = f"{host}:{self._listener.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """End everything."""
        if self._listener is not None:
            self._listener.close()
        self.set(Fault.RESET)
        if tasks := [connection.task for connection in self._connections]:
            await asyncio.wait(tasks)

    async def connected_after(self, count: int) -> None:
        """Wait for another client than the first `count`."""
        async with self._came:
            await self._came.wait_for(lambda: self.connections > count)

    def set(self, fault: Fault) -> None:
        """Have this fault from now on, until the next one."""
        self._fault = fault
        _open_if(self._passing, fault is not Fault.FREEZE)
        _open_if(self._answering, fault not in {Fault.FREEZE, Fault.MUTE, Fault.CUT_REPLY})
        if fault is Fault.RESET:
            for connection in list(self._connections):
                connection.reset()
            self.set(Fault.PASS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(task, writer)
        self._connections.add(connection)
        try:
            async with self._came:
                self.connections += 1
                self._came.notify_all()
            await self._passing.wait()
            upstream = await asyncio.open_connection(*self._target)
            connection.ends.append(upstream[1])
            pumps = [
                asyncio.create_task(self._pump(reader, upstream[1], self._passing, connection)),
                asyncio.create_task(self._pump(upstream[0], writer, self._answering, None)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the server is not there: neither are we
        finally:
            self._connections.discard(connection)
            connection.close()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        gate: asyncio.Event,
        of_client: _Connection | None,
    ) -> None:
        """Carry bytes one way until it ends."""
        with suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                await gate.wait()
                if self._fault is Fault.DELAY:
                    await asyncio.sleep(self._delay_seconds)
                target.write(data)
                await target.drain()
                if of_client is not None and self._fault is Fault.CUT_REPLY:
                    return


class _Connection:
    """Both ends of one connection."""

    def __init__(self, task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        self.task = task
        self.ends = [writer]

    def reset(self) -> None:
        """End it with a reset both ways, not with a goodbye."""
        for connected in self._sockets():
            with suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for end in self.ends:
            end.transport.abort()

    def close(self) -> None:
        """End it; what was passed on still arrives."""
        for end in self.ends:
            end.close()

    def _sockets(self) -> Iterator[socket.socket]:
        for end in self.ends:
            connected = end.get_extra_info("socket")
            if connected is not None:
                yield connected


def _open_if(gate: asyncio.Event, is_open: bool) -> None:
    if is_open:
        gate.set()
    else:
        gate.clear()
