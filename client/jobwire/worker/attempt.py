"""The state of one attempt that its handler can see or touch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar

from jobwire.payload import Payload
from jobwire.v1.job_service_pb2 import SubmitJobRequest
from jobwire.worker.transport import Assignment


class Cause(IntEnum):
    """Why a handler has to stop. A higher one overrules a lower one."""

    CANCEL = 1
    """Someone asked for it: the outcome is Stopped, unless the handler has a better one."""
    DRAIN = 2
    """The worker goes away: the job is released."""
    TIMEOUT = 3
    """The attempt took too long: the outcome is a failure, whatever the handler says."""
    LOST = 4
    """The lease is over: nothing is reported."""


class Attempt:
    """What runtime and handler share. The handler writes `progress`, `checkpoint`, `follow_ups` and `obeying`, the
    runtime all else."""

    __slots__ = (
        "assignment", "cause", "checkpoint", "deadline", "follow_ups", "obeying", "on_progress", "progress", "reason",
    )  # fmt: skip

    _swapping: ClassVar = threading.Lock()
    """One for all: checkpoints are rare, attempts are many. Held for an assignment or two."""

    def __init__(self, assignment: Assignment, on_progress: Callable[[Attempt], None] | None = None) -> None:
        self.assignment = assignment
        self.on_progress = on_progress
        """Told, in any thread, that there is new progress, or a checkpoint."""
        self.deadline: float | None = None
        """Monotonic end of the attempt; None = no bound, or not started yet."""
        self.cause: Cause | None = None
        self.reason = ""
        self.obeying = False
        """The handler has heard that it must stop, and cleans up."""
        self.progress: tuple[float, str | None] | None = None
        """Newest progress that was not sent yet: percent and message."""
        self.checkpoint: Payload | None = None
        """Newest checkpoint that was not sent yet."""
        self.follow_ups: list[SubmitJobRequest] = []
        """Jobs to create if this attempt succeeds."""

    def tell(self, percent: float, message: str | None) -> None:
        """Leave progress to be passed on; what was not sent yet is replaced."""
        self.progress = (percent, message)
        if self.on_progress is not None:
            self.on_progress(self)

    def keep(self, checkpoint: Payload) -> None:
        """Leave a checkpoint to be passed on; one that was not sent yet is replaced."""
        with self._swapping:
            self.checkpoint = checkpoint
        if self.on_progress is not None:
            self.on_progress(self)

    def take_checkpoint(self) -> Payload | None:
        """The newest checkpoint, to be sent now; None when there is none that was not sent."""
        if self.checkpoint is None:
            return None
        with self._swapping:
            checkpoint, self.checkpoint = self.checkpoint, None
        return checkpoint

    def put_back(self, checkpoint: Payload) -> None:
        """It could not be sent: send it again, unless there is a newer one."""
        with self._swapping:
            if self.checkpoint is None:
                self.checkpoint = checkpoint

    def must_stop(self) -> bool:
        """Whether the handler has to stop. May turn true at any time."""
        return self.cause is not None
