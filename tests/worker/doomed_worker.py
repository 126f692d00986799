"""A worker process that starts one job and waits to be killed.

`doomed_worker TYPE PATH` runs a job of `child_jobs` in a child, `doomed_worker -- PROGRAM ARGS` a program.
"""

from __future__ import annotations

import asyncio
import json
import sys

from jobwire.worker.programs.handler import Program
from tests.worker.child_jobs import app
from tests.worker.support import working


async def main(first: str, *rest: str) -> None:
    """Run until killed."""
    if first == "--":
        async with working({"it": Program(rest, type="it")}) as worker:
            worker.server.offer("it")
            await asyncio.Event().wait()
    async with working(app, app_path="tests.worker.child_jobs:app") as worker:
        worker.server.offer(first, json.dumps(rest[0]).encode())
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
