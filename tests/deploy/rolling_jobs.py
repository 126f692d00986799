"""The app of the rolling update: each run writes a line."""

from __future__ import annotations

import asyncio
import os

from jobwire.app import App, JobContext

LOG_VARIABLE = "ROLLING_LOG"

app = App("rolling")


@app.job("work")
async def work(context: JobContext, n: int, ms: int) -> int:
    """Say who runs what, and take a while."""
    line = os.open(os.environ[LOG_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(line, f"{context.job_id} {context.attempt}\n".encode())
    finally:
        os.close(line)
    await asyncio.sleep(ms / 1000)
    return n
