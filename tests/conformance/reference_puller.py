"""A worker of unary calls, on the generated stubs alone: PullJobs, Heartbeat, ReportOutcomes and its kin.

python -m tests.conformance.reference_puller
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from jobwire.v1 import worker_service_pb2 as pb
from jobwire.v1.worker_service_pb2_grpc import WorkerServiceStub
from tests.conformance.verbs import VERBS, Stop, failure

CALL_SECONDS = 10.0
PULL_SECONDS = 2
PAUSE_SECONDS = 0.2


class Run:
    """One lease."""

    def __init__(self, assignment: pb.Assignment) -> None:
        self.assignment = assignment
        self.token = assignment.lease_token
        self.heartbeat_seconds = assignment.lease_remaining.ToNanoseconds() / 1e9 / 4
        self.updates: list[pb.LeaseUpdate] = []
        self.stopped = asyncio.Event()
        self.stop_with: pb.Outcome | None = None

    def stop(self, outcome: pb.Outcome | None) -> None:
        """Tell the handler to stop, once."""
        if not self.stopped.is_set():
            self.stop_with = outcome
            self.stopped.set()

    async def sleep(self, seconds: float) -> None:
        """See `RunLike`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)
        if self.stopped.is_set():
            raise Stop(self.stop_with)


class Puller:
    """The worker."""

    finish_seconds = 2.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.address = environ["JOBWIRE_ADDRESS"]
        self.queue = environ["JOBWIRE_QUEUE"]
        self.worker_id = environ["JOBWIRE_WORKER_ID"]
        self.slots = int(environ["JOBWIRE_SLOTS"])
        self.runs: dict[bytes, Run] = {}
        self.is_draining = False
        self.changed = asyncio.Event()

    async def main(self) -> None:
        """Work until SIGTERM, then drain."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.drain)
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        async with grpc.aio.insecure_channel(self.address, options) as channel, asyncio.TaskGroup() as self.tasks:
            self.stub = WorkerServiceStub(channel)
            await self.pull_until_drained()
            await self.finish()

    async def pull_until_drained(self) -> None:
        while not self.is_draining:
            free = self.slots - len(self.runs)
            if not free:
                self.changed.clear()
                await self.changed.wait()
                continue
            request = pb.PullJobsRequest(
                worker_id=self.worker_id,
                queues=[pb.QueueSubscription(queue=self.queue)],
                types=["conformance"],
                max_jobs=free,
                wait_timeout=Duration(seconds=PULL_SECONDS),
                request_id=secrets.token_hex(8),
            )
            answer = await self.persistently("PullJobs", request)
            for assignment in answer.assignments:
                self.runs[assignment.lease_token] = run = Run(assignment)
                self.tasks.create_task(self.work(run))

    def drain(self) -> None:
        self.is_draining = True
        self.changed.set()

    async def finish(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.until_idle(), self.finish_seconds)
        for run in list(self.runs.values()):
            run.stop(pb.Outcome(release=pb.Release(reason="draining")))
        await self.until_idle()

    async def until_idle(self) -> None:
        while self.runs:
            self.changed.clear()
            await self.changed.wait()

    async def persistently(self, name: str, request: Any) -> Any:
        """Call until the server answers. A repeated pull has the same request_id, and so gets the same jobs."""
        while True:
            try:
                return await getattr(self.stub, name)(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    async def work(self, run: Run) -> None:
        beating = self.tasks.create_task(self.beat(run))
        try:
            outcome = await self.do(run)
        except Stop as stop:
            outcome = stop.args[0]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            outcome = failure("BadPayload", repr(error), retryable=False)
        if outcome is not None:
            await self.update(run)
            await self.report(run, outcome)
        beating.cancel()
        self.runs.pop(run.token, None)
        self.changed.set()

    async def do(self, run: Run) -> pb.Outcome:
        payload = json.loads(run.assignment.payload.text or run.assignment.payload.data)
        worker = _Speaker(self.queue, run)
        return await VERBS[payload["do"]](worker, run, payload)

    async def beat(self, run: Run) -> None:
        while True:
            await asyncio.sleep(run.heartbeat_seconds if not run.updates else 0)
            run.updates.append(pb.LeaseUpdate(lease_token=run.token))
            await self.update(run)

    async def update(self, run: Run) -> None:
        """Send what has gathered for a lease, and learn what the server says of it."""
        updates, run.updates = run.updates, []
        if not updates:
            return
        request = pb.HeartbeatRequest(worker_id=self.worker_id, lease_updates=updates)
        try:
            answer = await self.stub.Heartbeat(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError:
            return  # the next one will do
        for state in answer.lease_states:
            self.learn(run, state)

    def learn(self, run: Run, state: pb.LeaseState) -> None:
        if not state.valid:
            run.stop(None)
        elif state.cancel_requested:
            run.stop(pb.Outcome(stopped=pb.Stopped(reason="cancelled")))

    async def report(self, run: Run, outcome: pb.Outcome) -> None:
        outcome.lease_token = run.token
        if outcome.HasField("success"):
            request: Any = pb.CompleteJobRequest(
                lease_token=run.token, result=outcome.success.result, follow_ups=outcome.success.follow_ups
            )
            try:
                await self.persistently("CompleteJob", request)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    await self.report(run, failure("OutcomeRefused", error.details() or "", retryable=False))
            return
        await self.persistently("ReportOutcomes", pb.ReportOutcomesRequest(outcomes=[outcome]))


class _Speaker:
    """What a verb sends goes out with the next heartbeat of its run."""

    def __init__(self, queue: str, run: Run) -> None:
        self.queue = queue
        self._run = run

    def send(self, *items: pb.Outcome | pb.LeaseUpdate) -> None:
        """See `WorkerLike`."""
        self._run.updates += [item for item in items if isinstance(item, pb.LeaseUpdate)]


if __name__ == "__main__":
    asyncio.run(Puller(os.environ).main())
