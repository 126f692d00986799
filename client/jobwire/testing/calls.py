"""A worker's transport on the plain calls of WorkerService, which stops when there is nothing left to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import grpc

from jobwire._convert import state_of
from jobwire.models import JobState
from jobwire.v1 import worker_service_pb2 as pb
from jobwire.v1.worker_service_pb2_grpc import WorkerServiceStub
from jobwire.worker.alarm import within
from jobwire.worker.clock import Clock
from jobwire.worker.stream.convert import ack_of, assignment_of, fill_outcome, lease_state_of, update_message
from jobwire.worker.transport import (
    Ack,
    AckCode,
    Assignment,
    Failure,
    Hello,
    Inbox,
    LeaseState,
    LeaseUpdate,
    Outcome,
    OutcomeReport,
    Release,
    Token,
    Welcome,
)

LEASE_SECONDS: Final = 30.0
HEARTBEAT_SECONDS: Final = 1.0
"""Often: a heartbeat is how a running handler hears that its job was cancelled."""
LOOK_SECONDS: Final = 0.05
"""While handlers run, new jobs are looked for so often: one handler may wait for a job that it has submitted."""
CALL_SECONDS: Final = 10.0
PULL_JOBS: Final = 100


class CallTransport:
    """Implements `jobwire.worker.transport.Transport` over a channel of threads. One worker, opened once.

    Not over the Work stream: that needs gRPC's asyncio API, which belongs to the test's own event loop.
    """

    def __init__(self, channel: grpc.Channel, clock: Clock) -> None:
        self._stub: Any = WorkerServiceStub(channel)
        self._clock = clock
        self._hello: Hello | None = None
        self._inbox: Inbox | None = None
        self._window = 0
        self._held: dict[Token, Assignment] = {}
        self._news = asyncio.Event()
        self.states: Counter[JobState] = Counter()
        """What became of the jobs, by the server's own word, one for each outcome."""
        self.snoozed = 0
        self.failures: list[tuple[Assignment, Failure]] = []

    @property
    def held(self) -> Sequence[Assignment]:
        """Jobs that are here now."""
        return tuple(self._held.values())

    async def work_off(self) -> None:
        """Lease and run, until nothing is left to lease and every outcome is recorded."""
        while True:
            self._news.clear()
            was_idle = not self._held
            room = self._window - len(self._held)
            if room > 0 and await self._pull(room):
                continue
            if was_idle:
                return
            await within(self._clock, LOOK_SECONDS, self._news.wait())

    async def _pull(self, room: int) -> int:
        """Lease what there is. Returns how many."""
        assert self._hello is not None
        assert self._inbox is not None
        request = pb.PullJobsRequest(
            worker_id=self._hello.worker_id,
            queues=[pb.QueueSubscription(queue=one.queue, weight=one.weight) for one in self._hello.queues],
            types=self._hello.types,
            max_jobs=min(room, PULL_JOBS),
        )
        response = await self._call(self._stub.PullJobs, request)
        assignments = [assignment_of(message) for message in response.assignments]
        self._held.update((assignment.token, assignment) for assignment in assignments)
        self._inbox.assign(assignments)
        return len(assignments)

    # See `Transport`.

    async def open(self, hello: Hello, inbox: Inbox) -> Welcome:
        """See `Transport`. Nobody is asked: a worker that pulls introduces itself with each call."""
        self._hello, self._inbox = hello, inbox
        return Welcome(LEASE_SECONDS, HEARTBEAT_SECONDS, cancel_grace_seconds=10.0)

    async def resize(self, max_in_flight: int) -> None:
        """See `Transport`."""
        self._window = max_in_flight
        self._news.set()

    async def report(self, reports: Sequence[OutcomeReport]) -> Sequence[Ack]:
        """See `Transport`."""
        return await self._report(dict(reports))

    async def abandon(self, tokens: Sequence[Token]) -> None:
        """See `Transport`."""
        acks = await self._report(dict.fromkeys(tokens))
        if any(ack.code is AckCode.RETRY for ack in acks):
            raise ConnectionError("The server could not end the leases now.")

    async def update(self, updates: Sequence[LeaseUpdate]) -> Sequence[LeaseState]:
        """See `Transport`."""
        assert self._hello is not None
        request = pb.HeartbeatRequest(
            worker_id=self._hello.worker_id, lease_updates=[update_message(update) for update in updates]
        )
        response = await self._call(self._stub.Heartbeat, request)
        states = [lease_state_of(message) for message in response.lease_states]
        for state in states:
            if not state.valid:
                self._held.pop(state.token, None)
                self._news.set()
        return states

    async def close(self) -> None:
        """See `Transport`. The channel is its owner's."""

    async def _report(self, outcomes: Mapping[Token, Outcome | None]) -> Sequence[Ack]:
        request = pb.ReportOutcomesRequest()
        for token, outcome in outcomes.items():
            assert isinstance(token, bytes)
            message = request.outcomes.add(lease_token=token)
            fill_outcome(message, outcome)
        response = await self._call(self._stub.ReportOutcomes, request)
        acks = [ack_of(message) for message in response.outcome_acks]
        for ack, message in zip(acks, response.outcome_acks, strict=True):
            if ack.code not in {AckCode.INVALID, AckCode.RETRY}:
                self._ended(ack, outcomes[ack.token], state_of(message.state))
        return acks

    def _ended(self, ack: Ack, outcome: Outcome | None, state: JobState) -> None:
        assignment = self._held.pop(ack.token, None)
        self._news.set()
        if ack.code is not AckCode.RECORDED or assignment is None:
            return
        if isinstance(outcome, Release):
            self.snoozed += outcome.delay_seconds > 0
            return
        self.states[state] += 1
        if isinstance(outcome, Failure):
            self.failures.append((assignment, outcome))

    async def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return await asyncio.to_thread(method, request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise ConnectionError(f"The engine did not answer: {error}") from error
