"""Filling a store with a backlog, through the store itself (not synced: only what is measured afterwards counts)."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import uuid_utils

from jobwire_server.domain.job import Content, NewJob
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.store.base import Submission
from jobwire_server.store.sqlite.store import SqliteStore

BATCH = 4_000


def preload(path: Path, jobs: int, job_type: str) -> None:
    """Add `jobs` PENDING jobs of a type."""
    asyncio.run(_preload(path, jobs, job_type))


async def _preload(path: Path, jobs: int, job_type: str) -> None:
    store = SqliteStore(path, clock=SystemClock(), chance=random.random)
    await store.open()
    payload = Content(b"x" * 100, is_text=True)
    for first in range(0, jobs, BATCH):
        size = min(BATCH, jobs - first)
        batch = [NewJob(str(uuid_utils.uuid7()), False, job_type, payload=payload) for _ in range(size)]
        await store.submit(Submission("default", batch, atomic=True))
    await store.close()
