"""Filling a store with a backlog, through the store itself."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import uuid_utils

from jobwire_server.domain.job import Content, NewJob
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import Submission
from jobwire_server.store.sqlite.store import SqliteStore

BATCH_JOBS = 4_000
BATCH_BYTES = 4 << 20


def preload(path: Path, jobs: int, job_type: str, *, payload_bytes: int = 100) -> Path:
    """Add `jobs` PENDING jobs of a type; returns the path."""
    asyncio.run(_preload(path, jobs, job_type, Content(b"x" * payload_bytes, is_text=True)))
    return path


async def _preload(path: Path, jobs: int, job_type: str, payload: Content) -> None:
    store = SqliteStore(path, clock=SystemClock(), chance=random.random)
    await store.open()
    step = min(BATCH_JOBS, BATCH_BYTES // len(payload.data))
    for first in range(0, jobs, step):
        size = min(step, jobs - first)
        batch = [NewJob(str(uuid_utils.uuid7()), False, job_type, payload=payload) for _ in range(size)]
        await store.submit(Submission("default", batch, atomic=True))
    await store.close()
