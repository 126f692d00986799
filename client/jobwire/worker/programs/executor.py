"""Programs, each in a process of its own, for the runtime's slots."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import FileIO
from queue import SimpleQueue
from typing import cast

from jobwire.worker.clock import Clock
from jobwire.worker.context import JobContext
from jobwire.worker.executors.base import Post
from jobwire.worker.executors.child_process import child_environment
from jobwire.worker.programs.contract import End, facts_for, outcome_of
from jobwire.worker.programs.handler import Program
from jobwire.worker.programs.hearing import Output, Tail, Words, file_with, listen, pipe
from jobwire.worker.programs.launching import LauncherGone, Launching, NotStarted
from jobwire.worker.run import Event, Run, Sign
from jobwire.worker.text import bounded
from jobwire.worker.transport import Failure, Stopped

_log = logging.getLogger("jobwire.worker")

CLOSE_SECONDS = 10.0


class ProgramExecutor:
    """At most `limit` programs, each started and followed by a thread with a launcher of its own, which it keeps."""

    def __init__(self, *, limit: int, clock: Clock, post: Post, environment: Mapping[str, str] | None = None) -> None:
        self._limit = limit
        self._clock = clock
        self._post = post
        self._environment = child_environment(os.environ if environment is None else environment)
        self._queue: SimpleQueue[Run | None] = SimpleQueue()
        self._keepers: list[_Keeper] = []
        self._stuck = 0
        self._surplus = 0
        self._closed = False

    def start(self, runs: Sequence[Run]) -> None:
        """See `Executor`."""
        for run in runs:
            self._queue.put(run)
        if self._closed:
            return
        room = self._limit + self._stuck + self._surplus - len(self._keepers)
        for _ in range(min(len(runs), room)):
            keeper = _Keeper(self._queue, self._environment, self._clock, self._post)
            self._keepers.append(keeper)
            keeper.thread.start()

    def stop(self, run: Run) -> None:
        """See `Executor`: SIGTERM for the program and its group."""
        if isinstance(keeper := run.handle, _Keeper):
            keeper.signal(run, signal.SIGTERM)

    def kill(self, run: Run) -> bool:
        """See `Executor`: SIGKILL for the program and its group."""
        if isinstance(keeper := run.handle, _Keeper):
            keeper.signal(run, signal.SIGKILL)
        return True

    def give_up(self, run: Run) -> None:  # noqa: ARG002 (the seam's)
        """See `Executor`: even SIGKILL has to wait for a process that hangs in the kernel."""
        self._stuck += 1

    def returned(self, run: Run) -> None:  # noqa: ARG002 (the seam's)
        """See `Executor`."""
        self._stuck -= 1
        self._surplus += 1
        self._queue.put(None)

    async def close(self) -> None:
        """See `Executor`: running programs are killed."""
        self._closed = True
        for keeper in self._keepers:
            self._queue.put(None)
            keeper.signal(None, signal.SIGKILL)
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        for keeper in self._keepers:
            keeper.thread.join(CLOSE_SECONDS)


class _Keeper:
    """A thread that follows one program at a time."""

    def __init__(self, runs: SimpleQueue[Run | None], environment: Mapping[str, str], clock: Clock, post: Post) -> None:
        self._runs = runs
        self._environment = environment
        self._clock = clock
        self._post = post
        self._launching: Launching | None = None
        # For orders from the event loop. Never held while anything waits for a program.
        self._ordering = threading.Lock()
        self._run: Run | None = None
        self._has_program = False
        self._ordered: signal.Signals | None = None
        """The signal for a program that is not there yet."""
        self.thread = threading.Thread(target=self._work, name="jobwire-program-keeper", daemon=True)

    # On the event loop.

    def signal(self, run: Run | None, number: signal.Signals) -> None:
        """Signal the program of this run, as soon as there is one, if the run is here; None = whatever is here."""
        with self._ordering:
            if self._run is None or (run is not None and run is not self._run):
                return
            self._ordered = number
            if self._has_program and self._launching is not None:
                self._launching.signal(number)

    # On the keeper's thread.

    def _work(self) -> None:
        while (run := self._runs.get()) is not None:
            self._take(run)
            event = self._serve_safely(run)
            self._take(None)
            self._post((run, event))
        self._part()

    def _take(self, run: Run | None) -> None:
        with self._ordering:
            self._run, self._has_program, self._ordered = run, False, None
        if run is not None:
            run.handle = self

    def _serve_safely(self, run: Run) -> Event:
        job = run.assignment
        try:
            return Stopped(run.reason) if run.must_stop() else self._serve(run)
        except LauncherGone:
            _log.warning("The process that started the program of job %s (%s) died.", job.job_id, job.type)
            self._part()
            return Sign.DIED
        except Exception as error:  # noqa: BLE001 (a keeper must not die: a slot would die with it)
            _log.exception("The program of job %s (%s) cannot be followed.", job.job_id, job.type)
            self._part()
            return Failure("PROGRAM_NOT_STARTED", bounded(f"The program could not be run: {error}", 1024))

    def _serve(self, run: Run) -> Event:
        launching = self._launching or self._launch()
        argv, environment = cast("Program", run.handler).argv, self._environment_of(run)
        with ExitStack() as ours:
            pipes = [pipe() for _ in range(3)]
            readers = [ours.enter_context(reader) for reader, _ in pipes]
            with ExitStack() as theirs:  # closed when the program has them, or no pipe would ever be at its end
                files = [theirs.enter_context(file_with(run.assignment.payload))]
                files += [theirs.enter_context(writer) for _, writer in pipes]
                try:
                    launching.start(argv, environment, [file.fileno() for file in files])
                except NotStarted as error:
                    return Failure("PROGRAM_NOT_STARTED", f"The program {argv[0]!r} cannot be started: {error}.")
            return self._follow(run, launching, readers)

    def _follow(self, run: Run, launching: Launching, readers: Sequence[FileIO]) -> Event:
        with self._ordering:
            self._has_program = True
            if self._ordered is not None:  # while the program was starting
                launching.signal(self._ordered)
        output, errors, words = Output(), Tail(), Words(run, self._clock)
        code = listen(launching, dict(zip(readers, (output, errors, words), strict=True)))
        end = End(code, output.whole(), errors.tail())
        return outcome_of(end, run.reason if run.must_stop() else None)

    def _environment_of(self, run: Run) -> Mapping[str, str]:
        context, checkpoint = JobContext(run, self._clock), run.assignment.checkpoint
        try:
            return {**self._environment, **facts_for(context, checkpoint)}
        except ValueError as error:
            _log.warning("Job %s begins anew: its checkpoint is not for a program, %s.", context.job_id, error)
            return {**self._environment, **facts_for(context, None)}

    def _launch(self) -> Launching:
        launching = Launching()
        with self._ordering:
            self._launching = launching
        return launching

    def _part(self) -> None:
        with self._ordering:
            launching, self._launching = self._launching, None
        if launching is not None:
            launching.close()
