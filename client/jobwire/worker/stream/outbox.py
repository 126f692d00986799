"""What the worker has to say, until the writer takes it as frames."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from jobwire.v1 import worker_service_pb2 as pb
from jobwire.worker.stream.convert import fill_outcome, update_message
from jobwire.worker.transport import LeaseUpdate, Outcome, Token

_log = logging.getLogger("jobwire.worker")

MAX_FRAME_ITEMS = 256
MAX_FRAME_BYTES = 1 << 20
"""More only when a single item is larger."""


class Outbox:
    """Gathers; each `frame` takes as much as one frame may hold. So whoever writes slowly writes large frames.

    Bounded by its users: they wait for the answers.
    """

    def __init__(self, on_unfit: Callable[[Token, str], None]) -> None:
        """`on_unfit` is told of an outcome that cannot be sent, now or ever: which, and why."""
        self._on_unfit = on_unfit
        self._outcomes: deque[tuple[Token, Outcome | None]] = deque()
        self._updates: deque[LeaseUpdate] = deque()
        self._window: int | None = None
        self._pong = 0
        self.max_item_bytes = 4 << 20
        """The server's bound for a whole frame."""

    def __bool__(self) -> bool:
        return bool(self._outcomes or self._updates or self._pong or self._window is not None)

    def add_outcomes(self, outcomes: Iterable[tuple[Token, Outcome | None]]) -> None:
        """Say how these attempts ended (None: their process died)."""
        self._outcomes.extend(outcomes)

    def add_updates(self, updates: Iterable[LeaseUpdate]) -> None:
        """Name these leases."""
        self._updates.extend(updates)

    def set_window(self, window: int) -> None:
        """Say the credit window; the newest counts."""
        self._window = window

    def echo(self, ping_id: int) -> None:
        """Answer a ping; the newest counts."""
        self._pong = ping_id

    def frame(self) -> pb.WorkRequest:
        """Take the next frame: what is urgent and small, then updates, then outcomes."""
        frame = pb.WorkRequest(pong_id=self._pong)
        if self._window is not None:
            frame.max_in_flight = self._window
        self._window, self._pong = None, 0
        room = self._fill_updates(frame, MAX_FRAME_BYTES)
        # An outcome must not overtake an update that was said before it: when one did not fit, there is no room left.
        self._fill_outcomes(frame, room)
        return frame

    def _fill_updates(self, frame: pb.WorkRequest, room: int) -> int:
        updates = frame.lease_updates
        while self._updates and len(updates) < MAX_FRAME_ITEMS:
            message = self._update(self._updates[0])
            size = message.ByteSize()
            if size > room and updates:
                return 0
            self._updates.popleft()
            updates.append(message)
            room -= size
        return room

    def _update(self, update: LeaseUpdate) -> pb.LeaseUpdate:
        message = update_message(update)
        if message.ByteSize() > self.max_item_bytes:
            _log.error("A checkpoint of %d bytes is not kept: the server reads at most %d.",
                       message.checkpoint.ByteSize(), self.max_item_bytes)  # fmt: skip
            message.ClearField("checkpoint")  # the lease has to be kept all the same
        return message

    def _fill_outcomes(self, frame: pb.WorkRequest, room: int) -> None:
        outcomes, waiting = frame.outcomes, self._outcomes
        free = MAX_FRAME_ITEMS - len(frame.lease_updates)
        is_empty = free == MAX_FRAME_ITEMS
        while waiting and free:
            token, outcome = waiting[0]
            message = outcomes.add()
            objection = self._objection(message, token, outcome)
            size = message.ByteSize()
            if not objection and (size <= room or is_empty):
                waiting.popleft()
                room -= size
                free -= 1
                is_empty = False
                continue
            del outcomes[-1]
            if not objection:
                return
            waiting.popleft()
            self._on_unfit(token, objection)

    def _objection(self, message: pb.Outcome, token: Token, outcome: Outcome | None) -> str:
        """Fill the message. Returns why it can never be sent, or ""."""
        try:
            message.lease_token = token  # type: ignore[assignment]  # ours are bytes; others are refused below
            fill_outcome(message, outcome)
        except (TypeError, ValueError) as error:
            return f"The outcome cannot be written: {error}."
        if (size := message.ByteSize()) > self.max_item_bytes:
            return f"The outcome has {size} bytes; the most is {self.max_item_bytes}."
        return ""
