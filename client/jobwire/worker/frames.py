"""What a worker and its child process say to each other: frames of a small JSON header and bytes.

Worker to child: `init`, then `job` and, while it runs, `stop`; `end` when there is no more work.
Child to worker: `ready` or `broken`, then `began`, `progress`, `checkpoint` and `outcome` for each job, or `unknown`.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from jobwire.payload import Payload
from jobwire.v1.job_service_pb2 import SubmitJobRequest
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
    del job["token"], job["payload"], job["checkpoint"], job["lease_seconds"]
    job["headers"], job["labels"] = dict(run.assignment.headers), dict(run.assignment.labels)
    job["timeout_seconds"] = run.timeout_seconds
    return _with_payloads({"is": "job", "job": job}, run.assignment.payload, run.assignment.checkpoint)


def assignment_of(frame: Frame) -> Assignment:
    """The child's reading of `job_frame`. The lease is the worker's own affair."""
    payload, checkpoint = _payloads(frame)
    return Assignment(token=0, payload=payload, checkpoint=checkpoint, lease_seconds=0.0, **frame.header["job"])


def checkpoint_frame(checkpoint: Payload) -> Frame:
    """A checkpoint, for the worker."""
    return _with_payloads({"is": "checkpoint"}, checkpoint)


def checkpoint_of(frame: Frame) -> Payload:
    """The worker's reading of `checkpoint_frame`."""
    (checkpoint,) = _payloads(frame)
    if checkpoint is None:
        raise FrameBroken("A checkpoint came without its bytes.")
    return checkpoint


def outcome_frame(outcome: Outcome) -> Frame:
    """How a job ended, for the worker."""
    match outcome:
        case Success(result, follow_ups):
            jobs = [Payload(job.SerializeToString()) for job in follow_ups]
            return _with_payloads({"is": "outcome", "of": "success"}, result, *jobs)
        case Failure(error_type, message, detail, retryable, delay):
            facts = [error_type, message, detail, retryable, delay]
            return Frame({"is": "outcome", "of": "failure", "facts": facts})
        case Release(delay_seconds, reason):
            return Frame({"is": "outcome", "of": "release", "facts": [delay_seconds, reason]})
        case Stopped(reason, result):
            return _with_payloads({"is": "outcome", "of": "stopped", "reason": reason}, result)


def outcome_of(frame: Frame) -> Outcome:
    """The worker's reading of `outcome_frame`."""
    match frame.header["of"]:
        case "success":
            result, *jobs = _payloads(frame)
            return Success(result, tuple(SubmitJobRequest.FromString(job.data) for job in jobs if job is not None))
        case "failure":
            return Failure(*frame.header["facts"])
        case "release":
            return Release(*frame.header["facts"])
        case "stopped":
            return Stopped(frame.header["reason"], *_payloads(frame))
        case strange:
            raise FrameBroken(f"{strange!r} is no outcome.")


def _with_payloads(header: dict[str, Any], *payloads: Payload | None) -> Frame:
    """A frame whose body is these payloads, one after the other; the header describes each."""
    header["payloads"] = [None if one is None else [len(one.data), *one[1:]] for one in payloads]
    return Frame(header, b"".join(one.data for one in payloads if one is not None))


def _payloads(frame: Frame) -> list[Payload | None]:
    """What `_with_payloads` put in."""
    payloads: list[Payload | None] = []
    start = 0
    for described in frame.header["payloads"]:
        if described is None:
            payloads.append(None)
            continue
        size, *kind = described
        payloads.append(Payload(frame.body[start : start + size], *kind))
        start += size
    return payloads
