"""The server's own pool as one supervised process: spawned, never forked; started again with backoff when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from jobwire_server.domain.errors import JobwireError
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Backoff, Chance, wait_any
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.pool.base import PoolUnusable
from jobwire_server.pool.lines import LINE_BYTES, Plan, decode, encode
from jobwire_server.pool.settings import DRAIN_PATIENCE_SECONDS

RESTARTS: Final = Backoff(first_seconds=0.1, factor=2.0, max_seconds=30.0)
STEADY_SECONDS: Final = 30.0
"""A process that lived so long was a good one: the next restart comes soon again."""
Bury = Callable[[str], Awaitable[int]]
"""End the leases of a worker whose process is known to be dead; answers with their number."""


class ProcessPool:
    """Implements `Pool`. A death of the process costs each job that ran in it one lost lease, at once."""

    def __init__(
        self, plan: Plan, *, name: str, bury: Bury, clock: Clock, chance: Chance, log: Log, address: Callable[[], str]
    ) -> None:
        """`name`: worker_id of the pool. `address`: where the private listener is, once it is asked for."""
        self._plan = plan
        self._name = name
        self._bury = bury
        self._clock = clock
        self._chance = chance
        self._log = log
        self._address = address
        self._process: Process | None = None
        self._started_at = 0.0
        self._draining = asyncio.Event()
        self._trouble = ""

    # --- Pool -----------------------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """See `Pool`."""
        return self._trouble

    async def find_handlers(self) -> Sequence[str]:
        """See `Pool`."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "jobwire_server.pool.child",
            str(os.getpid()),
            stdin=PIPE,
            stdout=PIPE,
            limit=LINE_BYTES,
            # A process group of its own: Ctrl+C at the terminal is for the server alone, which then drains its pool.
            start_new_session=True,
        )
        self._started_at = self._clock.monotonic()
        self._tell(self._plan)
        types: Sequence[str] = (await self._hear("handlers"))["handlers"]
        return types

    async def connect(self) -> None:
        """See `Pool`."""
        self._tell({"connect": self._address(), "worker_id": self._name})
        await self._hear("connected")

    async def run(self) -> None:
        """See `Pool`."""
        failures = 0
        while True:
            code = await self._follow()
            if self._draining.is_set():
                return
            lived_seconds = self._clock.monotonic() - self._started_at
            failures = 1 if lived_seconds >= STEADY_SECONDS else failures + 1
            if failures == 1 or not self._trouble:  # one that could not be started has said more than its exit code
                self._trouble = f"Its process ended ({_exit_of(code)}), and will be started again."
            self._log.error(LogEvent.POOL_DIED, exit=_exit_of(code), lost=await self._lose_leases())
            pause = RESTARTS.after(failures) * (0.5 + 0.5 * self._chance())
            await wait_any(self._draining, seconds=pause, clock=self._clock)
            if self._draining.is_set():
                return
            try:
                await self.find_handlers()
                await self.connect()
            except PoolUnusable as error:
                self._trouble = str(error)
                self._log.error(LogEvent.POOL_UNUSABLE, error=str(error))
            else:
                self._trouble = ""
                self._log.info(LogEvent.POOL_RESTARTED, deaths=failures)

    async def drain(self, grace_seconds: float) -> None:
        """See `Pool`. Returns when the process is gone."""
        self._draining.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._tell({"drain": grace_seconds})
        patience_seconds = grace_seconds + DRAIN_PATIENCE_SECONDS
        gone = asyncio.Event()
        waiting = asyncio.get_running_loop().create_task(_set_when_over(process, gone), name="pool-end")
        await wait_any(gone, seconds=patience_seconds, clock=self._clock)
        if process.returncode is None:
            self._log.error(LogEvent.POOL_OVERDUE, seconds=patience_seconds)
            _kill(process)
        await waiting

    async def stop(self) -> None:
        """See `Pool`."""
        self._draining.set()
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                _kill(process)
            await process.wait()

    # --- the process ----------------------------------------------------------------------------------------------

    def _tell(self, message: dict[str, Any] | Plan) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.write(encode(message))

    async def _hear(self, wanted: str) -> dict[str, Any]:
        """Wait for an answer. Raises `PoolUnusable` with the process's own sentence, or with how it ended."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        async for line in process.stdout:
            message = decode(line)
            if wanted in message:
                return message
            if "broken" in message:
                await process.wait()
                raise PoolUnusable(message["broken"])
            self._note(message)
        code = await process.wait()
        raise PoolUnusable(
            f"The pool's process ended ({_exit_of(code)}) before it was ready. What it said stands in the log above."
        )

    async def _follow(self) -> int:
        """Listen to the process until it is over; returns its exit code."""
        process = self._process
        if process is None or process.stdout is None:
            return 0
        async for line in process.stdout:
            self._note(decode(line))
        return await process.wait()

    def _note(self, message: dict[str, Any]) -> None:
        if "health" in message:
            reason = message["health"]
            self._trouble = reason or ""
            write = self._log.info if reason is None else self._log.error
            write(LogEvent.POOL_HEALTH, healthy=reason is None, reason=reason)

    async def _lose_leases(self) -> int | None:
        try:
            return await self._bury(self._name)
        except JobwireError as error:
            # They end by time then.
            self._log.warning(LogEvent.RETURN_FAILED, error=str(error))
            return None


async def _set_when_over(process: Process, gone: asyncio.Event) -> None:
    await process.wait()
    gone.set()


def _kill(process: Process) -> None:
    """End the process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _exit_of(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
