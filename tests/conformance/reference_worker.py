"""A worker on the generated stubs alone that keeps every rule of WorkerService.

python -m tests.conformance.reference_worker
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import grpc

from jobwire.v1 import worker_service_pb2 as pb
from jobwire.v1.worker_service_pb2_grpc import WorkerServiceStub
from tests.conformance.verbs import VERBS, Stop, failure

FRAME_ITEMS = 256
FRAME_BYTES = 1 << 20
GOODBYE_SECONDS = 2.0


class Drained(Exception):
    """Everything is done; what still waits for the server need not."""


class Run:
    """One lease, from its assignment to the ack of its outcome."""

    def __init__(self, assignment: pb.Assignment) -> None:
        self.assignment = assignment
        self.token = assignment.lease_token
        self.outcome: pb.Outcome | None = None
        self.stopped = asyncio.Event()
        self.stop_with: pb.Outcome | None = None

    def stop(self, outcome: pb.Outcome | None) -> None:
        """Tell the handler to stop, once."""
        if not self.stopped.is_set():
            self.stop_with = outcome
            self.stopped.set()

    async def sleep(self, seconds: float) -> None:
        """Wait; raises Stop when told to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)
        if self.stopped.is_set():
            raise Stop(self.stop_with)


class Stream:
    """One Work call."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.call: Any = worker.stub.Work()
        self.welcome: pb.WorkerWelcome | None = None
        self.leaving = asyncio.Event()  # the server wants it gone, or it is gone
        self.reconnect_seconds = 0.0
        self.is_replaced = False
        self.heard_at = time.monotonic()
        self.items: deque[pb.Outcome | pb.LeaseUpdate] = deque()
        self.head = pb.WorkRequest()
        self.wake = asyncio.Event()
        self.is_closing = False

    async def run(self) -> None:
        """Introduce the worker and carry frames until the stream ends, by whatever cause."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self.call.write(pb.WorkRequest(hello=self.worker.hello()))
                others = [tasks.create_task(self.write()), tasks.create_task(self.beat())]
                await self.read()
                for task in others:
                    task.cancel()
        except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as errors:
            print("stream lost:", *errors.exceptions, file=sys.stderr)
        finally:
            self.call.cancel()
            self.leaving.set()

    async def read(self) -> None:
        while (frame := await self.call.read()) is not grpc.aio.EOF:
            self.heard_at = time.monotonic()
            if frame.HasField("welcome"):
                self.welcome = frame.welcome
                self.worker.welcomed(self)
            if frame.ping_id:
                self.pong(frame.ping_id)
            if frame.HasField("drain"):
                self.leave(frame.drain)
            self.worker.heard(frame)

    def leave(self, notice: pb.DrainNotice) -> None:
        """The server wants this stream gone."""
        self.is_replaced = notice.reason == "REPLACED"
        self.reconnect_seconds = notice.reconnect_delay.ToNanoseconds() / 1e9 * random.random()
        self.leaving.set()

    def pong(self, ping_id: int) -> None:
        self.head.pong_id = ping_id
        self.wake.set()

    def send(self, *items: pb.Outcome | pb.LeaseUpdate) -> None:
        self.items.extend(items)
        self.wake.set()

    def close(self) -> None:
        """Half-close when everything is written."""
        self.is_closing = True
        self.wake.set()

    async def write(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            for frame in self.frames():
                await self.call.write(frame)
            if self.is_closing:
                await self.call.done_writing()
                return

    def frames(self) -> Iterator[pb.WorkRequest]:
        """Pack what has gathered. Updates stay ahead of outcomes that were sent after them."""
        frame, self.head = self.head, pb.WorkRequest()
        count = size = 0
        while self.items:
            item = self.items[0]
            if count and (count == FRAME_ITEMS or size + item.ByteSize() > FRAME_BYTES - 1024):
                yield frame
                frame, count, size = pb.WorkRequest(), 0, 0
            self.items.popleft()
            (frame.outcomes if isinstance(item, pb.Outcome) else frame.lease_updates).append(item)
            count, size = count + 1, size + item.ByteSize() + 8
        yield frame

    async def beat(self) -> None:
        """Name every lease in each interval, and give up a stream that is silent for too long."""
        while True:
            interval = self.welcome.heartbeat_interval.ToNanoseconds() / 1e9 if self.welcome else 1.0
            await asyncio.sleep(interval * 0.8)
            if time.monotonic() - self.heard_at > self.worker.silence_seconds:
                raise TimeoutError("the server is silent")
            self.send(*self.worker.beats())


class Worker:
    """The worker."""

    stream_class = Stream
    options = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
    silence_seconds = 45.0
    finish_seconds = 2.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.address = environ["JOBWIRE_ADDRESS"]
        self.queue = environ["JOBWIRE_QUEUE"]
        self.worker_id = environ["JOBWIRE_WORKER_ID"]
        self.slots = int(environ["JOBWIRE_SLOTS"])
        self.instance_id = secrets.token_hex(8)
        self.runs: dict[bytes, Run] = {}
        self.stream: Stream | None = None
        self.is_draining = False
        self.idle = asyncio.Event()
        self.draining = asyncio.Event()

    async def main(self) -> None:
        """Work until SIGTERM, then drain."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.begin_drain)
        async with grpc.aio.insecure_channel(self.address, self.options) as channel:
            self.stub = WorkerServiceStub(channel)
            try:
                async with asyncio.TaskGroup() as self.tasks:
                    self.tasks.create_task(self.keep_streaming())
                    self.tasks.create_task(self.until_drained())
            except* Drained:
                pass

    # --- streams

    async def keep_streaming(self) -> None:
        while True:
            stream = self.stream_class(self)
            self.tasks.create_task(stream.run())
            await stream.leaving.wait()
            if stream.is_replaced:
                await asyncio.Event().wait()  # another stream of ours has taken its place
            await self.pause_before_reconnect(stream)

    async def pause_before_reconnect(self, stream: Stream) -> None:
        await asyncio.sleep(stream.reconnect_seconds or random.uniform(0.1, 0.3))

    def hello(self) -> pb.WorkerHello:
        return pb.WorkerHello(
            worker_id=self.worker_id,
            instance_id=self.instance_id,
            queues=[pb.QueueSubscription(queue=self.queue)],
            types=["conformance"],
            max_in_flight=0 if self.is_draining else self.slots,
            held_lease_tokens=list(self.runs),
            user_agent="reference",
        )

    def welcomed(self, stream: Stream) -> None:
        """From now on everything goes through this stream; the one before it may end."""
        if self.stream is not None:
            self.stream.close()
        self.stream = stream
        if self.is_draining:
            self.pause()
        self.learn(stream.welcome.leases if stream.welcome else ())
        stream.send(*(run.outcome for run in self.runs.values() if run.outcome is not None))

    def send(self, *items: pb.Outcome | pb.LeaseUpdate) -> None:
        if self.stream is not None:
            self.stream.send(*items)

    def beats(self) -> list[pb.LeaseUpdate]:
        return [pb.LeaseUpdate(lease_token=token) for token in self.runs]

    # --- what the server says

    def heard(self, frame: pb.WorkResponse) -> None:
        for assignment in frame.assignments:
            self.take(assignment)
        for ack in frame.outcome_acks:
            self.acked(ack)
        self.learn(frame.lease_states)
        for order in frame.cancel_orders:
            self.cancel(order.lease_token)

    def take(self, assignment: pb.Assignment) -> None:
        token = assignment.lease_token
        if token in self.runs:
            return
        self.idle.clear()
        self.runs[token] = run = Run(assignment)
        if self.stream is not None and self.stream.is_closing:
            self.tasks.create_task(self.release_alone(run))
        elif self.is_draining:
            self.report(run, pb.Outcome(release=pb.Release(reason="draining")))
        else:
            self.tasks.create_task(self.work(run))

    def acked(self, ack: pb.OutcomeAck) -> None:
        run = self.runs.get(ack.lease_token)
        if run is None or run.outcome is None:
            return
        match ack.code:
            case pb.OUTCOME_CODE_RETRY:
                self.send(run.outcome)
            case pb.OUTCOME_CODE_INVALID:
                self.report(run, failure("OutcomeRefused", ack.message, retryable=False))
            case _:
                self.forget(run)

    def learn(self, states: Any) -> None:
        for state in states:
            run = self.runs.get(state.lease_token)
            if run is not None and not state.valid:
                run.stop(None)
                self.forget(run)
            elif state.cancel_requested:
                self.cancel(state.lease_token)

    def cancel(self, token: bytes) -> None:
        if (run := self.runs.get(token)) is not None:
            run.stop(pb.Outcome(stopped=pb.Stopped(reason="cancelled")))

    def forget(self, run: Run) -> None:
        self.runs.pop(run.token, None)
        if not self.runs:
            self.idle.set()

    # --- drain

    def begin_drain(self) -> None:
        self.is_draining = True
        if not self.runs:
            self.idle.set()
        if self.stream is not None:
            self.pause()
        self.draining.set()

    def pause(self) -> None:
        """Ask for no more jobs. Those on their way still come."""
        assert self.stream is not None
        self.stream.head.max_in_flight = 0
        self.stream.wake.set()

    async def until_drained(self) -> None:
        await self.draining.wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.idle.wait(), self.finish_seconds)
        for run in list(self.runs.values()):
            run.stop(pb.Outcome(release=pb.Release(reason="draining")))
        with suppress(TimeoutError):
            await asyncio.wait_for(self.idle.wait(), GOODBYE_SECONDS)
        if self.stream is not None:
            self.stream.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stream.leaving.wait(), GOODBYE_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.idle.wait(), GOODBYE_SECONDS)
        raise Drained

    async def release_alone(self, run: Run) -> None:
        """Give back a job that came when nothing could be said in the stream any more."""
        outcome = pb.Outcome(lease_token=run.token, release=pb.Release(reason="draining"))
        with suppress(grpc.aio.AioRpcError):
            await self.stub.ReportOutcomes(pb.ReportOutcomesRequest(outcomes=[outcome]), timeout=1.0)
        self.forget(run)

    # --- jobs

    async def do(self, run: Run) -> pb.Outcome:
        """Do what the payload says. Raises Stop, and others when it makes no sense."""
        job = run.assignment
        payload = json.loads(job.payload.text or job.payload.data)
        return await VERBS[payload["do"]](self, run, payload)

    async def work(self, run: Run) -> None:
        try:
            outcome = await self.do(run)
        except Stop as stop:
            outcome = stop.args[0]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            outcome = failure("BadPayload", repr(error), retryable=False)
        if outcome is not None:
            self.report(run, outcome)

    def report(self, run: Run, outcome: pb.Outcome) -> None:
        if run.token not in self.runs:
            return
        outcome.lease_token = run.token
        run.outcome = outcome
        self.send(outcome)


if __name__ == "__main__":
    asyncio.run(Worker(os.environ).main())
