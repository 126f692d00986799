"""How the server's own pool turns the runtime's knobs."""

from __future__ import annotations

from typing import Final

from jobwire.worker.runtime import RuntimeSettings
from jobwire.worker.slots import Patience
from jobwire_server.pool.lines import Plan

PATIENCE: Final = Patience(stop_seconds=0.6, drain_seconds=0.4)
"""Handlers that do not listen when the grace is over are given up soon enough to be gone 2 s after it."""
FLUSH_SECONDS: Final = 0.5
DRAIN_PATIENCE_SECONDS: Final = 2 * PATIENCE.stop_seconds + FLUSH_SECONDS
"""Longest that a drain takes after its grace (`WorkerRuntime.drain`)."""


def runtime_settings(plan: Plan) -> RuntimeSettings:
    """Settings of the runtime in the pool's process."""
    return RuntimeSettings(
        flush_seconds=FLUSH_SECONDS,
        patience=PATIENCE,
        max_jobs_per_child=plan.max_jobs_per_child or None,
        memory_bytes_per_child=plan.memory_per_child_bytes or None,
    )
