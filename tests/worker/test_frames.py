"""The pipe between a worker and its child."""

from __future__ import annotations

import io
import os
import threading

import pytest

from jobwire.payload import Payload
from jobwire.v1.job_service_pb2 import SubmitJobRequest
from jobwire.worker.frames import (
    Frame,
    FrameBroken,
    assignment_of,
    checkpoint_frame,
    checkpoint_of,
    job_frame,
    outcome_frame,
    outcome_of,
    read_frame,
    write_frame,
)
from jobwire.worker.handler import Handler
from jobwire.worker.run import Run
from jobwire.worker.transport import Assignment, Failure, Outcome, Release, Stopped, Success


def written(frame: Frame) -> bytes:
    """The bytes of a frame; a thread writes, since a pipe holds only so much."""
    source, target = os.pipe()

    def write() -> None:
        write_frame(target, frame)
        os.close(target)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(source, "rb") as stream:
        data = stream.read()
    writer.join()
    return data


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
def test_a_frame_comes_back_as_it_was_written(size: int) -> None:
    frame = Frame({"is": "job", "text": "Grüße \x00"}, os.urandom(size))
    assert read_frame(io.BytesIO(written(frame))) == frame


def test_a_torn_frame_is_the_end_wherever_it_is_torn() -> None:
    data = written(Frame({"is": "job"}, b"body"))
    for length in range(len(data)):
        assert read_frame(io.BytesIO(data[:length])) is None


@pytest.mark.parametrize(
    "data", [b"\xff" * 8, b"\x00\x00\x00\x01" + b"\xff" * 4, b"\x00\x00\x00\x02" + b"\x00" * 4 + b"{{"]
)
def test_bytes_that_are_no_frame_are_refused_and_never_waited_for(data: bytes) -> None:
    with pytest.raises(FrameBroken):
        read_frame(io.BytesIO(data + b"x" * 100))


def test_a_frame_that_is_too_long_is_not_written() -> None:
    with pytest.raises(FrameBroken):
        write_frame(-1, Frame({"is": "job", "text": "x" * 300_000}))


@pytest.mark.parametrize(
    "outcome",
    [
        Success(),
        Success(Payload(b"\x00\xff", "image/gif", "gzip")),
        Success(Payload(b"{}", "application/json", is_text=True)),
        Failure("ValueError", "message", "detail", retryable=False, retry_delay_seconds=1.5),
        Failure("ValueError"),
        Success(None, (SubmitJobRequest(request_id="a"), SubmitJobRequest())),
        Success(Payload(b"1"), (SubmitJobRequest(request_id="a"),)),
        Release(2.0, "not now"),
        Stopped("why"),
        Stopped("why", Payload(b"half", "text/plain")),
    ],
)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    frame = read_frame(io.BytesIO(written(outcome_frame(outcome))))
    assert frame is not None
    assert outcome_of(frame) == outcome


@pytest.mark.parametrize("payload", [None, Payload(b""), Payload(b"{}", "application/json", is_text=True)])
@pytest.mark.parametrize("checkpoint", [None, Payload(b"\x00" * 1000, "application/x-place", "zstd")])
def test_a_child_reads_of_its_job_what_the_worker_knows(payload: Payload | None, checkpoint: Payload | None) -> None:
    assignment = Assignment(
        token=b"secret", job_id="j", queue="q", type="it", attempt=2, max_attempts=3, fence=7, payload=payload,
        headers={"traceparent": "00-1"}, lease_seconds=30.0, timeout_seconds=4.5, labels={"team": "blue"},
        checkpoint=checkpoint, lost_leases=1, create_time_seconds=1.5,
    )  # fmt: skip
    frame = read_frame(io.BytesIO(written(job_frame(Run(assignment, Handler(print, type="it"))))))
    assert frame is not None
    assert assignment_of(frame) == assignment._replace(token=0, lease_seconds=0.0)


def test_a_checkpoint_comes_back_as_it_was() -> None:
    checkpoint = Payload(b"\x00place", "application/x-place")
    frame = read_frame(io.BytesIO(written(checkpoint_frame(checkpoint))))
    assert frame is not None
    assert checkpoint_of(frame) == checkpoint
