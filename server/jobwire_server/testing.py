"""The engine of `jobwire.testing`: real services, one after another, in time that only their test moves.

A process of its own, with one event loop for all of gRPC. It is told what to do by lines of JSON on standard input,
answers each with a line on standard output, and ends when its input does, so that no engine outlives its tests:

| Line | What it does | Answer |
|---|---|---|
| `{"do": "begin"}` | ends the service there is, and starts one on an empty store | `address`, `now_us` |
| `{"do": "advance", "seconds": 600}` | lets time pass, and carries out what falls due meanwhile | `now_us` |
| `{"do": "fault", "kind": "slow", …}` | arranges for a fault: the fields of `rpc.faults.Fault` | |
| `{"do": "faults"}` | names the faults that have not happened | `left` |
| `{"do": "end"}` | ends the service | |

The store's time stands still between two `advance`; everything else (deadlines, heartbeats, drains) lives in real time.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TextIO

from jobwire.app import App
from jobwire_server.app import Service, StartFailed
from jobwire_server.config import Command, load
from jobwire_server.domain.errors import JobwireError
from jobwire_server.domain.job import SECOND_US
from jobwire_server.kernel.clock import Clock, SystemClock
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.kernel.loop import loop_factory
from jobwire_server.kernel.telemetry import LogFormat, LogLevel, make_log
from jobwire_server.process import SWITCH_INTERVAL_SECONDS
from jobwire_server.rpc.faults import Fault, FaultKind, Faults
from jobwire_server.rpc.shifting import Shifting
from jobwire_server.store.base import Store, Sweep

MAX_STEPS: Final = 24
"""`advance` goes in so many steps at most: what one sweep begins (a lease ends, a backoff starts) the next can end."""
MIN_STEP_US: Final = SECOND_US
SWEEP_JOBS: Final = 1_000


class StoreTime:
    """A clock for a store: it stands still until it is moved."""

    def __init__(self, system: Clock) -> None:
        self._system = system
        self._start_us = system.wall_us()
        self._moved_us = 0

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._moved_us / SECOND_US

    def wall_us(self) -> int:
        """See `Clock`."""
        return self._start_us + self._moved_us

    async def sleep(self, seconds: float) -> None:
        """See `Clock`. A store does not sleep."""
        raise AssertionError(f"nobody moves this clock while a store sleeps for {seconds} s")

    def move(self, microseconds: int) -> None:
        """Let time pass."""
        self._moved_us += microseconds

    def shift_us(self) -> int:
        """How far it is ahead of the machine's time; below 0 when it is behind."""
        return self.wall_us() - self._system.wall_us()


class ServerTime(SystemClock):
    """The clock of all else: seconds last as long as ever, and the time of day is the store's."""

    def __init__(self, store_time: StoreTime) -> None:
        self._store_time = store_time

    def wall_us(self) -> int:
        """See `Clock`."""
        return self._store_time.wall_us()


class Life:
    """One service, from an empty store to its end."""

    def __init__(self, on_broken: Callable[[str, BaseException], None]) -> None:
        self._time = StoreTime(SystemClock())
        self._undo = AsyncExitStack()
        self._folder = Path(tempfile.mkdtemp(prefix="jobwire-"))
        self._undo.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self.address = f"unix:{self._folder}/s"
        self.faults = Faults()
        self._service = Service(
            load(Command.DEV, {"memory": True, "listen": self.address, "grace": "1s", "drain_delay": "0s"}, {}, None),
            log=make_log(LogFormat.AUTO, LogLevel.ERROR),
            failpoint=no_failpoint,
            on_broken=on_broken,
            clock=ServerTime(self._time),
            store_clock=self._time,
            embedded=App("testing"),  # without handlers: the test brings its own
            interceptors=(self.faults, Shifting(self._time.shift_us)),
        )

    async def start(self) -> None:
        """Start as a server does. Raises `StartFailed`."""
        try:
            await self._service.start(self._undo)
        except BaseException:
            await self._undo.aclose()
            raise

    async def end(self) -> None:
        """End. Whoever still calls is told so, and not cut off without a word."""
        try:
            await self._service.drain()
        finally:
            await self._undo.aclose()

    @property
    def now_us(self) -> int:
        """The store's time."""
        return self._time.wall_us()

    async def advance(self, seconds: float) -> None:
        """Let time pass step by step, with all sweeps after each. The last ones find nothing more to do."""
        left_us = round(seconds * SECOND_US)
        step_us = max(MIN_STEP_US, -(-left_us // MAX_STEPS))
        while left_us > 0:
            self._time.move(min(step_us, left_us))
            left_us -= step_us
            await sweep(self._service.store)
        await sweep(self._service.store)


async def sweep(store: Store) -> None:
    """Carry out what is due by the store's time: ends of leases, due jobs, expiries, removals."""
    verbs: tuple[Callable[[], Awaitable[Sweep]], ...] = (
        lambda: store.expire_leases(limit=SWEEP_JOBS),
        lambda: store.promote_due(limit=SWEEP_JOBS),
        lambda: store.expire_jobs(limit=SWEEP_JOBS),
        lambda: store.purge(limit=SWEEP_JOBS),
    )
    for verb in verbs:
        while (await verb()).more:
            pass


class Engine:
    """Does what the lines say. One service lives, and the next one is ready before it is asked for."""

    def __init__(self) -> None:
        self._life: Life | None = None
        self._spare: asyncio.Task[Life] | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._broken: str | None = None

    async def run(self, lines: asyncio.StreamReader, answers: TextIO) -> None:
        """Answer line after line, until there are no more."""
        try:
            while line := await lines.readline():
                answers.write(json.dumps(await self._answer(json.loads(line))) + "\n")
                answers.flush()
        finally:
            await self._end_all()

    async def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            answer = await self._do(**request)
        except (StartFailed, JobwireError, ValueError, TypeError) as error:
            return {"error": str(error)}
        except Exception:  # noqa: BLE001 (the test is told what its engine died of)
            return {"error": traceback.format_exc()}
        return {"error": self._broken} if self._broken else answer

    async def _do(self, *, do: str, **fields: Any) -> Mapping[str, Any]:
        match do:
            case "begin":
                return await self._begin()
            case "advance":
                await self._living.advance(float(fields["seconds"]))
                return {"now_us": self._living.now_us}
            case "fault":
                kind, rpcs = FaultKind(fields.pop("kind")), tuple(fields.pop("rpcs", ()))
                self._living.faults.add(Fault(kind=kind, rpcs=rpcs, **fields))
                return {}
            case "faults":
                return {"left": self._living.faults.left()}
            case "end":
                self._retire()
                return {}
            case _:
                raise ValueError(f"An engine cannot {do!r}.")

    @property
    def _living(self) -> Life:
        if self._life is None:
            raise ValueError("No service lives: begin one first.")
        return self._life

    async def _begin(self) -> Mapping[str, Any]:
        self._retire()
        life = await (self._spare or self._new())
        self._spare = self._later(self._new(), "spare")
        self._life = life
        return {"address": life.address, "now_us": life.now_us}

    async def _new(self) -> Life:
        life = Life(self._break)
        await life.start()
        return life

    def _retire(self) -> None:
        """End the service that lives, behind the back of whoever asks for the next one."""
        life, self._life = self._life, None
        if life is not None:
            chore = self._later(life.end(), "retire")
            self._chores.add(chore)
            chore.add_done_callback(self._chores.discard)

    def _later(self, work: Any, name: str) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work, name=name)

    def _break(self, part: str, error: BaseException) -> None:
        self._broken = f"The engine's {part} failed: {error!r}"

    async def _end_all(self) -> None:
        self._retire()
        if self._spare is not None:
            await (await self._spare).end()
        if self._chores:
            await asyncio.wait(self._chores)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    try:
        await Engine().run(lines, sys.stdout)
    finally:
        transport.close()


def main() -> None:
    """Be an engine until standard input ends."""
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_SECONDS))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
