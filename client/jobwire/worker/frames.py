"""What a worker and its child process say to each other: frames of a small JSON header and bytes.

Worker to child: `init`, then `job` and, while it runs, `stop`; `end` when there is no more work.
Child to worker: `ready` or `broken`, then `began`, `progress`, `checkpoint` and `outcome` for each job.

A frame's body is what the header describes, one after the other: payloads as `[type, encoding, is_text, bytes]` (null =
none), messages by their bytes.
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
    assignment = run.assignment
    job = assignment._asdict()
    del job["token"], job["payload"], job["checkpoint"], job["lease_seconds"]
    job["headers"], job["labels"] = dict(assignment.headers), dict(assignment.labels)
    job["timeout_seconds"] = run.timeout_seconds
    contents = (assignment.payload, assignment.checkpoint)
    return Frame({"is": "job", "job": job, "contents": [_described(each) for each in contents]}, _joined(*contents))


def assignment_of(frame: Frame) -> Assignment:
    """The child's reading of `job_frame`. The lease is the worker's own affair."""
    body = _Body(frame.body)
    payload, checkpoint = (body.payload(each) for each in frame.header["contents"])
    return Assignment(token=0, payload=payload, checkpoint=checkpoint, lease_seconds=0.0, **frame.header["job"])


def checkpoint_frame(checkpoint: Payload) -> Frame:
    """A checkpoint of the running job, for the worker."""
    return Frame({"is": "checkpoint", "payload": _described(checkpoint)}, checkpoint.data)


def checkpoint_of(frame: Frame) -> Payload:
    """The worker's reading of `checkpoint_frame`."""
    checkpoint = _Body(frame.body).payload(frame.header["payload"])
    if checkpoint is None:
        raise FrameBroken("A checkpoint frame has no checkpoint.")
    return checkpoint


def outcome_frame(outcome: Outcome) -> Frame:
    """How a job ended, for the worker."""
    match outcome:
        case Success(result, follow_ups):
            messages = [each.SerializeToString() for each in follow_ups]
            header = {
                "is": "outcome", "of": "success", "payload": _described(result),
                "follow_ups": [len(message) for message in messages],
            }  # fmt: skip
            return Frame(header, b"".join((_joined(result), *messages)))
        case Failure(error_type, message, detail, retryable, delay):
            facts = [error_type, message, detail, retryable, delay]
            return Frame({"is": "outcome", "of": "failure", "facts": facts})
        case Release(delay_seconds, reason):
            return Frame({"is": "outcome", "of": "release", "facts": [delay_seconds, reason]})
        case Stopped(reason, result):
            header = {"is": "outcome", "of": "stopped", "reason": reason, "payload": _described(result)}
            return Frame(header, _joined(result))


def outcome_of(frame: Frame) -> Outcome:
    """The worker's reading of `outcome_frame`."""
    header, body = frame.header, _Body(frame.body)
    match header["of"]:
        case "success":
            result = body.payload(header["payload"])
            return Success(result, tuple(SubmitJobRequest.FromString(body.take(n)) for n in header["follow_ups"]))
        case "failure":
            return Failure(*header["facts"])
        case "release":
            return Release(*header["facts"])
        case "stopped":
            return Stopped(header["reason"], body.payload(header["payload"]))
        case strange:
            raise FrameBroken(f"{strange!r} is no outcome.")


def _described(payload: Payload | None) -> list[Any] | None:
    return None if payload is None else [*payload[1:], len(payload.data)]


def _joined(*payloads: Payload | None) -> bytes:
    return b"".join(payload.data for payload in payloads if payload is not None)


class _Body:
    """Reads a body from its start to its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def take(self, length: int) -> bytes:
        """The next bytes."""
        piece = self._data[self._place : self._place + length]
        if len(piece) < length:
            raise FrameBroken(f"A frame's body ends {length - len(piece)} bytes early.")
        self._place += length
        return piece

    def payload(self, described: list[Any] | None) -> Payload | None:
        """The next payload, if there is one."""
        if described is None:
            return None
        *facts, length = described
        return Payload(self.take(length), *facts)
