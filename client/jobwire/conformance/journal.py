"""Everything that passed the proxy, in order, for points to look into and to wait for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from jobwire.conformance.frames import Call, Frame
from jobwire.v1 import worker_service_pb2 as worker

T = TypeVar("T")

_REFUSALS: Final[Mapping[str, worker.OutcomeCode]] = {
    "LEASE_LOST": worker.OUTCOME_CODE_LEASE_LOST,
    "PAYLOAD_TOO_LARGE": worker.OUTCOME_CODE_INVALID,
}
"""What an error of CompleteJob or FailJob says, in the words of the stream."""


class Introduction(NamedTuple):
    """A hello, and the call that it opened."""

    call: Call
    hello: worker.WorkerHello


class Sent(NamedTuple):
    """An outcome as the program sent it, whether it arrived or not."""

    frame: Frame
    outcome: worker.Outcome


class Journal:
    """What was seen. The proxy writes, points read."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.introductions: list[Introduction] = []
        self.welcomes = 0
        """Streams that are past their welcome."""
        self.windows: list[int] = []
        """Credit windows that streams asked for, in order."""
        self.pulls: list[worker.PullJobsRequest] = []
        self.assignments: dict[bytes, worker.Assignment] = {}
        """By lease token; also those that were swallowed."""
        self.outcomes: dict[bytes, list[Sent]] = defaultdict(list)
        self.updates: dict[bytes, list[Frame]] = defaultdict(list)
        """Frames that extend a lease, by its token; also those that were swallowed."""
        self.progress: dict[bytes, list[worker.LeaseUpdate]] = defaultdict(list)
        """Lease updates with progress in them."""
        self.acks: dict[bytes, list[worker.OutcomeAck]] = defaultdict(list)
        """Those that the program got."""
        self.pongs: list[int] = []
        self._delivered: set[bytes] = set()
        self._told_lost: set[bytes] = set()
        self._ended: set[bytes] = set()
        self.most_outstanding = 0
        """Most leases at any time that the program had and had not yet reported on."""
        self._changed = asyncio.Event()

    # --- the proxy writes

    def opened(self, call: Call) -> None:
        """A call begins."""
        self.calls.append(call)
        self.note()

    def came(self, frame: Frame) -> None:
        """A frame came to the proxy. Requests are taken down as the program made them, before any fault."""
        self._take_request(frame)
        for outcome in frame.outcomes:
            self.outcomes[outcome.lease_token].append(Sent(frame, outcome))
            self._ended.add(outcome.lease_token)
        for update in frame.updates:
            self.updates[update.lease_token].append(frame)
            if update.HasField("progress_percent"):
                self.progress[update.lease_token].append(update)
        for assignment in frame.assignments:
            self.assignments[assignment.lease_token] = assignment
        self.note()

    def judged(self, frame: Frame) -> None:
        """The proxy has decided what to do with a frame."""
        if frame.is_delivered:
            self.welcomes += isinstance(frame.message, worker.WorkResponse) and frame.message.HasField("welcome")
            for ack in frame.acks:
                if isinstance(frame.message, worker.CompleteJobResponse | worker.FailJobResponse):
                    frame.call.answer = ack.code
                else:
                    self.acks[ack.lease_token].append(ack)
            self._told_lost.update(state.lease_token for state in frame.states if not state.valid)
            self._delivered.update(assignment.lease_token for assignment in frame.assignments)
            outstanding = len(self._delivered - self._ended - self._told_lost)
            self.most_outstanding = max(self.most_outstanding, outstanding)
        self.note()

    def ended(self, call: Call, reason: str | None) -> None:
        """A call has come to its end; `reason` is that of its error, None = OK.

        On the unary path this is the answer to an outcome: a message that stands before an error means nothing.
        """
        if isinstance(call.asked, worker.CompleteJobRequest | worker.FailJobRequest):
            token = call.asked.lease_token
            code = _REFUSALS.get(reason) if reason is not None else call.answer
            if code is not None:
                self.acks[token].append(worker.OutcomeAck(lease_token=token, code=code))
        self.note()

    def note(self) -> None:
        """Wake those who wait: something happened."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _take_request(self, frame: Frame) -> None:
        message = frame.message
        if (pull := frame.pull) is not None:
            self.pulls.append(pull)
        if not isinstance(message, worker.WorkRequest):
            return
        if message.HasField("hello"):
            self.introductions.append(Introduction(frame.call, message.hello))
            self.windows.append(message.hello.max_in_flight)
        if message.HasField("max_in_flight"):
            self.windows.append(message.max_in_flight)
        if message.pong_id:
            self.pongs.append(message.pong_id)

    # --- points read

    def leases_of(self, job_id: str) -> Sequence[worker.Assignment]:
        """Leases of a job that the program got, oldest first."""
        return [
            assignment
            for token, assignment in self.assignments.items()
            if token in self._delivered and assignment.job_id == job_id
        ]

    def is_told_lost(self, token: bytes) -> bool:
        """True when the program was told that this lease is over."""
        return token in self._told_lost

    def streams(self) -> Sequence[Call]:
        """Calls of Work, in the order in which they were introduced."""
        return [introduction.call for introduction in self.introductions]

    async def until(self, happened: Callable[[], T]) -> T:
        """Wait until `happened` returns something true, and return that."""
        while not (answer := happened()):
            await self._changed.wait()
        return answer
