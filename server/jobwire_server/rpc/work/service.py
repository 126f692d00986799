"""jobwire.v1.WorkerService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final

from jobwire.v1 import worker_service_pb2 as pb
from jobwire_server.dispatch.engine import Engine
from jobwire_server.dispatch.pulls import Pull
from jobwire_server.dispatch.session import Beat
from jobwire_server.domain.errors import FieldInvalid, LeaseLostError, Violation
from jobwire_server.domain.job import SECOND_US
from jobwire_server.domain.outcome import Outcome
from jobwire_server.domain.rules import line_ok, line_sentence
from jobwire_server.domain.worker_rules import lease_within
from jobwire_server.kernel.clock import Clock
from jobwire_server.kernel.loop import Chance
from jobwire_server.rpc.calls import Calls, Handler, Stream, UnaryMethod
from jobwire_server.rpc.convert.hello import interest_of, pull_fields
from jobwire_server.rpc.convert.records import RESPONSE_LIMIT, record
from jobwire_server.rpc.convert.work import acks_response, failure_of, success_of
from jobwire_server.rpc.gate import Gate
from jobwire_server.rpc.work.desk import Desk, TokenReport
from jobwire_server.rpc.work.stream import WorkStream
from jobwire_server.store.base import Lease, LeaseState, Report, ReportAnswer, ReportCode, Transport

SERVICE: Final = "jobwire.v1.WorkerService"

_ANSWER_SECONDS: Final = 1.0
"""What a long poll leaves of the caller's deadline for its answer."""


class WorkerService:
    """How workers in any language get and report work."""

    def __init__(
        self,
        desk: Desk,
        engine: Engine,
        *,
        gate: Gate,
        clock: Clock,
        chance: Chance,
        transport: Transport = Transport.STREAM,
    ) -> None:
        """`transport`: how recovery sees the leases of its streams (DIRECT for the server's own pool)."""
        self._desk = desk
        self._dispatcher, self._roster, self._pulls = engine.dispatcher, engine.roster, engine.pulls
        self._gate = gate
        self._clock = clock
        self._chance = chance
        self._transport = transport

    def handlers(self, calls: Calls) -> dict[str, Handler]:
        """Return the methods of the service."""
        methods: Mapping[str, UnaryMethod] = {
            "PullJobs": self.pull_jobs,
            "CompleteJob": self.complete_job,
            "FailJob": self.fail_job,
            "Heartbeat": self.heartbeat,
            "ReportOutcomes": self.report_outcomes,
        }
        unary = {name: calls.unary(f"{SERVICE}/{name}", method) for name, method in methods.items()}
        return unary | self.stream_handlers(calls)

    def stream_handlers(self, calls: Calls) -> dict[str, Handler]:
        """Return only the Work stream: all that the server's own pool needs."""
        return {"Work": calls.bidi(f"{SERVICE}/Work", self.work)}

    async def work(self, requests: AsyncIterator[bytes], stream: Stream) -> None:
        """Serve one Work stream."""
        served = WorkStream(
            self._desk,
            self._roster,
            transport=self._transport,
            settings=self._dispatcher.settings,
            clock=self._clock,
            chance=self._chance,
        )
        await served.serve(requests, stream)

    # --- the unary twins ----------------------------------------------------------------------------------------

    async def pull_jobs(self, raw: bytes, left: float | None) -> bytes:
        """Lease jobs, waiting for the first."""
        request = pb.PullJobsRequest.FromString(raw)
        fields = pull_fields(request, self._desk.limits)
        pull = Pull(
            worker_id=fields.worker_id,
            interest=interest_of(fields),
            max_jobs=fields.max_jobs or 1,
            lease_us=lease_within(fields.lease_us, self._dispatcher.settings.lease_us, self._desk.limits),
            request_id=fields.request_id,
        )
        wait_seconds = min(fields.wait_us, self._desk.limits.wait_us) / SECOND_US
        if left is not None:
            wait_seconds = min(wait_seconds, left - _ANSWER_SECONDS)
        with self._gate.long_poll():
            pulled = await self._pulls.pull(pull, max(0.0, wait_seconds), max_bytes=RESPONSE_LIMIT)
        tail = pb.PullJobsResponse(draining=pulled.draining).SerializeToString()
        return b"".join(self._fitting(pulled.leases, RESPONSE_LIMIT - len(tail))) + tail

    def _fitting(self, leases: Sequence[Lease], room: int) -> Iterator[bytes]:
        """The assignments that the answer has room for; what large checkpoints push out goes back at no cost."""
        for index, (_, encoded) in enumerate(self._desk.assignments(leases)):
            assignment = record(1, encoded)
            room -= len(assignment)
            if room < 0 and index:
                self._roster.astray([(each.key, each.fence) for each in leases[index:]])
                return
            yield assignment

    async def complete_job(self, raw: bytes, _left: float | None) -> bytes:
        """Record a success."""
        request = pb.CompleteJobRequest.FromString(raw)
        run = self._desk.tokens.unseal(request.lease_token)
        answer = await self._report(run, success_of(request, self._desk.limits, self._desk.follow_ups))
        return pb.CompleteJobResponse(duplicate=answer.code is ReportCode.DUPLICATE).SerializeToString()

    async def fail_job(self, raw: bytes, _left: float | None) -> bytes:
        """Record a failure."""
        request = pb.FailJobRequest.FromString(raw)
        run = self._desk.tokens.unseal(request.lease_token)
        answer = await self._report(run, failure_of(request, request.error, self._desk.limits))
        response = pb.FailJobResponse(duplicate=answer.code is ReportCode.DUPLICATE, state=answer.state or 0)  # type: ignore[arg-type]
        if answer.due_in_us is not None:
            response.next_attempt_time.FromMicroseconds(self._clock.wall_us() + answer.due_in_us)
        return response.SerializeToString()

    async def _report(self, run: tuple[int, int], outcome: Outcome) -> ReportAnswer:
        (answer,) = await self._dispatcher.report([Report(*run, outcome)])
        if answer.code is ReportCode.LEASE_LOST:
            raise LeaseLostError(
                "The lease of this attempt is over, and another attempt may be running: discard the result.",
                state="gone" if answer.state is None else answer.state.name,
                fence=run[1],
            )
        if answer.refusal is not None:
            raise answer.refusal
        return answer

    async def heartbeat(self, raw: bytes, _left: float | None) -> bytes:
        """Keep leases alive."""
        request = pb.HeartbeatRequest.FromString(raw)
        self._check_size("lease_updates", len(request.lease_updates))
        if not line_ok(request.worker_id, self._desk.limits.worker_id_chars, 1):
            raise FieldInvalid([Violation("worker_id", line_sentence(self._desk.limits.worker_id_chars))])
        lease_us = self._roster.seen_at_home(request.worker_id) or self._dispatcher.settings.lease_us

        async def extending(beats: Sequence[Beat]) -> Sequence[LeaseState]:
            return await self._dispatcher.extend(beats, lease_us)

        states = await self._desk.extend(request.lease_updates, extending)
        return pb.HeartbeatResponse(lease_states=states).SerializeToString()

    async def report_outcomes(self, raw: bytes, _left: float | None) -> bytes:
        """Record outcomes, each on its own."""
        request = pb.ReportOutcomesRequest.FromString(raw)
        self._check_size("outcomes", len(request.outcomes))
        read = [self._desk.read(outcome, {}) for outcome in request.outcomes]
        reports = [each for each in read if isinstance(each, TokenReport)]
        acks = iter(await self._desk.record(reports, self._dispatcher.report) if reports else ())
        return acks_response([each if isinstance(each, bytes) else next(acks) for each in read])

    def _check_size(self, field: str, size: int) -> None:
        most = self._desk.limits.report_outcomes
        if not 1 <= size <= most:
            raise FieldInvalid([Violation(field, f"must hold 1 to {most} elements, not {size}")])
