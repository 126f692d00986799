"""Starts the real server with one bug planted in it: `python -m tests.torture.plants.launcher PLANT serve …`.

Nothing of this is in the product: the bug is put in from outside, in the process that this module is the main of.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # as the command itself does, before gRPC is imported

from jobwire_server.cli import main
from tests.torture.plants import (
    acknowledge_before_commit,
    complete_without_a_fence,
    deaf_worker,
    recover_after_workers_start,
)

PLANTS: Final[Mapping[str, Callable[[], None]]] = {
    "acknowledge_before_commit": acknowledge_before_commit.plant,
    "complete_without_a_fence": complete_without_a_fence.plant,
    "deaf_worker": deaf_worker.plant,
    "recover_after_workers_start": recover_after_workers_start.plant,
}

if __name__ == "__main__":
    PLANTS[sys.argv.pop(1)]()
    sys.exit(main())
