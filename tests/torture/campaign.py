"""One campaign: a server that dies and comes back on the same file and address, its clients, and what remains of it."""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from jobwire.v1 import admin_service_pb2, admin_service_pb2_grpc, job_pb2, job_service_pb2, job_service_pb2_grpc
from jobwire_server.domain.job import TERMINAL_STATES, State
from tests.helpers.checker import Violation, check
from tests.helpers.evidence import Evidence
from tests.helpers.history import LateWrite, Recorder, read_answers, read_calls, read_effects
from tests.helpers.image import Image, integrity, read_image
from tests.helpers.processes import JOBWIRE, ServerProcess
from tests.torture.clients import (
    JOB_TYPES,
    RECONNECT_AT_ONCE,
    WIRE_TYPES,
    Follower,
    Journal,
    Known,
    Meddler,
    Submitter,
    Usurper,
    Watcher,
)
from tests.torture.handlers import EFFECTS_VARIABLE

FAILPOINTS_VARIABLE: Final = "JOBWIRE_FAILPOINTS"
END_SECONDS: Final = 60.0
"""Longest time in which everything must have ended once the killing is over."""
UNFINISHED: Final = [int(state) for state in State if state not in TERMINAL_STATES]


@dataclass
class Campaign:
    """Files, address and lives of one server."""

    folder: Path
    seed: int
    command: Sequence[str] = JOBWIRE
    options: Sequence[str] = ("--slots", "8", "--grace", "2s", "--cancel-grace", "1s")
    app: str | None = "tests.torture.handlers:app"
    """What the server's own pool runs; None = it has no pool."""
    lease_seconds: float | None = None
    """Leases of remote workers; None = there are none to be judged."""
    images: list[Image] = field(default_factory=list)
    windows: Counter[str] = field(default_factory=Counter)
    """How often the server was killed, and where."""
    unreleased: set[int] = field(default_factory=set)
    """Keys of jobs that a server could not give back in its grace."""
    address: str = field(default_factory=lambda: f"{own_loopback()}:0")
    server: ServerProcess | None = None
    disk: Path | None = None
    """Folder of the store, where it is not that of everything else."""
    drained: bool = True
    """Wait for all jobs to end before the end."""
    late_writes: list[LateWrite] = field(default_factory=list)
    deaf: bool = False
    """Workers are stopped or cut off for a while."""
    undisturbed: bool = False
    """Nobody disturbs remote workers, or their server."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.known = Known()
        self.recorder = Recorder(self.folder / "history.jsonl")

    @property
    def database(self) -> Path:
        """The store file."""
        return (self.disk or self.folder) / "jobs.db"

    @property
    def effects(self) -> Path:
        """The log that handlers write."""
        return self.folder / "effects.log"

    @property
    def answers(self) -> Path:
        """The log that remote workers write."""
        return self.folder / "answers.jsonl"

    # --- lives ------------------------------------------------------------------------------------------------------

    def spawn(self, failpoints: str = "", file_size_limit: int | None = None) -> ServerProcess:
        """Begin a life on the same file and address as the last one."""
        self.server = ServerProcess(
            ["serve", "--listen", self.address, "--db", str(self.database), *self._terms(), *self.options],
            command=self.command,
            environment={EFFECTS_VARIABLE: str(self.effects), FAILPOINTS_VARIABLE: failpoints},
            log=self.folder / "server.log",
            file_size_limit=file_size_limit,
        )
        return self.server

    def _terms(self) -> list[str]:
        app = [] if self.app is None else ["--app", self.app]
        return app if self.lease_seconds is None else [*app, "--lease", f"{self.lease_seconds:g}s"]

    async def start(self) -> ServerProcess:
        """Begin a life that is to get ready; the first one chooses the port for all."""
        server = self.spawn()
        self.address = await server.expect_ready()
        return server

    async def bury(self, server: ServerProcess, window: str) -> None:
        """The server is dead: count where, and keep what it left on disk."""
        await server.destroy()
        self.windows[window] += 1
        self.images.append(read_image(self.database))

    async def kill(self, server: ServerProcess, window: str) -> None:
        """End the life at once."""
        server.send(signal.SIGKILL)
        await self.bury(server, window)

    # --- clients ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A connection that comes back as soon as the server does."""
        async with grpc.aio.insecure_channel(self.address, options=[*RECONNECT_AT_ONCE]) as channel:
            yield channel

    def journal(self, name: str, channel: grpc.aio.Channel) -> Journal:
        """The pen of a client, with its own chance."""
        stub: Any = job_service_pb2_grpc.JobServiceStub(channel)
        return Journal(name, stub, self.recorder, random.Random(f"{self.seed} {name}"))

    @asynccontextmanager
    async def clients(
        self,
        *,
        submitters: int = 3,
        job_types: Sequence[str] = JOB_TYPES,
        longest_ms: int = 400,
        pace_seconds: float = 0.03,
        failing: float = 0.1,
        meddling: bool = True,
    ) -> AsyncIterator[None]:
        """Clients of all kinds at work (without `meddling`: those that submit and watch).

        On the way out they finish, and every job and watch comes to its end.
        """
        stop = asyncio.Event()
        async with self.channel() as one, self.channel() as two, asyncio.TaskGroup() as tasks:
            workers = [
                Submitter(
                    self.journal(f"submitter-{n}", one), self.known, stop, job_types=job_types, longest_ms=longest_ms,
                    pace_seconds=pace_seconds, failing=failing,
                )
                for n in range(submitters)
            ]  # fmt: skip
            meddlers = [
                Meddler(self.journal("meddler", one), self.known, stop),
                Usurper(self.journal("usurper", one), stop, job_types=[each for each in job_types if each != "snoozy"]),
            ]
            others = [
                *(meddlers if meddling else ()),
                Follower(self.journal("follower-0", two), self.known, stop),
                Follower(self.journal("follower-1", two), self.known, stop),
            ]
            watchers = [
                Watcher(self.journal(f"watcher-{n}", two), f"watcher-{n}", types, cut_chance)
                for n, (types, cut_chance) in enumerate([((), 0.0), ((), 0.05), (("thread", "child"), 0.02)])
            ]
            finite = [tasks.create_task(client.run()) for client in [*workers, *others]]
            endless = [tasks.create_task(watcher.run()) for watcher in watchers]
            try:
                yield
                stop.set()
                async with asyncio.timeout(END_SECONDS):
                    await asyncio.wait(finite)
                    await self._end(one, watchers)
            finally:
                for task in [*finite, *endless]:
                    task.cancel()

    async def _end(self, channel: grpc.aio.Channel, watchers: Sequence[Watcher]) -> None:
        if self.drained:
            await wait_until_all_ended(channel)
        admin: Any = admin_service_pb2_grpc.AdminServiceStub(channel)
        info = await admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest(), timeout=10)
        for watcher in watchers:
            await watcher.caught_up(info.server_info.current.revision)

    # --- the end ----------------------------------------------------------------------------------------------------

    async def finish(self, server: ServerProcess) -> int | None:
        """End the last life in good order; returns its exit code."""
        server.send(signal.SIGTERM)
        code = await server.wait(10)
        await self.bury(server, "none (SIGTERM at the end)")
        return code

    async def close(self) -> None:
        """Leave no process and no open file behind."""
        if self.server is not None:
            await self.server.destroy()
        self.recorder.close()

    def verdict(self) -> list[Violation]:
        """What the checker, and SQLite itself, have to say."""
        evidence = Evidence(
            calls=read_calls(self.folder / "history.jsonl"),
            images=self.images,
            effects=read_effects(self.effects),
            finished=self.drained,
            logged_types=frozenset({*JOB_TYPES, *WIRE_TYPES}),
            answers=read_answers(self.answers),
            late_writes=self.late_writes,
            lease_us=round((self.lease_seconds or 0) * 1_000_000),
            deaf=self.deaf,
            undisturbed=self.undisturbed,
        )
        complaint = integrity(self.database)
        broken = [] if complaint == "ok" else [Violation("the file is whole", complaint)]
        return [*broken, *check(evidence)]

    def report(self) -> str:
        """The kills by window, and how much happened."""
        final = self.images[-1]
        lines = [f"{count:6}  {window}" for window, count in sorted(self.windows.items())]
        states = Counter(State(row.state).name for row in final.rows.values())
        amounts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
        lines.append(f"{self.known.count} acknowledged, {len(final.events)} events, {amounts}")
        return "\n".join(lines)


async def wait_until_all_ended(channel: grpc.aio.Channel) -> None:
    """Wait, by long polls, until no job is left that waits or runs."""
    stub: Any = job_service_pb2_grpc.JobServiceStub(channel)
    unfinished: Any = job_pb2.JobFilter(states=UNFINISHED)  # type: ignore[arg-type]
    while True:
        page = await stub.ListJobs(job_service_pb2.ListJobsRequest(filter=unfinished, page_size=1), timeout=10)
        if not page.jobs:
            return
        job = page.jobs[0]
        wait = job_service_pb2.GetJobRequest(
            job_id=job.job_id, view=job_pb2.JOB_VIEW_BASIC, wait_revision=job.status.revision
        )
        try:
            await stub.GetJob(wait, timeout=END_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise


def own_loopback() -> str:
    """An address of loopback for one campaign alone: while its server is down, nobody else may get its port."""
    return f"127.{secrets.randbelow(254) + 1}.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}"


def environment_number(environment: Mapping[str, str], name: str, default: int) -> int:
    """Read a number that the command line of make may have left empty."""
    return int(environment.get(name) or default)
