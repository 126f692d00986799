"""Handlers that the benchmarks run: `bench.app:app`."""

from __future__ import annotations

import time

from jobwire import App

app = App("bench")


@app.job("bench.noop")
async def noop(_payload: bytes) -> None:
    """Do nothing, whatever the payload."""


@app.job("bench.stamp")
async def stamp() -> int:
    """Return the moment of the handler's first line (CLOCK_MONOTONIC, the same in all processes of a machine)."""
    return time.monotonic_ns()
