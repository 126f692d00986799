"""The world of one point: a queue, a proxy, the program under test, and the eyes of the judge."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration

from jobwire._ambient import Ambient
from jobwire.conformance.audit import complaints
from jobwire.conformance.frames import Fate, Frame
from jobwire.conformance.journal import Journal
from jobwire.conformance.processes import Process, Server
from jobwire.conformance.proxy import Fault, Proxy, pass_all
from jobwire.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from jobwire.v1 import worker_service_pb2 as worker

T = TypeVar("T")

JOB_TYPE: Final = "conformance"
EXIT_SECONDS: Final = 10.0
"""How long a worker may take to end after SIGTERM."""
CONNECT_SECONDS: Final = 30.0
"""How long a worker may take from its start to its first call."""
PATIENCE_SECONDS: Final = 15.0
"""How long anything else may take."""
_CALL_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 0.1


class Deviation(Exception):
    """The program did something else than the protocol asks for."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")
        self.expected = expected
        self.seen = seen


class Commands(NamedTuple):
    """The programs under test, as lists of words; None = not asked for."""

    worker: Sequence[str] | None
    submitter: Sequence[str] | None


class Stage:
    """What a point acts on. Programs meet the proxy; the stage's own calls go straight to the server."""

    def __init__(
        self, *, name: str, commands: Commands, server: Server, jobs: int, ambient: Ambient, tasks: asyncio.TaskGroup
    ) -> None:
        self.name = name
        self.queue = f"conformance.{name}"
        self.jobs = jobs
        """How many jobs a point of many jobs submits."""
        self.server = server
        self.clock = ambient.clock
        self.journal = Journal()
        self.proxy = Proxy(server.target, self.journal, self.clock.monotonic)
        self.fault: Fault = pass_all
        """What happens to frames; a point may change it at any time."""
        self.program: Process | None = None
        self.waiting_for: list[tuple[str, Callable[[], str]]] = []
        """What the point waits for, innermost last, and what it has seen of that: for the report of a timeout."""
        self._new_id = ambient.new_id
        self._commands = commands
        self._tasks = tasks
        self._submitted: list[str] = []
        self._leaving: set[Process] = set()
        """Programs whose end is in order."""
        self.proxy.fault = self._judge

    async def _judge(self, frame: Frame) -> Fate:
        """Take away a wish for another lease: the tool's leases are short. Then let the point's fault decide."""
        asking = frame.hello or frame.pull
        if asking is not None and asking.HasField("lease_duration"):
            frame.edit()
            asking.ClearField("lease_duration")
        return await self.fault(frame)

    # --- the worker under test

    async def start_worker(
        self, *, slots: int = 4, is_expected_to_connect: bool = True, within: float = CONNECT_SECONDS
    ) -> None:
        """Start the worker, and wait until it has asked for work, and has its welcome if that was by a stream."""
        assert self._commands.worker is not None
        before = self.journal.welcomes + len(self.journal.pulls)
        environment = {
            "JOBWIRE_ADDRESS": self.proxy.address,
            "JOBWIRE_QUEUE": self.queue,
            "JOBWIRE_WORKER_ID": f"worker-of-{self.name}",
            "JOBWIRE_SLOTS": str(slots),
        }
        await self._start(self._commands.worker, environment)
        if is_expected_to_connect:
            await self.until(
                lambda: self.journal.welcomes + len(self.journal.pulls) > before,
                "the worker opens Work, or calls PullJobs",
                lambda: f"its calls: {', '.join(call.name for call in self.journal.calls) or 'none'}",
                within=within,
            )

    async def kill_worker(self) -> None:
        """`kill -9`, the worker and all it started."""
        assert self.program is not None
        self._leaving.add(self.program)
        await self.program.destroy()

    async def stop_worker(self) -> int:
        """Send SIGTERM and wait for the exit code, at most as long as a worker may take."""
        assert self.program is not None
        self._leaving.add(self.program)
        self.program.signal(signal.SIGTERM)
        async with self.waiting("the worker exits on SIGTERM", lambda: "it still runs", within=EXIT_SECONDS):
            return await self.program.ended()

    @property
    def uses_stream(self) -> bool:
        """True for a worker with a Work stream, False for one of unary calls."""
        return bool(self.journal.introductions)

    # --- the submitter under test

    async def run_submitter(self, payload: Any) -> None:
        """Start the submitter with a job."""
        assert self._commands.submitter is not None
        environment = {"JOBWIRE_ADDRESS": self.proxy.address, "JOBWIRE_QUEUE": self.queue}
        words = [*self._commands.submitter, JOB_TYPE, json.dumps(payload, ensure_ascii=False)]
        self._leaving.add(await self._start(words, environment))

    # --- jobs, straight to the server

    async def submit(self, do: Mapping[str, Any], *, as_text: bool = True, **spec: Any) -> str:
        """Submit one job of the payload `do`."""
        (job_id,) = await self.submit_all([do], as_text=as_text, **spec)
        return job_id

    async def submit_all(
        self, payloads: Sequence[Mapping[str, Any] | bytes], *, as_text: bool = True, **spec: Any
    ) -> Sequence[str]:
        """Submit jobs in one transaction; returns their ids in order. Failed attempts are repeated almost at once."""
        fields = {"queue": self.queue, "type": JOB_TYPE, "retry_policy": retry(), **spec}
        requests = [
            job_service_pb2.SubmitJobRequest(spec=job_pb2.JobSpec(payload=_payload(each, as_text), **fields))
            for each in payloads
        ]
        request = job_service_pb2.BatchSubmitJobsRequest(requests=requests, request_id=self._new_id())
        answer = await self._call(self._job_stub.BatchSubmitJobs, request)
        ids = [result.job_id for result in answer.results]
        if fields["queue"] == self.queue:
            self._submitted += ids
        return ids

    async def get(self, job_id: str) -> job_pb2.Job:
        """Read a job, all of it."""
        answer = await self._call(self._job_stub.GetJob, job_service_pb2.GetJobRequest(job_id=job_id))
        job: job_pb2.Job = answer.job
        return job

    async def cancel(self, job_id: str, *, force: bool = False) -> None:
        """Cancel a job."""
        await self._call(self._job_stub.CancelJob, job_service_pb2.CancelJobRequest(job_id=job_id, force=force))

    async def reaches(self, job_id: str, *words: str) -> job_pb2.Job:
        """Wait until a job is in one of these states. A job that ends otherwise is a deviation."""
        wanted = " or ".join(words)
        seen = "nothing yet"
        async with self.waiting(f"job {job_id} becomes {wanted}", lambda: seen):
            revision = 0
            while True:
                job = await self._poll(job_id, revision)
                word, revision = state_word(job.status), job.status.revision
                seen = describe(job.status)
                if word in words:
                    return job
                if job.status.HasField("finish_time"):
                    raise Deviation(f"job {job_id} becomes {wanted}", seen)

    async def all_reach(self, job_ids: Sequence[str], word: str) -> Sequence[job_pb2.Job]:
        """Wait until all jobs are in a state."""
        return [await self.reaches(job_id, word) for job_id in job_ids]

    async def lease(self, job_id: str) -> worker.Assignment:
        """Wait until the program has a job; its newest lease."""
        leases = await self.until(
            lambda: self.journal.leases_of(job_id),
            f"the worker takes job {job_id}",
            lambda: f"leases given to it: {len(self.journal.assignments)}",
        )
        return leases[-1]

    async def held(self, job_id: str) -> bytes:
        """Wait until the program has a job and has spoken of it to the server; the token of its newest lease.

        What was handed over last may still be on its way, and a lease that was never spoken of costs no attempt.
        """
        token = (await self.lease(job_id)).lease_token
        await self.until(
            lambda: any(frame.is_delivered for frame in self.journal.updates[token]),
            f"the worker extends its lease of job {job_id}",
            lambda: "it has not",
        )
        return token

    async def works(self, value: str) -> None:
        """Demand that the worker still takes and completes a job."""
        job_id = await self.submit({"do": "echo", "value": value})
        job = await self.reaches(job_id, "COMPLETED")
        self.demand(result_of(job) == value, f"the result {value!r}", repr(result_of(job)))

    async def events(self) -> Sequence[job_service_pb2.JobEvent]:
        """The whole log of the queue, up to now."""
        info = await self._call(
            admin_service_pb2_grpc.AdminServiceStub(self.server.channel).GetServerInfo,
            admin_service_pb2.GetServerInfoRequest(),
        )
        now = info.server_info.current
        request = job_service_pb2.WatchJobsRequest(
            filter=job_pb2.JobFilter(queues=[self.queue]),
            after=job_service_pb2.WatchCursor(epoch=now.epoch),
            bookmark_interval=Duration(seconds=1),
        )
        events: list[job_service_pb2.JobEvent] = []
        watch = self._job_stub.WatchJobs(request, wait_for_ready=True)
        try:
            async with self.waiting("the event log is read", lambda: f"{len(events)} events"):
                async for response in watch:
                    events += response.events
                    if response.cursor.revision >= now.revision:
                        break
        finally:
            watch.cancel()
        return events

    async def audit(self) -> None:
        """Demand that the event log of the queue is sound."""
        events = await self.events()
        found = complaints(events, {job_id: (await self.get(job_id)).status for job_id in self._submitted})
        self.demand(not found, "nothing lost, no two live leases, every attempt counted", "; ".join(found[:3]))

    async def call_worker_service(self, name: str, request: Any) -> Any:
        """Be a worker for a moment, straight to the server."""
        stub = worker_service_pb2_grpc.WorkerServiceStub(self.server.channel)
        return await self._call(getattr(stub, name), request)

    # --- judging

    def demand(self, holds: bool, expected: str, seen: str) -> None:
        """Raise Deviation unless something holds."""
        if not holds:
            raise Deviation(expected, seen)

    async def until(
        self,
        happened: Callable[[], T],
        expected: str,
        seen: Callable[[], str],
        *,
        within: float = PATIENCE_SECONDS,
    ) -> T:
        """Wait until `happened` returns something true, and return that."""
        async with self.waiting(expected, seen, within=within):
            return await self.journal.until(happened)

    async def pause(self, seconds: float) -> None:
        """Let time pass: for what must not happen."""
        await self.clock.sleep(seconds)

    @asynccontextmanager
    async def waiting(
        self, expected: str, seen: Callable[[], str], *, within: float = PATIENCE_SECONDS
    ) -> AsyncIterator[None]:
        """Bound a wait. Raises the Deviation that says what was waited for, and what was seen of it."""
        self.waiting_for.append((expected, seen))
        try:
            async with asyncio.timeout(within):
                yield
        except TimeoutError:
            raise Deviation(expected, f"{seen()}, after {within:g} s") from None
        self.waiting_for.pop()  # kept when the point's own deadline passes: it is read then

    def deviation(self) -> Deviation:
        """Make the deviation for what is waited for now."""
        if not self.waiting_for:
            return Deviation("the point comes to its end", "it did not in its time")
        expected, seen = self.waiting_for[-1]
        return Deviation(expected, seen())

    # --- inside

    @property
    def _job_stub(self) -> Any:
        return job_service_pb2_grpc.JobServiceStub(self.server.channel)

    async def _start(self, words: Sequence[str], environment: Mapping[str, str]) -> Process:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("JOBWIRE_")}
        try:
            self.program = await Process.start(words, {**inherited, **environment}, self._tasks)
        except OSError as error:
            raise Deviation("a program that can be run", str(error)) from error
        self._tasks.create_task(self._mourn(self.program))
        return self.program

    async def _mourn(self, program: Process) -> None:
        code = await program.ended()
        if program not in self._leaving:
            raise Deviation("the worker runs until SIGTERM", f"it ended with exit code {code}")

    async def _poll(self, job_id: str, revision: int) -> job_pb2.Job:
        request = job_service_pb2.GetJobRequest(
            job_id=job_id, wait_revision=revision, wait_timeout=Duration(seconds=int(_CALL_SECONDS))
        )
        answer = await self._call(self._job_stub.GetJob, request, seconds=_POLL_SECONDS)
        job: job_pb2.Job = answer.job
        return job

    async def _call(self, method: Any, request: Any, *, seconds: float = _CALL_SECONDS) -> Any:
        """Call the server, over and over while it is being started again."""
        while True:
            try:
                return await method(request, timeout=seconds, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    raise
            await self.clock.sleep(_PAUSE_SECONDS)

    async def close(self) -> None:
        """End the program and the proxy."""
        if self.program is not None:
            self._leaving.add(self.program)
            await self.program.destroy()
        await self.proxy.close()


@asynccontextmanager
async def opened(*, name: str, commands: Commands, server: Server, jobs: int, ambient: Ambient) -> AsyncIterator[Stage]:
    """Open the world of a point. Everything in it ends with it; a worker that ends by itself ends it with Deviation."""
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as undo:
        stage = Stage(name=name, commands=commands, server=server, jobs=jobs, ambient=ambient, tasks=tasks)
        undo.push_async_callback(stage.close)
        await stage.proxy.open()
        yield stage


def retry(*, attempts: int = 20, backoff_seconds: float = 0.05) -> job_pb2.RetryPolicy:
    """A policy without chance in it."""
    pause = Duration()
    pause.FromNanoseconds(round(backoff_seconds * 1e9))
    return job_pb2.RetryPolicy(max_attempts=attempts, initial_backoff=pause, backoff_multiplier=1, jitter=0.0)


def result_of(job: job_pb2.Job) -> Any:
    """A job's result, decoded. Raises Deviation when it is no JSON."""
    result = job.status.result
    data = result.text if result.WhichOneof("content") == "text" else result.data
    try:
        return json.loads(data)
    except ValueError:
        raise Deviation("a result that is JSON", repr(data[:80])) from None


def state_word(status: job_pb2.JobStatus) -> str:
    """COMPLETED, for instance."""
    return job_pb2.JobState.Name(status.state).removeprefix("JOB_STATE_")


def describe(status: job_pb2.JobStatus) -> str:
    """A status in a few words."""
    error = f", {status.last_error.type}: {status.last_error.message}" if status.HasField("last_error") else ""
    return f"{state_word(status)}, attempt {status.attempt}{error}"


def _payload(payload: Mapping[str, Any] | bytes, as_text: bool) -> job_pb2.Payload:
    if isinstance(payload, bytes):
        return job_pb2.Payload(content_type="application/octet-stream", data=payload)
    text = json.dumps(payload, ensure_ascii=False)
    if as_text:
        return job_pb2.Payload(content_type="application/json", text=text)
    return job_pb2.Payload(content_type="application/json", data=text.encode())
