"""Merging of concurrent submits: who sends now, who waits for company, and what each is told. No I/O, no clock.

The first submit goes at once, as a call of its own. Whatever comes while calls are under way waits together, and goes
as one `independent` batch as soon as a call comes back. No timer: under load batches grow, without load nobody waits.

There is no task or thread that sends: of those who wait, one is made the leader. It takes a batch, makes the call and
tells the others. When the leader is gone before the answer, its companions wait again and another leads: the elements
keep their request ids, so that whatever the first call did is found, and not done twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias, cast

from jobwire._calls import Call
from jobwire._requests import (
    ELEMENT_OVERHEAD_BYTES,
    MAX_BATCH_BYTES,
    MAX_BATCH_SIZE,
    BatchAnswer,
    Submitted,
    batch_answer,
)
from jobwire.errors import (
    CallTimeout,
    ClientClosed,
    DeadlineExceeded,
    JobwireError,
    PermissionDenied,
    QuotaExceeded,
    ServerBug,
    Unavailable,
)
from jobwire.v1 import job_service_pb2

MOST_IN_FLIGHT = 2
"""Merged calls at the same time: while the server works on one, the client prepares the other."""
SLACK_SECONDS = 0.1
"""Whose deadline is at most so much later than the leader's, ends with it."""


class Word(Enum):
    """What somebody who waits may be told, beside an answer or an error."""

    LEAD = "lead"
    """Take a batch and make its call."""
    ALONE = "alone"
    """Ask again with a call of one's own: the answer in the batch does not say enough, or the batch was at fault."""
    LATE = "late"
    """The time is over: raise that of one's own call, not that of the batch."""


Verdict: TypeAlias = Submitted | JobwireError | Word
Results: TypeAlias = Sequence[job_service_pb2.SubmitResult]
Outcome: TypeAlias = Submitted | Results | JobwireError
"""What came of a call: the answer to one, the answers to several, or its error."""


@dataclass(slots=True, eq=False)
class Waiting:
    """One submit that has no answer yet."""

    call: Call[Submitted]
    """Its own call, a SubmitJob: what is sent when it goes alone."""
    since: float
    """When the time of the call began to run, in the shell's monotonic time."""
    wake: Callable[[], None]
    """Tells the caller that there is a verdict."""
    verdict: Verdict | None = None
    is_gone: bool = False
    """The caller does not wait any more."""
    led: list[Waiting] = field(default_factory=list)
    """The batch that it leads, itself first, while the call is under way."""
    end: float = field(init=False)
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.end = self.since + self.call.seconds
        self.size_bytes = self.call.request.ByteSize() + ELEMENT_OVERHEAD_BYTES

    def tell(self, verdict: Verdict) -> None:
        """Hand over the verdict, to whoever still waits."""
        if not self.is_gone:
            self.verdict = verdict
            self.wake()


class Merging:
    """The queue of those who wait, and the calls under way. Not thread-safe: threads hold a lock around each verb."""

    def __init__(self, *, retries_fully: bool) -> None:
        """`retries_fully`: calls are tried again until their deadline, not a number of times only."""
        self._retries_fully = retries_fully
        self._queue: deque[Waiting] = deque()
        self._calls = 0
        self._carried = 0
        self._is_gathering = False  # a leader has been named and has not taken its batch yet
        self._last_size = 1

    @property
    def has_company(self) -> bool:
        """True when the last call carried several: then more submits are about to come, as its callers go on."""
        return self._last_size > 1

    def enter(self, waiting: Waiting) -> None:
        """Join: either it has the verdict LEAD at once, or it will be woken with one."""
        if self._may_go(len(self._queue) + 1):
            self._is_gathering = True
            waiting.verdict = Word.LEAD
        else:
            self._queue.append(waiting)

    def take(self, leader: Waiting) -> Sequence[Waiting]:
        """Return the batch that the leader sends, itself first. Within MAX_BATCH_SIZE and MAX_BATCH_BYTES."""
        self._is_gathering = False
        leader.verdict = None
        batch, size_bytes = [leader], leader.size_bytes
        while self._queue and len(batch) < MAX_BATCH_SIZE:
            size_bytes += self._queue[0].size_bytes
            if size_bytes > MAX_BATCH_BYTES:
                break
            batch.append(self._queue.popleft())
        leader.led = batch
        self._calls += 1
        self._carried += len(batch)
        self._elect()
        return batch

    def settle(self, leader: Waiting, outcome: Outcome) -> None:
        """Tell everybody in the batch what came of its call. The next leader, if one is due, is woken last."""
        batch = leader.led
        self._end(leader, self._verdicts(batch, outcome))

    def leave(self, waiting: Waiting) -> None:
        """A caller waits no more. Whoever it led waits again. If its own job was sent, it may come to be."""
        waiting.is_gone = True
        if waiting.led:
            self._end(waiting, [None] * len(waiting.led))
        elif waiting.verdict is Word.LEAD:
            self._is_gathering = False
            self._elect()
        elif waiting.verdict is None and waiting in self._queue:
            self._queue.remove(waiting)

    def _end(self, leader: Waiting, verdicts: Sequence[Verdict | None]) -> None:
        batch, leader.led = leader.led, []
        self._calls -= 1
        self._carried -= len(batch)
        self._last_size = len(batch)
        again = []
        for waiting, verdict in zip(batch, verdicts, strict=True):
            if verdict is not None:
                waiting.tell(verdict)
            elif not waiting.is_gone:
                again.append(waiting)
        self._queue.extendleft(reversed(again))
        self._elect()

    def _elect(self) -> None:
        """Name the newest the leader: its deadline is as a rule the latest, so that it outlasts the others."""
        if self._queue and self._may_go(len(self._queue)):
            self._is_gathering = True
            self._queue.pop().tell(Word.LEAD)

    def _may_go(self, count: int) -> bool:
        """Whether so many may leave now: beside a call under way only when they are worth a call of their own."""
        if self._is_gathering or self._calls >= MOST_IN_FLIGHT:
            return False
        return self._calls == 0 or 2 * count >= self._carried

    def _verdicts(self, batch: Sequence[Waiting], outcome: Outcome) -> Sequence[Verdict | None]:
        if isinstance(outcome, Submitted):
            return [outcome]
        if not isinstance(outcome, JobwireError):
            if len(outcome) == len(batch):
                return [_verdict(batch_answer(result)) for result in outcome]
            outcome = ServerBug(f"The server answered {len(outcome)} of {len(batch)} jobs of a batch.")
        if len(batch) == 1:
            return [outcome]
        return [self._verdict_of_failure(waiting, batch[0], outcome) for waiting in batch]

    def _verdict_of_failure(self, waiting: Waiting, leader: Waiting, error: JobwireError) -> Verdict | None:
        if isinstance(error, DeadlineExceeded) or (isinstance(error, Unavailable) and self._retries_fully):
            if waiting.end > leader.end + SLACK_SECONDS:
                return None
        elif not isinstance(error, _OF_EVERYBODY):
            return Word.ALONE
        if isinstance(error, CallTimeout):
            return Word.LATE
        return copy(error)  # each caller raises its own: a traceback grows where an exception is raised


_OF_EVERYBODY = (Unavailable, DeadlineExceeded, QuotaExceeded, PermissionDenied, ClientClosed)
"""Errors of a call that each of its elements would have met by itself."""


def _verdict(answer: BatchAnswer) -> Verdict:
    """A refusal is asked for again alone: that answer has every fact. It changed nothing, so asking again is safe; when
    there is no room, asking again would only add to the crowd."""
    if answer.error is None:
        return Submitted(answer.job_id, answer.created, answer.state)
    return answer.error if isinstance(answer.error, QuotaExceeded) else Word.ALONE


def call_of(batch: Sequence[Waiting]) -> Call[Any]:
    """The call for a batch, whose answer is an Outcome; the deadline that holds is the leader's."""
    leader = batch[0].call
    if len(batch) == 1:
        return leader
    requests = [cast("job_service_pb2.SubmitJobRequest", waiting.call.request) for waiting in batch]
    request = job_service_pb2.BatchSubmitJobsRequest(requests=requests, independent=True)
    return Call("BatchSubmitJobs", request, _results, leader.seconds)


def _results(answer: job_service_pb2.BatchSubmitJobsResponse) -> Results:
    return answer.results


def submitted(verdict: Verdict | None) -> Submitted:
    """Return the answer, or raise the error."""
    if isinstance(verdict, JobwireError):
        raise verdict
    assert isinstance(verdict, Submitted), "who is told a word does what it says"
    return verdict
