"""What the Work stream and its unary twins share: reading reports, and answering them after their commit."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from jobwire.v1 import worker_service_pb2 as pb
from jobwire.v1.job_service_pb2 import SubmitJobRequest
from jobwire.worker.text import bounded
from jobwire_server.dispatch.session import Beat, Run
from jobwire_server.domain.errors import (
    FieldInvalid,
    JobwireError,
    LeaseTokenMalformed,
    QueueFull,
    Refused,
    StoreFull,
    TooManyRequests,
    Violation,
)
from jobwire_server.domain.job import NewJob
from jobwire_server.domain.limits import Limits
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.jobs import Jobs
from jobwire_server.kernel.clock import Clock
from jobwire_server.rpc.convert.submit import content_of, draft_of
from jobwire_server.rpc.convert.work import (
    PROGRESS_MESSAGE_BYTES,
    ack_record,
    assignment_bytes,
    checked_content,
    lease_state_message,
    outcome_of,
    refusal_text,
)
from jobwire_server.rpc.work.lease_token import LeaseTokens
from jobwire_server.store.base import Lease, LeaseState, Report, ReportAnswer, ReportCode

INVALID: Final = int(pb.OUTCOME_CODE_INVALID)
RETRY: Final = int(pb.OUTCOME_CODE_RETRY)
_CODES: Final = {
    ReportCode.RECORDED: int(pb.OUTCOME_CODE_RECORDED),
    ReportCode.DUPLICATE: int(pb.OUTCOME_CODE_DUPLICATE),
    ReportCode.LEASE_LOST: int(pb.OUTCOME_CODE_LEASE_LOST),
}
_PASSING: Final = (QueueFull, StoreFull, TooManyRequests)
"""Refusals that waiting may cure."""
_LOST: Final = LeaseState(False, False, 0)
_NOTHING: Final = Succeeded()
"""The commonest outcome: it worked, and there is nothing to say."""

Reporting = Callable[[Sequence[Report]], Awaitable[Sequence[ReportAnswer]]]
Extending = Callable[[Sequence[Beat]], Awaitable[Sequence[LeaseState]]]


class TokenReport(NamedTuple):
    """A report, and the token that it came with."""

    token: bytes
    report: Report


def follow_ups_of(requests: Sequence[SubmitJobRequest], jobs: Jobs, limits: Limits) -> Sequence[NewJob]:
    """Read and check the jobs that a success brings along. Raises `Refused`."""
    if len(requests) > limits.batch_size:
        raise FieldInvalid([Violation("follow_ups", f"must hold at most {limits.batch_size} jobs")])
    made = []
    for index, request in enumerate(requests):
        path = f"follow_ups[{index}]"
        if request.validate_only:
            raise FieldInvalid([Violation(f"{path}.validate_only", "must be false in a follow-up")])
        made.append(jobs.checked(draft_of(request, path, jobs.new_id), path))
    return made


class Desk:
    """Turns messages of workers into reports and beats, and what became of them into messages."""

    def __init__(self, *, tokens: LeaseTokens, jobs: Jobs, clock: Clock, limits: Limits) -> None:
        self.tokens = tokens
        self.limits = limits
        self._jobs = jobs
        self._clock = clock

    # --- outcomes -----------------------------------------------------------------------------------------------

    def read(self, outcome: pb.Outcome, known: Mapping[bytes, Run]) -> TokenReport | bytes:
        """Read an outcome; one that cannot be taken is answered at once, with an ack record. `known`: runs by token,
        which need no check of their MAC."""
        token = outcome.lease_token
        run = known.get(token)
        if run is not None and outcome.HasField("success"):
            success = outcome.success
            if not success.follow_ups and not success.HasField("result"):
                return TokenReport(token, Report(*run, _NOTHING))
        try:
            run = run or self.tokens.unseal(token)
            return TokenReport(token, Report(*run, outcome_of(outcome, self.limits, self.follow_ups)))
        except Refused as refusal:
            return ack_record(token[:64], INVALID, None, refusal_text(refusal))

    async def record(self, reports: Sequence[TokenReport], reporting: Reporting) -> list[bytes]:
        """Record reports; returns their ack records, in order, after the commit."""
        try:
            answers = await reporting([each.report for each in reports])
        except JobwireError as error:
            return [ack_record(token, RETRY, None, f"{error.reason}: {error.message}") for token, _ in reports]
        recorded = ReportCode.RECORDED
        return [
            ack_record(token, 1, answer.state) if answer.code is recorded else self._ack(token, answer)
            for (token, _), answer in zip(reports, answers, strict=True)
        ]

    def _ack(self, token: bytes, answer: ReportAnswer) -> bytes:
        code = _CODES.get(answer.code)
        if code is not None:
            return ack_record(token, code, answer.state)
        refusal = answer.refusal
        passing = isinstance(refusal, _PASSING) or not isinstance(refusal, Refused)
        text = refusal_text(refusal) if isinstance(refusal, Refused) else str(refusal)
        return ack_record(token, RETRY if passing else INVALID, answer.state, text)

    def follow_ups(self, requests: Sequence[SubmitJobRequest]) -> Sequence[NewJob]:
        """Read and check the jobs that a success brings along. Raises `Refused`."""
        return follow_ups_of(requests, self._jobs, self.limits)

    # --- leases -------------------------------------------------------------------------------------------------

    def assignments(self, leases: Sequence[Lease]) -> list[tuple[bytes, bytes]]:
        """Encode Assignments that are handed over now; each with its token."""
        seal, now_us = self.tokens.seal, self._clock.wall_us()
        encoded = []
        for lease in leases:
            token = seal(lease.key, lease.fence)
            encoded.append((token, assignment_bytes(lease, token, now_us)))
        return encoded

    async def extend(self, updates: Sequence[pb.LeaseUpdate], extending: Extending) -> list[pb.LeaseState]:
        """Keep leases alive; answers in order. A token that is none is a lost lease. Raises what the store raises,
        and `Refused` for a checkpoint that cannot be kept."""
        beats: dict[int, Beat] = {}
        for index, update in enumerate(updates):
            try:
                beats[index] = self._beat(update)
            except LeaseTokenMalformed:
                continue
        states = await extending(list(beats.values())) if beats else ()
        by_index = dict(zip(beats, states, strict=True))
        now_us = self._clock.wall_us()
        return [
            lease_state_message(update.lease_token[:64], by_index.get(index, _LOST), now_us)
            for index, update in enumerate(updates)
        ]

    def _beat(self, update: pb.LeaseUpdate) -> Beat:
        run = self.tokens.unseal(update.lease_token)
        percent: float | None = None
        if update.HasField("progress_percent") and not math.isnan(update.progress_percent):
            percent = min(100.0, max(0.0, update.progress_percent))
        message = bounded(update.progress_message, PROGRESS_MESSAGE_BYTES) if update.progress_message else None
        checkpoint = None
        if update.HasField("checkpoint"):
            checkpoint = checked_content(content_of(update.checkpoint), "checkpoint", self.limits)
        return Beat(run, percent, message, checkpoint)

    def state_message(self, token: bytes, state: LeaseState) -> pb.LeaseState:
        """Write a LeaseState."""
        return lease_state_message(token, state, self._clock.wall_us())
