"""Judges programs: runs points, a few at once, and tells of each in the order of the table."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from jobwire._ambient import Ambient
from jobwire.conformance.processes import Server, ServerBroken
from jobwire.conformance.stage import Commands, Deviation, Stage, opened
from jobwire.conformance.table import POINTS, Point, Subject

_SHOWN_LINES: Final = 12
_PROBE_SECONDS: Final = 60.0
"""How long a worker may take to its first call: it may be compiled first."""
_UNARY_SHARE: Final = 10
"""A unary worker gets one job where a stream would get so many: each costs it several calls."""


class Verdict(StrEnum):
    """What became of a point."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


class Finding(NamedTuple):
    """The judgement of one point."""

    point: Point
    verdict: Verdict
    seconds: float = 0.0
    expected: str = ""
    """What a failed point expected."""
    seen: str = ""
    """What came instead."""
    output: Sequence[str] = ()
    """What the program wrote last, when the point failed."""


class Plan(NamedTuple):
    """What to judge, and how."""

    commands: Commands
    points: Sequence[Point]
    jobs: int
    """How many jobs the points about many jobs submit."""
    parallel: int
    """Most points at once."""


class NeverCalled(Exception):
    """The worker did not call the server at all, so there is nothing to judge."""

    def __init__(self, seen: str, output: Sequence[str]) -> None:
        super().__init__(f"The worker never called the server: {seen}.")
        self.seen = seen
        self.output = output


def chosen(commands: Commands, *, names: Sequence[str], fast: bool) -> Sequence[Point]:
    """The points for these programs: those of `names` when there are any, else all, or the slice for CI."""
    asked = {Subject.WORKER: commands.worker is not None, Subject.SUBMITTER: commands.submitter is not None}
    ours = [point for point in POINTS if asked[point.subject]]
    if names:
        return [point for point in ours if point.name in names]
    return [point for point in ours if point.is_fast or not fast]


async def certify(plan: Plan, told: Callable[[Finding], None], ambient: Ambient) -> Sequence[Finding]:
    """Judge every point; `told` hears of each as soon as those before it are known.

    Raises `NeverCalled`, `ServerBroken` when the private server is at fault, and BrokenPipeError when `told` does.
    """
    broken: BaseException
    try:
        return await _certify(plan, told, ambient)
    except* (NeverCalled, ServerBroken, BrokenPipeError) as errors:
        broken = _first(errors)
    raise broken


async def _certify(plan: Plan, told: Callable[[Finding], None], ambient: Ambient) -> Sequence[Finding]:
    findings: list[Finding] = []
    async with _Bench(plan, ambient) as bench:
        if any(point.subject is Subject.WORKER for point in plan.points):
            await bench.probe()
        turns = asyncio.Semaphore(plan.parallel)
        async with asyncio.TaskGroup() as tasks:
            for task in [tasks.create_task(_in_turn(bench, point, turns)) for point in plan.points]:
                finding = await task
                findings.append(finding)
                told(finding)
    return findings


async def _in_turn(bench: _Bench, point: Point, turns: asyncio.Semaphore) -> Finding:
    if point.only_waits:
        return await bench.judge(point)
    async with turns:
        return await bench.judge(point)


class _Bench:
    """What the points of one run share: a folder, and a server for all that do not need one of their own."""

    def __init__(self, plan: Plan, ambient: Ambient) -> None:
        self._plan = plan
        self._ambient = ambient
        self._undo = AsyncExitStack()
        self._uses_stream = True

    async def __aenter__(self) -> Self:
        folder = self._undo.enter_context(tempfile.TemporaryDirectory(prefix="jobwire-"))
        self._folder = Path(folder)
        self._tasks = await self._undo.enter_async_context(asyncio.TaskGroup())
        try:
            self._server = await self._serve(self._undo, "shared")
        except BaseException:
            await self._undo.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._undo.__aexit__(kind, error, trace)

    async def probe(self) -> None:
        """Start the worker once, to see whether it calls at all, and by which path. Raises `NeverCalled`."""
        stage: Stage | None = None
        found: Deviation | None = None
        try:
            async with self._stage("probe", self._server) as stage:
                await stage.start_worker(within=_PROBE_SECONDS)
                self._uses_stream = stage.uses_stream
        except* Deviation as errors:
            found = _deviation(errors, stage)
        if found is not None:
            raise NeverCalled(found.seen, _last_lines(stage))

    async def judge(self, point: Point) -> Finding:
        """Judge one point."""
        if point.is_about_stream and not self._uses_stream:
            return Finding(point, Verdict.NOT_APPLICABLE)
        began = self._ambient.clock.monotonic()
        found, output = await self._deviation_of(point)
        seconds = self._ambient.clock.monotonic() - began
        if found is None:
            return Finding(point, Verdict.PASSED, seconds)
        return Finding(point, Verdict.FAILED, seconds, found.expected, found.seen, output)

    async def _deviation_of(self, point: Point) -> tuple[Deviation | None, Sequence[str]]:
        stage: Stage | None = None
        found: Deviation | None = None
        try:
            async with AsyncExitStack() as undo, asyncio.timeout(point.seconds):
                server = await self._serve(undo, point.name) if point.ends_server else self._server
                async with self._stage(point.name, server) as stage:
                    await point.judge(stage)
                    await stage.audit()
        except* (TimeoutError, Deviation) as errors:
            found = _deviation(errors, stage)
        return found, _last_lines(stage)

    async def _serve(self, undo: AsyncExitStack, name: str) -> Server:
        folder = self._folder / name  # short: its socket has 100 characters for all of its path
        folder.mkdir()
        server = Server(folder, self._tasks)
        undo.push_async_callback(server.destroy)
        await server.start()
        return server

    def _stage(self, name: str, server: Server) -> AbstractAsyncContextManager[Stage]:
        jobs = self._plan.jobs if self._uses_stream else max(1, self._plan.jobs // _UNARY_SHARE)
        return opened(name=name, commands=self._plan.commands, server=server, jobs=jobs, ambient=self._ambient)


def _deviation(errors: BaseExceptionGroup[BaseException], stage: Stage | None) -> Deviation:
    """The deviation among errors. A deadline that was reached is one, too: what was waited for did not come."""
    deviations = errors.subgroup(Deviation)
    if deviations is not None:
        first = _first(deviations)
        assert isinstance(first, Deviation)
        return first
    if stage is None:
        return Deviation("the private server is ready in time", "it was not")
    return stage.deviation()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group, however deep it lies."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _last_lines(stage: Stage | None) -> Sequence[str]:
    return list(stage.program.lines)[-_SHOWN_LINES:] if stage is not None and stage.program is not None else ()
