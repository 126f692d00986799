"""A web application on a real HTTP server, and a browser's side of Server-Sent Events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvicorn


@asynccontextmanager
async def serving(app: Any, socket: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application on a Unix socket, on this loop; yields a client for it."""
    server = uvicorn.Server(uvicorn.Config(app, uds=str(socket), log_level="warning", lifespan="on"))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server.serve())
        while not server.started:
            if task.done():
                raise AssertionError("the application did not start")
            await asyncio.sleep(0.001)  # uvicorn tells nobody
        async with browser(socket) as client:
            yield client
        server.should_exit = True


@asynccontextmanager
async def browser(socket: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps cookies."""
    transport = httpx.AsyncHTTPTransport(uds=str(socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://web", timeout=50) as client:
        yield client


class Event(NamedTuple):
    """One Server-Sent Event."""

    kind: str
    id: str
    data: Any


@asynccontextmanager
async def event_source(
    client: httpx.AsyncClient, path: str, last_event_id: str | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    """Open a stream as EventSource does; yields its events, pings left out."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    async with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, response.status_code
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response)


async def _events(response: httpx.Response) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
        fields = {}
