"""The composition root: what a server is made of, in which order it starts, and how it ends.

Start (each step is logged with its duration; one that fails undoes those before it, in reverse):

    open store → migrate → recovery → dispatcher → worker pool (paused) → gRPC listener → first lease, SERVING

Stop, at the first SIGTERM or SIGINT: NOT_SERVING, watchers get their farewell → no more leases → running jobs finish,
or are given back without costing an attempt → calls end → sweeps, dispatcher, store. The second signal ends the
process on the spot: what was acknowledged is on disk, and recovery returns what was running.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from jobwire.worker.handler import Handler
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from jobwire_server.config import Command, Config
from jobwire_server.dispatch.dispatcher import Dispatcher
from jobwire_server.dispatch.settings import DispatchSettings
from jobwire_server.domain.job import SECOND_US
from jobwire_server.jobs import Jobs
from jobwire_server.kernel.clock import Clock, SystemClock
from jobwire_server.kernel.failpoint import Failpoint, Failpoints, no_failpoint
from jobwire_server.kernel.loop import Chance, background, wait_any
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.pool.apps import find_app
from jobwire_server.pool.builtin import builtin_app
from jobwire_server.pool.direct import DirectTransport
from jobwire_server.recovery import Recovery, RecoveryReport, RecoverySettings
from jobwire_server.scheduler import Scheduler, SweepSettings
from jobwire_server.store.sqlite.store import SqliteSettings, SqliteStore
from jobwire_server.watch.hub import WatchHub
