"""How jobs look to people: symbols, words, ages, lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

import click
from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.durations import span_text
from jobwire.v1 import job_pb2

_PREFIX = "JOB_STATE_"


class Look(NamedTuple):
    """Symbol and colour of a state; never colour alone."""

    symbol: str
    colour: str


_LOOKS: Mapping[str, Look] = MappingProxyType({
    "SCHEDULED": Look("◷", "cyan"),
    "PENDING": Look("○", "white"),
    "PROCESSING": Look("◐", "blue"),
    "RETRYING": Look("↻", "yellow"),
    "COMPLETED": Look("✓", "green"),
    "FAILED": Look("✕", "red"),
    "CANCELLED": Look("⊘", "magenta"),
    "EXPIRED": Look("⌀", "magenta"),
    "BLOCKED": Look("◌", "white"),
})  # fmt: skip

TERMINAL = frozenset({
    job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED, job_pb2.JOB_STATE_EXPIRED,
})  # fmt: skip


def state_word(state: int) -> str:
    """Short name of a state; a number that this version does not know stays a number."""
    try:
        return job_pb2.JobState.Name(state).removeprefix(_PREFIX)
    except ValueError:
        return f"STATE_{state}"


def state_named(word: str) -> int:
    """Read a state as people write it, in any case. Raises ValueError with the choice."""
    name = word.strip().upper().removeprefix(_PREFIX)
    if name not in _LOOKS:
        raise ValueError(f"{word!r} is no state: it is one of {', '.join(_LOOKS).lower()}")
    return job_pb2.JobState.Value(_PREFIX + name)


def badge(state: int) -> str:
    """Symbol and word."""
    word = state_word(state)
    look = _LOOKS.get(word)
    return f"{look.symbol} {word.lower()}" if look else word.lower()


def colour_of(state: int) -> str:
    """Colour of a state's badge."""
    look = _LOOKS.get(state_word(state))
    return look.colour if look else "white"


def painted(line: str, state: int) -> str:
    """Colour the badge that a line begins with."""
    words = badge(state)
    return click.style(words, fg=colour_of(state)) + line.removeprefix(words)


def moment_text(moment: Timestamp) -> str:
    """RFC 3339 in UTC with milliseconds."""
    whole = datetime.fromtimestamp(moment.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{moment.nanos // 1_000_000:03d}Z"


def moment_of(seconds: float) -> Timestamp:
    """Make a timestamp of seconds since the epoch."""
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def seconds_of(moment: Timestamp) -> float:
    """Seconds since the epoch."""
    return moment.seconds + moment.nanos / 1e9


def error_text(error: job_pb2.JobError) -> str:
    """One line: class and message."""
    message = " ".join(error.message.split())
    return f"{error.type}: {message}" if message else error.type


def duration_seconds(job: job_pb2.Job) -> float | None:
    """Time from submit to the end; None while it is not over."""
    if not job.status.HasField("finish_time"):
        return None
    return seconds_of(job.status.finish_time) - seconds_of(job.create_time)


def remark(status: job_pb2.JobStatus, *, now: float | None = None) -> str:
    """What is worth knowing about a status beside its state; `now` (seconds) makes times relative."""
    parts = []
    if status.state == job_pb2.JOB_STATE_PROCESSING:
        parts += _progress_words(status)
    if _error_is_news(status):
        parts.append(error_text(status.last_error))
    if status.HasField("next_attempt_time") and status.state in {
        job_pb2.JOB_STATE_RETRYING, job_pb2.JOB_STATE_SCHEDULED,
    }:  # fmt: skip
        due = status.next_attempt_time
        parts.append(f"(next in {span_text(seconds_of(due) - now)})" if now is not None
                     else f"(next at {moment_text(due)})")  # fmt: skip
    return "  ".join(parts)


def _error_is_news(status: job_pb2.JobStatus) -> bool:
    """Tell whether the last error belongs to this state: the server keeps it through later attempts."""
    past = {job_pb2.JOB_STATE_PROCESSING, job_pb2.JOB_STATE_COMPLETED}
    return status.HasField("last_error") and status.state not in past


def _progress_words(status: job_pb2.JobStatus) -> list[str]:
    words = [f"{status.progress_percent:.0f} %"] if status.HasField("progress_percent") else []
    return [*words, status.progress_message] if status.progress_message else words


def change_line(
    event_time: Timestamp, job_id: str, status: job_pb2.JobStatus, *, moment: Callable[[Timestamp], str] = moment_text
) -> str:
    """One change for a pipe: time (written by `moment`), id, state, then `key=value` pairs."""
    pairs: list[str] = []
    match status.state:
        case job_pb2.JOB_STATE_PROCESSING:
            pairs = [f"attempt={status.attempt}/{status.max_attempts}", f"worker={status.worker_id}"]
            pairs += _progress_pairs(status)
        case job_pb2.JOB_STATE_RETRYING | job_pb2.JOB_STATE_SCHEDULED:
            pairs = [f"attempt={status.attempt}"]
            if status.HasField("next_attempt_time"):
                wait = seconds_of(status.next_attempt_time) - seconds_of(event_time)
                pairs.append(f"next_in={span_text(wait)}")
        case state if state in TERMINAL:
            pairs = [f"attempts={status.attempt}"]
        case _:
            pass
    if _error_is_news(status):
        pairs.append(f"error={_quoted(error_text(status.last_error))}")
    return " ".join([moment(event_time), job_id, state_word(status.state), *pairs])


def _progress_pairs(status: job_pb2.JobStatus) -> list[str]:
    pairs = [f"progress={status.progress_percent:g}"] if status.HasField("progress_percent") else []
    return [*pairs, f"message={_quoted(status.progress_message)}"] if status.progress_message else pairs


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
