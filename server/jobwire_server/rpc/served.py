"""What the services put on the wire."""

from __future__ import annotations

from typing import NamedTuple

from jobwire_server.dispatch.engine import Engine
from jobwire_server.jobs import Jobs
from jobwire_server.store.base import Store
from jobwire_server.watch.hub import WatchHub


class Served(NamedTuple):
    """The parts of a server that its services speak for."""

    jobs: Jobs
    hub: WatchHub
    store: Store
    engine: Engine
