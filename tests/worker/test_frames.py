"""The pipe between a worker and its child."""

from __future__ import annotations

import io
import os
import threading

import pytest

from jobwire.payload import Payload
from jobwire.worker.frames import Frame, FrameBroken, outcome_frame, outcome_of, read_frame, write_frame
from jobwire.worker.transport import Failure, Outcome, Release, Stopped, Success


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
        Release(2.0),
        Stopped("why"),
    ],
)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    frame = read_frame(io.BytesIO(written(outcome_frame(outcome))))
    assert frame is not None
    assert outcome_of(frame) == outcome
