"""Starts a real process with one bug planted in it: `python -m tests.torture.plants.launcher PLANT serve …`.

Instead of `serve` there may be the name of a module, which is then the main one: a worker, say. A server hands its bug
on to the process of its own pool. Nothing of this is in the product: the bug is put in from outside.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # as the command itself does, before gRPC is imported

from jobwire_server.cli.main import main
from tests.torture.plants import (
    acknowledge_before_commit,
    beat_on_the_handlers_thread,
    complete_without_a_fence,
    deaf_worker,
    lease_before_commit,
    reclaim_by_id,
    recover_after_workers_start,
    write_stale_errors,
)

PLANTS: Final[Mapping[str, Callable[[], None]]] = {
    "acknowledge_before_commit": acknowledge_before_commit.plant,
    "beat_on_the_handlers_thread": beat_on_the_handlers_thread.plant,
    "complete_without_a_fence": complete_without_a_fence.plant,
    "deaf_worker": deaf_worker.plant,
    "lease_before_commit": lease_before_commit.plant,
    "reclaim_by_id": reclaim_by_id.plant,
    "recover_after_workers_start": recover_after_workers_start.plant,
    "write_stale_errors": write_stale_errors.plant,
}
LAUNCHER: Final = "tests.torture.plants.launcher"
POOL: Final = "jobwire_server.pool.child"


def hand_on(plant: str) -> None:
    """Have the pool's process start with the bug, too."""
    spawn: Callable[..., Any] = asyncio.create_subprocess_exec

    async def spawn_planted(*command: str, **options: Any) -> Any:
        words = [LAUNCHER, plant, POOL] if POOL in command else []
        return await spawn(*(each for word in command for each in (words if word == POOL else [word])), **options)

    asyncio.create_subprocess_exec = spawn_planted  # type: ignore[assignment]


def launch() -> int:
    """Put the bug in, and be what the command line says."""
    plant, program = sys.argv.pop(1), sys.argv[1]
    PLANTS[plant]()
    hand_on(plant)
    if program == "serve":
        return main()
    del sys.argv[0]
    runpy.run_module(program, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(launch())
