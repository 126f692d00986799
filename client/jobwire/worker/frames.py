"""What a worker and its child process say to each other: frames of a small JSON header and bytes.

Worker to child: `init`, then `job` and, while it runs, `stop`; `end` when there is no more work.
Child to worker: `ready` or `broken`, then `began`, `progress` and `outcome` for each job.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from jobwire.payload import Payload
from jobwire.worker.run import Run
from jobwire.worker.transport import Assignment, Failure, Outcome, Release, Stopped, Success

MAX_HEADER_BYTES = 256 << 10
MAX_BODY_BYTES = 64 << 20
_LENGTHS = struct.Struct(">II")


class FrameBroken(Exception):
    """The other side does not keep to the protocol."""


class Frame(NamedTuple):
    """One message: `header["is"]` tells which."""

    header: Mapping[str, Any]
    body: bytes = b""

    @property
    def kind(self) -> str:
        """What it is."""
        return str(self.header.get("is"))


def write_frame(fd: int, frame: Frame) -> None:
    """Write one frame, whole; blocks while the pipe is full. Callers take turns. Raises OSError, FrameBroken."""
    header = json.dumps(frame.header, separators=(",", ":")).encode()
    if len(header) > MAX_HEADER_BYTES or len(frame.body) > MAX_BODY_BYTES:
        raise FrameBroken(f"A frame of {len(header)} + {len(frame.body)} bytes is too long for the pipe.")
    rest = memoryview(b"".join((_LENGTHS.pack(len(header), len(frame.body)), header, frame.body)))
    while rest:
        rest = rest[os.write(fd, rest) :]


def read_frame(stream: BinaryIO) -> Frame | None:
    """Read one frame; None when the other side is gone, in the middle of one too. Raises FrameBroken."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    header_bytes, body_bytes = _LENGTHS.unpack(lengths)
    if header_bytes > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
        raise FrameBroken(f"A frame of {header_bytes} + {body_bytes} bytes was announced, which is too long.")
    header, body = stream.read(header_bytes), stream.read(body_bytes)
    if len(header) < header_bytes or len(body) < body_bytes:
        return None
    try:
        return Frame(json.loads(header), body)
    except ValueError as error:
        raise FrameBroken(f"A frame's header is no JSON: {error}.") from error


def job_frame(run: Run) -> Frame:
    """An assignment for a child."""
    job = run.assignment._asdict()
    del job["token"], job["payload"], job["lease_seconds"]
    job["headers"] = dict(run.assignment.headers)
    job["timeout_seconds"] = run.timeout_seconds
    payload = _described(run.assignment.payload)
    return Frame({"is": "job", "job": job, "payload": payload}, _bytes_of(run.assignment.payload))


def assignment_of(frame: Frame) -> Assignment:
    """The child's reading of `job_frame`. The lease is the worker's own affair."""
    payload = _payload(frame.header["payload"], frame.body)
    return Assignment(token=0, payload=payload, lease_seconds=0.0, **frame.header["job"])


def outcome_frame(outcome: Outcome) -> Frame:
    """How a job ended, for the worker."""
    match outcome:
        case Success(result):
            return Frame({"is": "outcome", "of": "success", "payload": _described(result)}, _bytes_of(result))
        case Failure(error_type, message, detail, retryable, delay):
            facts = [error_type, message, detail, retryable, delay]
            return Frame({"is": "outcome", "of": "failure", "facts": facts})
        case Release(delay_seconds):
            return Frame({"is": "outcome", "of": "release", "facts": [delay_seconds]})
        case Stopped(reason):
            return Frame({"is": "outcome", "of": "stopped", "facts": [reason]})


def outcome_of(frame: Frame) -> Outcome:
    """The worker's reading of `outcome_frame`."""
    match frame.header["of"]:
        case "success":
            return Success(_payload(frame.header["payload"], frame.body))
        case "failure":
            return Failure(*frame.header["facts"])
        case "release":
            return Release(*frame.header["facts"])
        case "stopped":
            return Stopped(*frame.header["facts"])
        case strange:
            raise FrameBroken(f"{strange!r} is no outcome.")


def _described(payload: Payload | None) -> list[Any] | None:
    return None if payload is None else [payload.content_type, payload.content_encoding, payload.is_text]


def _bytes_of(payload: Payload | None) -> bytes:
    return b"" if payload is None else payload.data


def _payload(described: list[Any] | None, data: bytes) -> Payload | None:
    return None if described is None else Payload(data, *described)
