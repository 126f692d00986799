"""Clients of a campaign: they submit, read, meddle and watch through raw stubs, and write everything down."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from tests.helpers.history import Call, Outcome, Recorder, digest

REFUSALS: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.OUT_OF_RANGE,
    }
)
OPEN_ENDS: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
    }
)
CALL_SECONDS: Final = 5.0
RECONNECT_AT_ONCE: Final = (
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.max_receive_message_length", 8 << 20),
)
JOB_TYPES: Final = ("async", "async", "async", "thread", "thread", "child", "snoozy")
WIRE_TYPES: Final = ("wire-async", "wire-thread")
"""Job types of remote workers."""


class Undocumented(Exception):
    """The server answered with a status that the contract does not have."""


@dataclass
class Journal:
    """One client's pen: makes calls and writes them down."""

    name: str
    stub: job_service_pb2_grpc.JobServiceAsyncStub
    recorder: Recorder
    chance: random.Random

    async def call(
        self,
        op: str,
        args: Mapping[str, Any],
        method: Callable[..., Awaitable[Any]],
        request: Any,
        read: Callable[[Any], Mapping[str, Any]],
    ) -> tuple[Outcome, Any]:
        """Call once; returns the outcome and the response (None unless OK)."""
        invoked = time.monotonic_ns()
        response: Any = None
        try:
            response = await method(request, timeout=CALL_SECONDS, wait_for_ready=self.chance.random() < 0.7)
            outcome, value = Outcome.OK, read(response)
        except grpc.aio.AioRpcError as error:
            outcome, value = outcome_of(error), {"code": error.code().name, "details": error.details()}
        self.write(op, args, invoked, outcome, value)
        return outcome, response

    def write(self, op: str, args: Mapping[str, Any], invoked: int, outcome: Outcome, value: Mapping[str, Any]) -> None:
        """Write a call down, as ended now."""
        self.recorder.record(Call(self.name, op, args, invoked, time.monotonic_ns(), outcome, value))


def outcome_of(error: grpc.aio.AioRpcError) -> Outcome:
    """What a failed call leaves its caller to know; raise `Undocumented` for a status that nobody promised."""
    if error.code() in REFUSALS:
        return Outcome.REFUSED
    if error.code() in OPEN_ENDS:
        return Outcome.UNKNOWN
    raise Undocumented(f"{error.code()}: {error.details()}")


@dataclass
class Known:
    """Job ids that were acknowledged, for those who read and meddle. Bounded: the newest stay."""

    job_ids: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, job_ids: Sequence[str]) -> None:
        """Note acknowledged jobs."""
        self.count += len(job_ids)
        self.job_ids = [*self.job_ids, *job_ids][-200:]


@dataclass
class Submitter:
    """Submits single jobs and batches; repeats each under its request id until the answer is definite."""

    journal: Journal
    known: Known
    stop: asyncio.Event
    pace_seconds: float = 0.03
    job_types: Sequence[str] = JOB_TYPES
    longest_ms: int = 400
    failing: float = 0.1
    """Share of jobs whose first attempts fail."""

    async def run(self) -> None:
        """Submit until told to stop."""
        chance, number = self.journal.chance, 0
        while not self.stop.is_set():
            number += 1
            size = 1 if chance.random() < 0.8 else chance.randint(2, 12)
            await self._submit(f"{self.journal.name}-{number}", size)
            await asyncio.sleep(chance.random() * 2 * self.pace_seconds)

    async def _submit(self, request_id: str, size: int) -> None:
        specs = [self._spec(f"{request_id}.{index}") for index in range(size)]
        args = {
            "request_id": request_id,
            "payloads": [digest(spec.payload.data) for spec in specs],
            "types": [spec.type for spec in specs],
        }
        stub = self.journal.stub
        method: Any
        if size == 1:
            method, request, read = stub.SubmitJob, _single(request_id, specs[0]), _read_single
        else:
            method, request, read = stub.BatchSubmitJobs, _batch(request_id, specs), _read_batch  # type: ignore[assignment]
        while True:
            outcome, response = await self.journal.call("submit", args, method, request, read)
            if outcome is Outcome.OK:
                self.known.add(read(response)["job_ids"])
            if outcome is not Outcome.UNKNOWN:
                return
            await asyncio.sleep(self.journal.chance.random() * 0.05)

    def _spec(self, name: str) -> job_pb2.JobSpec:
        chance = self.journal.chance
        kind = chance.choice(self.job_types)
        payload: dict[str, Any] = {"n": _number(name)}
        payload["ms"] = int(chance.paretovariate(1.2) * 3) % self.longest_ms
        if kind != "snoozy" and chance.random() < self.failing:
            payload["failures"] = chance.randint(1, 2)
        spec = job_pb2.JobSpec(
            type=kind,
            payload=job_pb2.Payload(content_type="application/json", data=json.dumps(payload).encode()),
            priority=chance.randint(0, 9),
            retry_policy=job_pb2.RetryPolicy(
                max_attempts=1 if chance.random() < 0.05 else 30,
                initial_backoff=Duration(nanos=10_000_000),
                max_backoff=Duration(nanos=100_000_000),
            ),
        )
        if chance.random() < 0.1:
            due = Timestamp()
            due.FromNanoseconds(time.time_ns() + chance.randint(0, 500_000_000))
            spec.schedule_time.CopyFrom(due)
        return spec


@dataclass
class Meddler:
    """Reads, lists, cancels, retries and deletes jobs that were acknowledged."""

    journal: Journal
    known: Known
    stop: asyncio.Event
    pace_seconds: float = 0.05

    async def run(self) -> None:
        """Meddle until told to stop."""
        chance = self.journal.chance
        actions = [self._get, self._get, self._get_many, self._list, self._cancel, self._retry, self._delete]
        while not self.stop.is_set():
            if self.known.job_ids:
                await chance.choice(actions)(chance.choice(self.known.job_ids))
            await asyncio.sleep(chance.random() * 2 * self.pace_seconds)

    async def _get(self, job_id: str) -> None:
        request = job_service_pb2.GetJobRequest(job_id=job_id, view=job_pb2.JOB_VIEW_BASIC)
        await self.journal.call("get", {"job_id": job_id}, self.journal.stub.GetJob, request, _read_job)

    async def _get_many(self, job_id: str) -> None:
        request = job_service_pb2.BatchGetJobsRequest(job_ids=self.known.job_ids[-20:])
        await self.journal.call("get-many", {}, self.journal.stub.BatchGetJobs, request, _read_jobs)

    async def _list(self, job_id: str) -> None:
        request = job_service_pb2.ListJobsRequest(page_size=20)
        await self.journal.call("list", {}, self.journal.stub.ListJobs, request, _read_jobs)

    async def _cancel(self, job_id: str) -> None:
        force = self.journal.chance.random() < 0.3
        request = job_service_pb2.CancelJobRequest(job_id=job_id, force=force)
        args = {"job_id": job_id, "force": force}
        await self.journal.call("cancel", args, self.journal.stub.CancelJob, request, _read_job)

    async def _retry(self, job_id: str) -> None:
        request = job_service_pb2.RetryJobRequest(job_id=job_id)
        await self.journal.call("retry", {"job_id": job_id}, self.journal.stub.RetryJob, request, _read_job)

    async def _delete(self, job_id: str) -> None:
        if self.journal.chance.random() < 0.3:
            request = job_service_pb2.DeleteJobRequest(job_id=job_id)
            await self.journal.call("delete", {"job_id": job_id}, self.journal.stub.DeleteJob, request, lambda _: {})


@dataclass
class Usurper:
    """Takes running jobs from their workers by force, and has them run again at once."""

    journal: Journal
    stop: asyncio.Event
    shortest_ms: int = 100
    longest_ms: int = 400
    job_types: Sequence[str] = ("async", "thread", "child")

    async def run(self) -> None:
        """Usurp until told to stop."""
        number = 0
        while not self.stop.is_set():
            number += 1
            await self._usurp(f"{self.journal.name}-{number}")
            await asyncio.sleep(self.journal.chance.random() * 0.1)

    async def _usurp(self, job_id: str) -> None:
        journal, chance = self.journal, self.journal.chance
        payload = json.dumps({"n": _number(job_id), "ms": chance.randint(self.shortest_ms, self.longest_ms)}).encode()
        spec = job_pb2.JobSpec(
            type=chance.choice(self.job_types),
            payload=job_pb2.Payload(content_type="application/json", data=payload),
            priority=9,
        )
        args = {"request_id": job_id, "payloads": [digest(payload)], "types": [spec.type]}
        submit = job_service_pb2.SubmitJobRequest(spec=spec, job_id=job_id, request_id=job_id)
        outcome, response = await journal.call("submit", args, journal.stub.SubmitJob, submit, _read_single)
        if outcome is not Outcome.OK:
            return
        started = job_service_pb2.GetJobRequest(
            job_id=job_id, view=job_pb2.JOB_VIEW_BASIC, wait_revision=response.job.status.revision
        )
        await journal.call("get", {"job_id": job_id}, journal.stub.GetJob, started, _read_job)
        cancel = job_service_pb2.CancelJobRequest(job_id=job_id, force=True)
        args = {"job_id": job_id, "force": True}
        await journal.call("cancel", args, journal.stub.CancelJob, cancel, _read_job)
        retry = job_service_pb2.RetryJobRequest(job_id=job_id)
        await journal.call("retry", {"job_id": job_id}, journal.stub.RetryJob, retry, _read_job)


@dataclass
class Watcher:
    """Watches many jobs, cuts its own stream now and then, and resumes by its cursor."""

    journal: Journal
    lineage: str
    types: Sequence[str] = ()
    cut_chance: float = 0.02
    bookmark_seconds: int = 1
    cursor: int | None = None
    epoch: str = ""
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._watch()
            except grpc.aio.AioRpcError as error:
                outcome_of(error)
                if error.code() in REFUSALS:
                    raise Undocumented(f"{self.lineage} was refused: {error.details()}") from error
                await asyncio.sleep(self.journal.chance.random() * 0.05)

    async def caught_up(self, revision: int) -> None:
        """Wait until everything up to `revision` has come."""
        while self.cursor is None or self.cursor < revision:
            self.moved.clear()
            await self.moved.wait()

    async def _watch(self) -> None:
        request = job_service_pb2.WatchJobsRequest(
            filter=job_pb2.JobFilter(types=self.types), bookmark_interval=Duration(seconds=self.bookmark_seconds)
        )
        if self.cursor is not None:
            request.after.epoch, request.after.revision = self.epoch, self.cursor
        call = self.journal.stub.WatchJobs(request, wait_for_ready=True)
        try:
            async for response in call:
                self._take(response)
                if self.journal.chance.random() < self.cut_chance:
                    return
        finally:
            call.cancel()

    def _take(self, response: job_service_pb2.WatchJobsResponse) -> None:
        if not response.HasField("cursor"):
            raise Undocumented(f"{self.lineage}: a response without a cursor")
        args = {"lineage": self.lineage, "after": self.cursor, "types": list(self.types)}
        events = [
            [event.revision, event.event_type, event.job_id, event.status.state, event.status.attempt]
            for event in response.events
        ]
        value = {"events": events, "cursor": response.cursor.revision}
        self.journal.write("watch", args, time.monotonic_ns(), Outcome.OK, value)
        self.cursor, self.epoch = response.cursor.revision, response.cursor.epoch
        self.moved.set()


@dataclass
class Follower:
    """Watches single jobs to their end, one after the other."""

    journal: Journal
    known: Known
    stop: asyncio.Event

    async def run(self) -> None:
        """Follow until told to stop."""
        while not self.stop.is_set():
            if self.known.job_ids:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._follow(self.journal.chance.choice(self.known.job_ids)), timeout=10)
            await asyncio.sleep(self.journal.chance.random() * 0.1)

    async def _follow(self, job_id: str) -> None:
        invoked, seen = time.monotonic_ns(), []
        call = self.journal.stub.WatchJob(job_service_pb2.WatchJobRequest(job_id=job_id))
        outcome = Outcome.UNKNOWN
        try:
            async for response in call:
                seen.append([job_id, response.status.revision, response.status.state])  # noqa: PERF401 - kept when cut
            outcome = Outcome.OK
        except grpc.aio.AioRpcError as error:
            outcome = outcome_of(error)
        finally:
            call.cancel()
            self.journal.write("watch-job", {"job_id": job_id}, invoked, outcome, {"seen": _without_progress(seen)})


def _without_progress(seen: Sequence[list[Any]]) -> list[list[Any]]:
    """Drop repeats of a revision: progress changes a status, not its revision."""
    return [one for one, before in zip(seen, [None, *seen], strict=False) if one != before]


def _number(name: str) -> int:
    return int.from_bytes(bytes.fromhex(digest(name.encode()))[:6], "big")


def _single(request_id: str, spec: job_pb2.JobSpec) -> job_service_pb2.SubmitJobRequest:
    return job_service_pb2.SubmitJobRequest(spec=spec, request_id=request_id)


def _batch(request_id: str, specs: Sequence[job_pb2.JobSpec]) -> job_service_pb2.BatchSubmitJobsRequest:
    requests = [job_service_pb2.SubmitJobRequest(spec=spec) for spec in specs]
    return job_service_pb2.BatchSubmitJobsRequest(requests=requests, request_id=request_id)


def _sight(job: job_pb2.Job) -> list[Any]:
    return [job.job_id, job.status.revision, job.status.state]


def _read_single(response: job_service_pb2.SubmitJobResponse) -> Mapping[str, Any]:
    job = response.job
    return {"job_ids": [job.job_id], "created": [response.created], "seen": [_sight(job)]}


def _read_batch(response: job_service_pb2.BatchSubmitJobsResponse) -> Mapping[str, Any]:
    results = response.results
    return {"job_ids": [result.job_id for result in results], "created": [result.created for result in results]}


def _read_job(response: Any) -> Mapping[str, Any]:
    return {"seen": [_sight(response.job)]}


def _read_jobs(response: Any) -> Mapping[str, Any]:
    return {"seen": [_sight(job) for job in response.jobs]}
