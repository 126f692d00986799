"""Names of log events, and how log lines are written.

One event is one line: a fixed name, data as keys, never a payload, a result, a header or a label. Lines are JSON
unless standard error is a terminal.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum
from typing import Any, Final, Protocol, TextIO

import structlog


class LogEvent(StrEnum):
    """Every event the server logs. Names are stable; programs may match on them."""

    STEP_STARTED = "startup.step_started"
    STEP_ENDED = "startup.step_ended"
    STEP_FAILED = "startup.step_failed"
    SERVER_READY = "server.ready"
    SERVER_DRAINING = "server.draining"
    SERVER_STOPPED = "server.stopped"
    SERVER_FAILED = "server.failed"
    SERVER_OVERDUE = "server.overdue"
    """It did not get to its end in time and was ended where it stood."""
    PART_FAILED = "server.part_failed"
    POOL_HEALTH = "pool.health_changed"
    POOL_DIED = "pool.died"
    """Its process ended without having been told to; the jobs that ran in it have lost their leases."""
    POOL_RESTARTED = "pool.restarted"
    POOL_UNUSABLE = "pool.unusable"
    """It could not be started again; it is tried further."""
    POOL_OVERDUE = "pool.overdue"
    """Its process did not end in time and was killed."""
    RECOVERY_PROGRESS = "recovery.progress"
    RECOVERY_WAITING = "recovery.store_unavailable"
    RECOVERY_ENDED = "recovery.ended"
    MESSAGE = "python.message"
    """What a library, or a handler, logged in Python's own way."""
    LEASE_STALLED = "dispatch.lease_stalled"
    LEASE_RESUMED = "dispatch.lease_resumed"
    WORKER_ATTACHED = "dispatch.worker_attached"
    WORKER_DETACHED = "dispatch.worker_detached"
    WORKER_RETURNED = "dispatch.worker_returned"
    """A worker process has connected again, and said which leases it holds."""
    ATTEMPT_ENDED = "job.attempt_ended"
    CANCEL_ORDERED = "dispatch.cancel_ordered"
    CANCEL_ENFORCED = "dispatch.cancel_enforced"
    CANCEL_DELAYED = "dispatch.cancel_delayed"
    RETURN_FAILED = "dispatch.return_failed"
    LEASES_DROPPED = "dispatch.leases_dropped"
    LEASES_UNKNOWN = "dispatch.leases_unknown"
    SWEEP_STALLED = "sweep.stalled"
    SWEEP_RESUMED = "sweep.resumed"
    LEASES_EXPIRED = "sweep.leases_expired"
    JOBS_EXPIRED = "sweep.jobs_expired"
    ROWS_PURGED = "sweep.rows_purged"
    JOBS_SUBMITTED = "job.submitted"
    """Only at level debug: one line a call."""
    POLICY_UNREADABLE = "store.policy_unreadable"
    WAL_LARGE = "store.wal_large"
    STORE_LOST = "store.lost"
    """The database cannot be reached; it is tried again until it can."""
    STORE_FOUND = "store.found"
    STORE_RESTORED = "store.restored"
    """A backup was opened for the first time: a new epoch, and a floor under the fences."""
    MOVE_REFUSED = "store.move_refused"
    """The database refused a change of many jobs; they are tried one by one."""
    JOB_FAILED_IN_RECOVERY = "recovery.job_failed"
    JOB_STUCK = "recovery.job_stuck"
    RPC_FAILED = "rpc.failed"
    WATCH_STALLED = "watch.tail_stalled"


_CALL: Final[ContextVar[Callable[[], str] | None]] = ContextVar("jobwire_call", default=None)


def mark_call(name: Callable[[], str]) -> None:
    """Have every line that this task, and what it starts, will log carry `rpc_id`: what `name` answers when a line is
    written, and not before. Most calls log nothing."""
    _CALL.set(name)


def _add_call(_logger: Any, _method: str, fields: Any) -> Any:
    name = _CALL.get()
    if name is not None:
        fields.setdefault("rpc_id", name())
    return fields


class Log(Protocol):
    """What components write their log lines to."""

    def is_enabled_for(self, level: int) -> bool:
        """Tell whether lines of this level (as Python's logging counts them) are written at all."""

    def debug(self, event: str, **fields: Any) -> Any:
        """Write a line for those who look closely."""

    def info(self, event: str, **fields: Any) -> Any:
        """Write a line about something that is as it should be."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Write a line about something that heals by itself, if somebody looks after it."""

    def error(self, event: str, **fields: Any) -> Any:
        """Write a line about something that needs somebody."""


class SilentLog:
    """Writes nothing: for tests and for embedding."""

    def is_enabled_for(self, level: int) -> bool:
        """See `Log`."""
        return level > ERROR

    def debug(self, event: str, **fields: Any) -> None:
        """See `Log`."""

    def info(self, event: str, **fields: Any) -> None:
        """See `Log`."""

    def warning(self, event: str, **fields: Any) -> None:
        """See `Log`."""

    def error(self, event: str, **fields: Any) -> None:
        """See `Log`."""


class LogFormat(StrEnum):
    """How log lines look. AUTO is CONSOLE on a terminal, else JSON."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least important lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


DEBUG: Final = logging.DEBUG
ERROR: Final = logging.ERROR
_LEVELS = {
    LogLevel.DEBUG: DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: ERROR,
}


def make_log(format_: LogFormat, level: LogLevel, stream: TextIO | None = None) -> Log:
    """Return a log that writes lines of at least `level` to `stream` (standard error by default)."""
    out = stream if stream is not None else sys.stderr
    json = format_ is LogFormat.JSON or (format_ is LogFormat.AUTO and not out.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(pad_event_to=28)
    processors = [
        structlog.processors.add_log_level,
        _add_call,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        renderer,
    ]
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return log


def route_python_logging(log: Log) -> None:
    """Let what libraries and handlers log in Python's own way come out as lines of `log`."""
    handler = _Bridge(log)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


class _Bridge(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        write = (
            self._log.error
            if record.levelno >= logging.ERROR
            else self._log.warning
            if record.levelno >= logging.WARNING
            else self._log.info
        )
        fields: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        write(LogEvent.MESSAGE, **fields)
