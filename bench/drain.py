"""A drain: a backlog of no-op jobs, who works it off, how fast, and what it costs each process."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from bench.process import Process, cpu_seconds, running
from bench.server import APP, serving, working

MARGIN: Final = 0.1
"""The first and the last tenth are not timed: there are no steady commits yet, and then no full frames any more."""
STALL_SECONDS: Final = 30
POLL_SECONDS: Final = 0.01
_ENDED: Final = """
SELECT count(*) FILTER (WHERE state = 5), count(*) FILTER (WHERE state BETWEEN 6 AND 8), max(revision)
FROM event WHERE revision > ?
"""

Groups = Mapping[str, Sequence[Process]]
"""Processes by the name under which their CPU time is told."""
Crew = Callable[[Path], AbstractContextManager[Groups]]
"""Starts a server on the store of a folder, and who works for it; all of them are there when the block begins."""


class Pace(NamedTuple):
    """What a drain did in its middle."""

    jobs_per_second: float
    cpu_seconds: Mapping[str, float]
    """Per 1,000 jobs, by group."""

    def __str__(self) -> str:
        costs = ", ".join(f"{name} {seconds:.4f}" for name, seconds in self.cpu_seconds.items())
        return f"{self.jobs_per_second:,.0f} jobs/s; CPU-s per 1,000 jobs: {costs}"


def by_worker(*, slots: int, workers: int = 1) -> Crew:
    """A server without handlers, and remote workers."""

    @contextmanager
    def crew(folder: Path) -> Iterator[Groups]:
        with serving(folder) as server, working(folder, server.address, slots=slots, workers=workers) as started:
            yield {"server": [server], "worker" if workers == 1 else f"{workers} workers": started}

    return crew


def by_pool(*, slots: int) -> Crew:
    """A server with handlers of its own, which run in its pool's process."""

    @contextmanager
    def crew(folder: Path) -> Iterator[Groups]:
        with serving(folder, "--app", APP, "--slots", str(slots)) as server:
            yield {"server": [server], "pool": server.descendants()}

    return crew


def by_command(name: str, command: Callable[[str], Sequence[str]]) -> Crew:
    """A server without handlers, and a process that works for the server at the address that `command` is given."""

    @contextmanager
    def crew(folder: Path) -> Iterator[Groups]:
        with serving(folder) as server, running(folder / "helper.log", *command(server.address)) as helper:
            yield {"server": [server], name: [helper]}

    return crew


def drain(folder: Path, backlog: Path, jobs: int, crew: Crew) -> Pace:
    """Have `jobs` jobs of a copy of the store `backlog` done by `crew`, and time the middle of them."""
    store = folder / "bench.db"
    shutil.copyfile(backlog, store)
    with store.open("rb") as copied:
        os.fsync(copied.fileno())  # nothing of the copy is left to be written under the drain's commits
    with crew(folder) as groups, closing(Ended(store)) as ended:
        begun = ended.count()
        margin = (jobs - begun) * MARGIN
        before = _moment(ended, begun + margin, groups)
        after = _moment(ended, jobs - margin, groups)
    for file in folder.glob("bench.db*"):
        file.unlink()
    return _pace(before, after)


def wait_for(count: Callable[[], int], jobs: float) -> int:
    """Wait until so many have been completed, as `count` tells; returns how many then. Raises RuntimeError when nothing
    happens any more."""
    seen, seen_at = count(), time.perf_counter()
    while seen < jobs:
        time.sleep(POLL_SECONDS)
        if (now := count()) > seen:
            seen, seen_at = now, time.perf_counter()
        elif time.perf_counter() - seen_at > STALL_SECONDS:
            raise RuntimeError(f"the drain stands still after {seen:,} jobs")
    return seen


class Ended:
    """Counts the jobs that have been completed, as the store's log tells it."""

    def __init__(self, store: Path) -> None:
        self._reader = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
        self._revision = 0
        self._count = 0

    def count(self) -> int:
        """Jobs completed since the beginning. Raises RuntimeError when one ended otherwise."""
        row = self._reader.execute(_ENDED, (self._revision,)).fetchone()
        assert row is not None
        completed, otherwise, revision = row
        if otherwise:
            raise RuntimeError(f"{otherwise} jobs failed: what was timed is not what was meant")
        self._revision = self._revision if revision is None else int(revision)
        self._count += int(completed)
        return self._count

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class _Moment(NamedTuple):
    seconds: float
    ended: int
    cpu_seconds: Mapping[str, float]


def _moment(ended: Ended, jobs: float, groups: Groups) -> _Moment:
    count = wait_for(ended.count, jobs)
    return _Moment(time.perf_counter(), count, {name: cpu_seconds(group) for name, group in groups.items()})


def _pace(before: _Moment, after: _Moment) -> Pace:
    jobs = after.ended - before.ended
    costs = {name: (after.cpu_seconds[name] - spent) / jobs * 1e3 for name, spent in before.cpu_seconds.items()}
    return Pace(jobs / (after.seconds - before.seconds), costs)
