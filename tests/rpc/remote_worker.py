"""A worker on the raw stream that does exactly what a test says, and remembers what it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from grpc import aio

from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import worker_service_pb2 as wpb
from tests.rpc.rig import RpcRig


def hello(**fields: Any) -> wpb.WorkerHello:
    """A hello of a worker that takes up to 10 jobs of type `work` from every queue."""
    own: dict[str, Any] = {
        "worker_id": "w1",
        "instance_id": "i1",
        "queues": [wpb.QueueSubscription(queue="*")],
        "types": ["work"],
        "max_in_flight": 10,
    }
    return wpb.WorkerHello(**{**own, **fields})


def success(token: bytes, text: str = '"done"', **fields: Any) -> wpb.Outcome:
    """An outcome: it worked."""
    result = jpb.Payload(text=text, content_type="application/json")
    return wpb.Outcome(lease_token=token, success=wpb.Success(result=result, **fields))


def failure(token: bytes, *, retryable: bool = True, **fields: Any) -> wpb.Outcome:
    """An outcome: it did not."""
    error = jpb.JobError(type="Boom", message="it broke", retryable=retryable)
    return wpb.Outcome(lease_token=token, failure=wpb.Failure(error=error, **fields))


class RemoteWorker:
    """One open Work stream (`async with`)."""

    def __init__(self, rig: RpcRig, **fields: Any) -> None:
        self._call: Any = rig.work.Work()
        self._hello = hello(**fields)
        self.frames: list[wpb.WorkResponse] = []
        self.assigned: list[wpb.Assignment] = []
        self.acks: list[wpb.OutcomeAck] = []
        self.states: list[wpb.LeaseState] = []
        self.cancels: list[wpb.CancelOrder] = []
        self.pings: list[int] = []
        self.drains: list[wpb.DrainNotice] = []
        self.welcome = wpb.WorkerWelcome()
        self.ended: aio.AioRpcError | None = None
        self.over = False
        self._changed = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.send(hello=self._hello)
        self._reader = asyncio.create_task(self._read())
        await self.until(lambda: bool(self.frames) or self.over)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        if self._reader is not None:
            await asyncio.wait((self._reader,))

    async def _read(self) -> None:
        try:
            async for frame in self._call:
                self._keep(frame)
                async with self._changed:
                    self._changed.notify_all()
        except aio.AioRpcError as error:
            self.ended = error
        except asyncio.CancelledError:
            pass
        self.over = True
        async with self._changed:
            self._changed.notify_all()

    def _keep(self, frame: wpb.WorkResponse) -> None:
        if not self.frames:
            self.welcome = frame.welcome
        self.frames.append(frame)
        self.assigned += frame.assignments
        self.acks += frame.outcome_acks
        self.states += frame.lease_states
        self.cancels += frame.cancel_orders
        if frame.ping_id:
            self.pings.append(frame.ping_id)
        if frame.HasField("drain"):
            self.drains.append(frame.drain)

    async def send(self, **fields: Any) -> None:
        """Send one frame."""
        await self._call.write(wpb.WorkRequest(**fields))

    async def report(self, *outcomes: wpb.Outcome) -> list[wpb.OutcomeAck]:
        """Send outcomes and wait for their acks, in the order of the outcomes."""
        start = len(self.acks)
        await self.send(outcomes=outcomes)
        await self.until(lambda: len(self.acks) >= start + len(outcomes))
        by_token = {ack.lease_token: ack for ack in self.acks[start:]}
        return [by_token[outcome.lease_token] for outcome in outcomes]

    async def beat(self, *updates: wpb.LeaseUpdate) -> list[wpb.LeaseState]:
        """Send heartbeats and wait for the answers."""
        start = len(self.states)
        await self.send(lease_updates=updates)
        await self.until(lambda: len(self.states) >= start + len(updates))
        return self.states[start:]

    async def jobs(self, count: int) -> Sequence[wpb.Assignment]:
        """Wait until so many jobs in all have been assigned."""
        await self.until(lambda: len(self.assigned) >= count)
        return self.assigned

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for frames until it holds; the test's own timeout is the bound."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def hang_up(self) -> None:
        """Half-close: everything is said."""
        await self._call.done_writing()

    async def end(self) -> None:
        """Wait for the end of the stream."""
        await self.until(lambda: self.over)

    def cut(self) -> None:
        """End the stream without a word."""
        self._call.cancel()

    async def code(self) -> Any:
        """The status that the stream ended with."""
        return await self._call.code()
