"""From flags, or a line of a file, to a SubmitJobRequest."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.cli.faults import CliError
from jobwire.cli.params import Backoff, parse_backoff, parse_duration, parse_moment
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitFlags:
    """What `run` and `submit` were told about a job, its type apart."""

    data: str | None = None
    content_type: str = JSON_TYPE
    queue: str | None = None
    key: str | None = None
    job_id: str | None = None
    delay: timedelta | None = None
    at: datetime | timedelta | None = None
    priority: int | None = None
    max_attempts: int | None = None
    backoff: Backoff | None = None
    attempt_timeout: timedelta | None = None
    expires: datetime | timedelta | None = None
    retention: timedelta | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def request_of(job_type: str, flags: SubmitFlags, *, now_seconds: float) -> pb.SubmitJobRequest:
    """Build the request. A job without --key gets a random one, so that repeating the call never makes a second job."""
    if flags.delay is not None and flags.at is not None:
        raise CliError("USAGE", "--delay and --at exclude each other: both say when the job is due")
    due = flags.delay if flags.delay is not None else flags.at
    request = pb.SubmitJobRequest(job_id=flags.job_id or "", request_id=flags.key or str(uuid.uuid4()))
    spec = request.spec
    spec.type, spec.queue = job_type, flags.queue or ""
    spec.labels.update(flags.labels)
    spec.headers.update(flags.headers)
    if (payload := _payload(flags)) is not None:
        spec.payload.CopyFrom(payload)
    if flags.priority is not None:
        spec.priority = flags.priority
    if due is not None:
        spec.schedule_time.CopyFrom(_moment(due, now_seconds))
    if flags.expires is not None:
        spec.expire_time.CopyFrom(_moment(flags.expires, now_seconds))
    if flags.attempt_timeout is not None:
        spec.attempt_timeout.CopyFrom(_duration(flags.attempt_timeout))
    if flags.retention is not None:
        spec.retention.CopyFrom(_duration(flags.retention))
    _add_retry_policy(spec, flags)
    return request


def _add_retry_policy(spec: job_pb2.JobSpec, flags: SubmitFlags) -> None:
    if flags.max_attempts is not None:
        spec.retry_policy.max_attempts = flags.max_attempts
    if flags.backoff is not None:
        spec.retry_policy.initial_backoff.CopyFrom(_duration(flags.backoff.first))
        if flags.backoff.longest is not None:
            spec.retry_policy.max_backoff.CopyFrom(_duration(flags.backoff.longest))


def _payload(flags: SubmitFlags) -> job_pb2.Payload | None:
    if flags.data is None:
        return None
    data, source = _read(flags.data)
    if flags.content_type != JSON_TYPE:
        return job_pb2.Payload(content_type=flags.content_type, data=data)
    try:
        text = data.decode("utf-8")
        json.loads(text)
    except ValueError as error:
        raise CliError(
            "INPUT_UNREADABLE",
            f"{source} is not JSON ({error})",
            hints=["a string needs its quotes:   -d '\"Ada\"'",
                   "for other data say what it is:   --content-type application/octet-stream"],
        ) from error  # fmt: skip
    return job_pb2.Payload(content_type=JSON_TYPE, text=text)


def _read(data: str) -> tuple[bytes, str]:
    """Return the bytes of `-d`, and a name for them in error texts."""
    if data == "-":
        return sys.stdin.buffer.read(), "stdin"
    if not data.startswith("@"):
        return data.encode("utf-8", "surrogateescape"), "the text after -d"
    path = Path(data[1:])
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise CliError("INPUT_UNREADABLE", f"cannot read {path} ({error.strerror})") from error


def _moment(moment: datetime | timedelta, now_seconds: float) -> Timestamp:
    absolute = moment if isinstance(moment, datetime) else datetime.fromtimestamp(now_seconds, UTC) + moment
    stamp = Timestamp()
    stamp.FromDatetime(absolute)
    return stamp


def timestamp_of(moment: datetime | timedelta, now_seconds: float) -> Timestamp:
    """Make a timestamp of a time or of a distance from now."""
    return _moment(moment, now_seconds)


def _duration(value: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(value)
    return duration


# --- lines of a file -------------------------------------------------------------------------------------------------

_TEXT = {"queue", "key", "job_id"}
_READERS: Mapping[str, Callable[[str], Any]] = {
    "delay": parse_duration,
    "at": parse_moment,
    "backoff": parse_backoff,
    "attempt_timeout": parse_duration,
    "expires": parse_moment,
    "retention": parse_duration,
}
_NUMBERS = {"priority", "max_attempts"}
_PAIRS = {"labels", "headers"}
LINE_FIELDS = ("type", "payload", *sorted({*_TEXT, *_READERS, *_NUMBERS, *_PAIRS}))


def request_of_line(line: str, *, job_type: str | None, flags: SubmitFlags, now_seconds: float) -> pb.SubmitJobRequest:
    """Build the request of one line: a JSON object whose fields win over the flags.

    Raises ValueError with what is wrong, for a sentence that names the line.
    """
    document = json.loads(line)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - of text, not of an argument
    unknown = sorted(set(document) - set(LINE_FIELDS))
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}: a line may have {', '.join(LINE_FIELDS)}")
    named = document.pop("type", job_type)
    if not isinstance(named, str) or not named:
        raise ValueError("it has no type, and none was given on the command line")
    given = {name: _line_value(name, value) for name, value in document.items() if name != "payload"}
    if "payload" in document:
        given |= {"data": json.dumps(document["payload"], ensure_ascii=False), "content_type": JSON_TYPE}
    return _request_of_given(named, flags, given, now_seconds)


def _request_of_given(
    job_type: str, flags: SubmitFlags, given: Mapping[str, Any], now_seconds: float
) -> pb.SubmitJobRequest:
    import dataclasses  # noqa: PLC0415 - only for files

    merged = dataclasses.replace(flags, **given)
    if "labels" in given:
        merged = dataclasses.replace(merged, labels={**flags.labels, **given["labels"]})
    if "headers" in given:
        merged = dataclasses.replace(merged, headers={**flags.headers, **given["headers"]})
    payload = given.get("data")
    if payload is None:
        return request_of(job_type, merged, now_seconds=now_seconds)
    # Not by way of `-d`, where a leading @ names a file.
    request = request_of(job_type, dataclasses.replace(merged, data=None), now_seconds=now_seconds)
    request.spec.payload.CopyFrom(job_pb2.Payload(content_type=JSON_TYPE, text=payload))
    return request


def _line_value(name: str, value: Any) -> Any:
    if name in _TEXT and isinstance(value, str):
        return value
    if name in _NUMBERS and isinstance(value, int) and not isinstance(value, bool):
        return value
    if name in _PAIRS and isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return value
    if name in _READERS and isinstance(value, str):
        return _READERS[name](value)
    kind = "a number" if name in _NUMBERS else "an object of strings" if name in _PAIRS else "a string"
    raise ValueError(f"field {name!r} must be {kind}")
