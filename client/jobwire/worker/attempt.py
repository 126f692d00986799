"""The state of one attempt that its handler can see or touch."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

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
    runtime all else; so neither has to wait for the other."""

    __slots__ = (
        "assignment", "cause", "checkpoint", "deadline", "follow_ups", "kept", "obeying", "on_progress", "progress",
        "reason", "told",
    )  # fmt: skip

    def __init__(self, assignment: Assignment, on_progress: Callable[[Attempt], None] | None = None) -> None:
        self.assignment = assignment
        self.on_progress = on_progress
        """Told, in any thread, that there is new progress or a new checkpoint."""
        self.deadline: float | None = None
        """Monotonic end of the attempt; None = no bound, or not started yet."""
        self.cause: Cause | None = None
        self.reason = ""
        self.obeying = False
        """The handler has heard that it must stop, and cleans up."""
        self.progress: tuple[float, str | None] | None = None
        """Newest progress: percent and message."""
        self.told: tuple[float, str | None] | None = None
        """The progress that was passed on last."""
        self.checkpoint: Payload | None = None
        """Newest checkpoint."""
        self.kept: Payload | None = None
        """The checkpoint that the server is known to have."""
        self.follow_ups: list[SubmitJobRequest] = []
        """Jobs to create if this attempt succeeds."""

    def tell(self, percent: float, message: str | None) -> None:
        """Leave progress to be passed on; what was not sent yet is replaced."""
        self.progress = (percent, message)
        if self.on_progress is not None:
            self.on_progress(self)

    def save(self, checkpoint: Payload) -> None:
        """Leave a checkpoint to be kept for the next attempt; one that was not sent yet is replaced."""
        self.checkpoint = checkpoint
        if self.on_progress is not None:
            self.on_progress(self)

    def unsaved(self) -> Payload | None:
        """The newest checkpoint, unless the server is known to have it."""
        return None if self.checkpoint is self.kept else self.checkpoint

    def has_news(self) -> bool:
        """Whether there is progress or a checkpoint to pass on."""
        return self.progress is not self.told or self.checkpoint is not self.kept

    def must_stop(self) -> bool:
        """Whether the handler has to stop. May turn true at any time."""
        return self.cause is not None
