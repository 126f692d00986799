"""A worker process that starts one job in a child and waits to be killed: `doomed_worker TYPE PATH`."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.worker.child_jobs import app
from tests.worker.support import working


async def main() -> None:
    """Run until killed."""
    async with working(app, app_path="tests.worker.child_jobs:app") as worker:
        worker.server.offer(sys.argv[1], json.dumps(sys.argv[2]).encode())
        await asyncio.Event().wait()


asyncio.run(main())
