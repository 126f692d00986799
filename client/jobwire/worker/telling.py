"""What a worker process says: that it is ready, and how each job ended. Never in the way of the worker itself."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from queue import Full, Queue
from types import MappingProxyType
from typing import Any, NamedTuple, TextIO

from jobwire._ambient import SystemClock
from jobwire.durations import span_text
from jobwire.settings import Settings
from jobwire.worker.handler import Handler
from jobwire.worker.observed import Ended
from jobwire.worker.process import Ears, WorkerSettings, log_to_stderr, run_worker
from jobwire.worker.transport import ANY_QUEUE, Failure, Release, Stopped, Success

_log = logging.getLogger("jobwire.worker")

MAX_WAITING_LINES = 10_000
"""Lines that nobody has read yet; beyond it they are dropped, and counted: a paused terminal must stop no worker."""
CLOSE_SECONDS = 1.0


class Lines:
    """Writes lines in a thread of its own, so that whoever writes them never waits for the reader."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: Queue[str | None] = Queue(MAX_WAITING_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._work, name="jobwire-lines", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Write a line, soon."""
        try:
            self._lines.put_nowait(line)
        except Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what is left, unless nobody reads it."""
        with contextlib.suppress(Full):
            self._lines.put(None, timeout=CLOSE_SECONDS)
        self._thread.join(CLOSE_SECONDS)
        if self._dropped and not self._thread.is_alive():
            _log.warning("%d lines were not written: nobody read them in time.", self._dropped)

    def _work(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the reader went away: the worker goes on without a word
            while (line := self._lines.get()) is not None:
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            self._stream.flush()
            return
        while self._lines.get() is not None:
            pass


class Word(NamedTuple):
    """Symbol, word and colour of an end; never colour alone."""

    symbol: str
    word: str
    colour: int


_WORDS: Mapping[str, Word] = MappingProxyType({
    "COMPLETED": Word("✓", "completed", 32),
    "FAILED": Word("✕", "failed", 31),
    "SNOOZED": Word("◷", "snoozed", 36),
    "RELEASED": Word("↺", "released", 33),
    "STOPPED": Word("⊘", "stopped", 35),
    "LOST": Word("⌀", "lost", 35),
})  # fmt: skip


def outcome_of(ended: Ended) -> str:
    """COMPLETED, FAILED (this attempt), SNOOZED, RELEASED, STOPPED or LOST."""
    match ended.outcome:
        case Success():
            return "COMPLETED"
        case Failure():
            return "FAILED"
        case Release(delay_seconds):
            return "SNOOZED" if delay_seconds else "RELEASED"
        case Stopped():
            return "STOPPED"
        case None:
            return "LOST"


def remark_of(ended: Ended) -> str:
    """One line about an end: the error, the reason, the size of the result."""
    match ended.outcome:
        case Success(result):
            return "" if result is None else size_text(len(result.data))
        case Failure():
            message = " ".join(ended.outcome.message.split())
            return f"{ended.outcome.error_type}: {message}" if message else ended.outcome.error_type
        case Release(delay_seconds, reason):
            return f"for {span_text(delay_seconds)}" if delay_seconds else reason
        case Stopped(reason):
            return reason
        case None:
            return "its lease is over: another worker may have it"


def size_text(size_bytes: int) -> str:
    """`18 B`, `1.5 kB`, `18 kB`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    kilobytes = size_bytes / 1000
    return f"{kilobytes:.1f} kB" if kilobytes < 10 else f"{kilobytes:.0f} kB"


def ready_line(worker_id: str, facts: Iterable[str]) -> str:
    """What a worker says when its server knows it."""
    return " · ".join([f"worker {worker_id}", *facts, "Ctrl+C drains"])


def facts_of(types: Iterable[str], settings: WorkerSettings, address: str) -> list[str]:
    """What is worth knowing of a worker."""
    names = sorted(types)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    queues = [f"{name}:{weight}" if weight != 1 else name for name, weight, _ in settings.queues]
    return [
        f"type {shown}" if len(names) == 1 else f"types {shown}",
        f"{settings.slots} slot" if settings.slots == 1 else f"{settings.slots} slots",
        "every queue" if queues == [ANY_QUEUE] else f"queues {', '.join(queues)}",
        address,
    ]


def line_for_people(ended: Ended, now: datetime, *, coloured: bool) -> str:
    """One end on a terminal."""
    job, look = ended.assignment, _WORDS[outcome_of(ended)]
    badge = f"{look.symbol} {look.word}"
    shown = f"\x1b[{look.colour}m{badge}\x1b[0m" if coloured else badge
    parts = [
        f"{now.astimezone():%H:%M:%S}", shown + " " * (11 - len(badge)), job.job_id, job.type,
        f"attempt {job.attempt}/{job.max_attempts}", span_text(ended.seconds), remark_of(ended),
    ]  # fmt: skip
    return "  ".join(part for part in parts if part)


def line_for_pipes(ended: Ended, now: datetime) -> str:
    """One end in a pipe: time, id, outcome, then `key=value`."""
    job = ended.assignment
    moment = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    pairs = [f"type={job.type}", f"attempt={job.attempt}/{job.max_attempts}", f"duration={span_text(ended.seconds)}"]
    match ended.outcome:
        case Success(result) if result is not None:
            pairs.append(f"bytes={len(result.data)}")
        case Failure():
            pairs.append(f"error={_quoted(remark_of(ended))}")
        case _:
            if remark := remark_of(ended):
                pairs.append(f"note={_quoted(remark)}")
    return " ".join([moment, job.job_id, outcome_of(ended), *pairs])


def document_of(ended: Ended) -> dict[str, Any]:
    """One end for programs."""
    job, outcome = ended.assignment, ended.outcome
    error = None
    if isinstance(outcome, Failure):
        error = {"type": outcome.error_type, "message": outcome.message, "retryable": outcome.retryable}
    return {
        "job_id": job.job_id,
        "type": job.type,
        "queue": job.queue,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "outcome": outcome_of(ended),
        "seconds": round(ended.seconds, 6),
        "error": error,
    }


def work_aloud(
    handlers: Mapping[str, Handler[..., Any]],
    connection: Settings,
    settings: WorkerSettings,
    *,
    app_path: str | None,
    quiet: bool,
) -> None:
    """Be a worker that says on stderr when it is ready and how each job ended: see `process.run_worker`."""
    log_to_stderr(logging.ERROR if quiet else logging.INFO)
    if quiet:
        run_worker(handlers, connection, settings, app_path=app_path)
        return
    stderr, clock = sys.stderr, SystemClock()
    is_terminal, coloured = stderr.isatty(), stderr.isatty() and not os.environ.get("NO_COLOR")
    facts = facts_of(handlers, settings, connection.address)

    def tell(ended: Ended) -> None:
        now = clock.now()
        lines.write(line_for_people(ended, now, coloured=coloured) if is_terminal else line_for_pipes(ended, now))

    lines = Lines(stderr)
    try:
        ears = Ears(on_ready=lambda worker_id: lines.write(ready_line(worker_id, facts)), on_end=tell)
        run_worker(handlers, connection, settings, app_path=app_path, ears=ears)
    finally:
        lines.close()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
