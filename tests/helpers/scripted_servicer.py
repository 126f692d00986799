# ruff: noqa: N802 - the names of the contract
"""A real grpc.aio server with a small honest memory, which a test can make break off streams, refuse, and restart."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import grpc

from jobwire.v1 import admin_service_pb2, admin_service_pb2_grpc, job_pb2, job_service_pb2_grpc
from jobwire.v1 import job_service_pb2 as pb
from tests.helpers.rich_status import details_of

TERMINAL = frozenset(
    {
        job_pb2.JOB_STATE_COMPLETED,
        job_pb2.JOB_STATE_FAILED,
        job_pb2.JOB_STATE_CANCELLED,
        job_pb2.JOB_STATE_EXPIRED,
    }
)


@dataclass(frozen=True)
class Refusal:
    """How a call ends badly: with a reason, or (reason empty) as a transport would end it."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    reason: str = ""
    message: str = "Socket closed"


@dataclass
class Memory:
    """What survives a restart of the scripted server: jobs and their log."""

    epoch: str = "epoch-1"
    jobs: dict[str, job_pb2.Job] = field(default_factory=dict)
    log: list[pb.JobEvent] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        return self.log[-1].revision if self.log else 0


class ScriptedServicer(job_service_pb2_grpc.JobServiceServicer, admin_service_pb2_grpc.AdminServiceServicer):
    """Serves a Memory. Each call uses up one of `refusals[rpc]`, each stream one of `stream_lengths` (responses)."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.refusals: dict[str, deque[Refusal]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.lost_answers: dict[str, int] = {}
        self.stream_lengths: deque[int] = deque()
        self.calls: list[tuple[str, Any]] = []
        self.workers: list[admin_service_pb2.Worker] = []
        self.open_streams = 0
        self.events_per_response = 3
        self._changed = asyncio.Condition()

    # --- for the test -------------------------------------------------------------------------------------------------

    def requests(self, rpc: str) -> list[Any]:
        """Requests of an RPC so far."""
        return [request for name, request in self.calls if name == rpc]

    def refuse(self, rpc: str, *refusals: Refusal) -> None:
        """Let the next calls of an RPC end badly."""
        self.refusals.setdefault(rpc, deque()).extend(refusals)

    def hold(self, *rpcs: str) -> None:
        """Let calls of these RPCs wait for `release` before anything is done."""
        for rpc in rpcs:
            self.gates[rpc] = asyncio.Event()

    def release(self, rpc: str) -> None:
        """Let calls of an RPC go on."""
        self.gates.pop(rpc).set()

    def lose_answers(self, rpc: str, count: int) -> None:
        """Let the next calls of an RPC be done, and cut off before they are answered."""
        self.lost_answers[rpc] = count

    async def step(self, job_id: str, state: int, **fields: Any) -> None:
        """Change a job and log it; create it if need be."""
        kind = pb.JOB_EVENT_TYPE_UPDATED
        if job_id not in self.memory.jobs:
            kind = pb.JOB_EVENT_TYPE_CREATED
            self.memory.jobs[job_id] = job_pb2.Job(job_id=job_id, spec=job_pb2.JobSpec(type="t", queue="default"))
        job = self.memory.jobs[job_id]
        job.status.MergeFrom(job_pb2.JobStatus(**fields))
        job.status.state = state  # type: ignore[assignment]
        job.status.revision = self.memory.revision + 1
        event = pb.JobEvent(
            revision=job.status.revision,
            event_type=kind,
            job_id=job_id,
            queue=job.spec.queue,
            job_type=job.spec.type,
            status=job.status,
        )
        event.status.ClearField("result")
        self.memory.log.append(event)
        async with self._changed:
            self._changed.notify_all()

    async def until_called(self, rpc: str, times: int = 1) -> None:
        """Wait until an RPC was called so often."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests(rpc)) >= times)

    async def until_watched(self, count: int) -> None:
        """Wait until so many streams are open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open_streams == count)

    # --- unary --------------------------------------------------------------------------------------------------------

    async def _enter(self, rpc: str, request: Any, context: Any) -> None:
        self.calls.append((rpc, request))
        async with self._changed:
            self._changed.notify_all()
        gate = self.gates.get(rpc)
        if gate is not None:
            await gate.wait()
        script = self.refusals.get(rpc)
        if script:
            await self._end(script.popleft(), context)

    async def _end(self, refusal: Refusal, context: Any) -> NoReturn:
        trailing = details_of(refusal.code, refusal.reason, refusal.message) if refusal.reason else ()
        await context.abort(refusal.code, refusal.message, trailing_metadata=trailing)
        raise AssertionError("abort returned")

    async def _job(self, job_id: str, context: Any) -> job_pb2.Job:
        job = self.memory.jobs.get(job_id)
        if job is None:
            await self._end(Refusal(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", f"There is no job {job_id}."), context)
        return job

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Any) -> pb.SubmitJobResponse:
        await self._enter("SubmitJob", request, context)
        if request.spec.type == "refuse me":
            refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", "No, for two reasons.")
            await self._end(refusal, context)
        job_id, created = await self._submit(request)
        return pb.SubmitJobResponse(job=self.memory.jobs[job_id], created=created)

    async def _submit(self, request: pb.SubmitJobRequest) -> tuple[str, bool]:
        known = self.memory.keys.get(request.request_id)
        if known:
            return known, False
        job_id = request.job_id or f"job-{len(self.memory.jobs) + 1}"
        self.memory.jobs[job_id] = job_pb2.Job(job_id=job_id, spec=request.spec)
        if request.request_id:
            self.memory.keys[request.request_id] = job_id
        await self.step(job_id, job_pb2.JOB_STATE_PENDING)
        return job_id, True

    async def BatchSubmitJobs(self, request: pb.BatchSubmitJobsRequest, context: Any) -> pb.BatchSubmitJobsResponse:
        await self._enter("BatchSubmitJobs", request, context)
        response = pb.BatchSubmitJobsResponse(batch_id=request.batch_id)
        for element in request.requests:
            result = response.results.add()
            if element.spec.type == "refuse me":
                result.error.reason, result.error.message, result.error.field = "FIELD_INVALID", "No.", "spec.type"
                continue
            result.job_id, result.created = await self._submit(element)
            result.state = job_pb2.JOB_STATE_PENDING
        response.cursor.epoch, response.cursor.revision = self.memory.epoch, self.memory.revision
        if self.lost_answers.get("BatchSubmitJobs"):
            self.lost_answers["BatchSubmitJobs"] -= 1
            await self._end(Refusal(), context)
        return response

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        await self._enter("GetJob", request, context)
        job = await self._job(request.job_id, context)
        if request.HasField("wait_revision"):
            try:
                async with asyncio.timeout(request.wait_timeout.ToTimedelta().total_seconds()):
                    async with self._changed:
                        await self._changed.wait_for(lambda: job.status.state in TERMINAL)
            except TimeoutError:
                pass
        return pb.GetJobResponse(job=job)

    async def BatchGetJobs(self, request: pb.BatchGetJobsRequest, context: Any) -> pb.BatchGetJobsResponse:
        await self._enter("BatchGetJobs", request, context)
        response = pb.BatchGetJobsResponse()
        for job_id in request.job_ids[:2]:  # every response ends early
            if job_id in self.memory.jobs:
                response.jobs.append(self.memory.jobs[job_id])
            else:
                response.missing_job_ids.append(job_id)
        return response

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        await self._enter("ListJobs", request, context)
        start = int(request.page_token or 0)
        jobs = list(self.memory.jobs.values())
        end = start + request.page_size
        return pb.ListJobsResponse(jobs=jobs[start:end], next_page_token=str(end) if end < len(jobs) else "")

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.CancelJobResponse:
        await self._enter("CancelJob", request, context)
        job = await self._job(request.job_id, context)
        await self.step(request.job_id, job_pb2.JOB_STATE_CANCELLED)
        return pb.CancelJobResponse(job=job)

    async def RetryJob(self, request: pb.RetryJobRequest, context: Any) -> pb.RetryJobResponse:
        await self._enter("RetryJob", request, context)
        job = await self._job(request.job_id, context)
        await self.step(request.job_id, job_pb2.JOB_STATE_PENDING)
        return pb.RetryJobResponse(job=job)

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: Any) -> pb.DeleteJobResponse:
        await self._enter("DeleteJob", request, context)
        await self._job(request.job_id, context)
        del self.memory.jobs[request.job_id]
        return pb.DeleteJobResponse()

    async def GetServerInfo(self, request: Any, context: Any) -> admin_service_pb2.GetServerInfoResponse:
        await self._enter("GetServerInfo", request, context)
        info = admin_service_pb2.ServerInfo(version="1.2.3", store="sqlite", max_batch_size=1000)
        info.current.epoch, info.current.revision = self.memory.epoch, self.memory.revision
        return admin_service_pb2.GetServerInfoResponse(server_info=info)

    async def ListWorkers(self, request: Any, context: Any) -> admin_service_pb2.ListWorkersResponse:
        await self._enter("ListWorkers", request, context)
        start = int(request.page_token or 0)
        end = start + min(2, request.page_size)  # every response ends early
        more = end < len(self.workers)
        page = self.workers[start:end]
        return admin_service_pb2.ListWorkersResponse(workers=page, next_page_token=str(end) if more else "")

    # --- streams ------------------------------------------------------------------------------------------------------

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        await self._enter("WatchJob", request, context)
        job = await self._job(request.job_id, context)
        after = request.after_revision if request.HasField("after_revision") else -1
        if after > self.memory.revision:
            await self._end(Refusal(grpc.StatusCode.OUT_OF_RANGE, "REVISION_IN_FUTURE", "Not yet."), context)
        async with self._streaming(context) as allowed:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda after=after: job.status.revision > after)
                await allowed()
                after = job.status.revision
                status = job_pb2.JobStatus()
                status.CopyFrom(job.status)
                yield pb.WatchJobResponse(status=status)
                if status.state in TERMINAL:
                    return

    async def WatchJobs(self, request: pb.WatchJobsRequest, context: Any) -> AsyncIterator[pb.WatchJobsResponse]:
        await self._enter("WatchJobs", request, context)
        if request.HasField("after") and request.after.epoch != self.memory.epoch:
            await self._end(Refusal(grpc.StatusCode.OUT_OF_RANGE, "STORE_EPOCH_CHANGED", "Another store."), context)
        place = request.after.revision if request.HasField("after") else self.memory.revision
        async with self._streaming(context) as allowed:
            if request.send_initial_state:
                for response in self._snapshot(place, set(request.job_ids)):
                    await allowed()
                    yield response
            else:
                await allowed()
                yield pb.WatchJobsResponse(cursor=self._cursor(place))
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda place=place: self.memory.revision > place)
                page = [event for event in self.memory.log if event.revision > place][: self.events_per_response]
                await allowed()
                place = page[-1].revision
                yield pb.WatchJobsResponse(events=page, cursor=self._cursor(place))

    def _snapshot(self, place: int, job_ids: set[str]) -> list[pb.WatchJobsResponse]:
        jobs = [job for job in self.memory.jobs.values() if not job_ids or job.job_id in job_ids]
        responses = [
            pb.WatchJobsResponse(
                events=[
                    pb.JobEvent(
                        revision=job.status.revision,
                        event_type=pb.JOB_EVENT_TYPE_SNAPSHOT,
                        job_id=job.job_id,
                        status=job.status,
                    )
                ],
                cursor=self._cursor(place),
            )
            for job in jobs
        ]
        return [*responses, pb.WatchJobsResponse(initial_state_complete=True, cursor=self._cursor(place))]

    def _cursor(self, revision: int) -> pb.WatchCursor:
        return pb.WatchCursor(epoch=self.memory.epoch, revision=revision)

    def _streaming(self, context: Any) -> _Stream:
        length = self.stream_lengths.popleft() if self.stream_lengths else None
        return _Stream(self, context, length)


class _Stream:
    """Counts a stream while it is open, and breaks it off when its script says so."""

    def __init__(self, servicer: ScriptedServicer, context: Any, length: int | None) -> None:
        self._servicer = servicer
        self._context = context
        self._left = length

    async def __aenter__(self) -> Any:
        await self._count(1)
        return self._allowed

    async def __aexit__(self, *_: object) -> None:
        await self._count(-1)

    async def _count(self, change: int) -> None:
        self._servicer.open_streams += change
        async with self._servicer._changed:
            self._servicer._changed.notify_all()

    async def _allowed(self) -> None:
        if self._left == 0:
            await self._context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if self._left is not None:
            self._left -= 1


class ScriptedServer:
    """A scripted servicer behind a Unix socket; `stop` and `start` are a restart with the same memory."""

    def __init__(self, socket: Path, memory: Memory | None = None) -> None:
        self.address = f"unix:{socket}"
        self.memory = memory or Memory()
        self.servicer = ScriptedServicer(self.memory)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        previous, self.servicer = self.servicer, ScriptedServicer(self.memory)
        self.servicer.calls = previous.calls
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        job_service_pb2_grpc.add_JobServiceServicer_to_server(self.servicer, self._server)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(self.servicer, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        """Break everything off, as a crash would."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    async def __aenter__(self) -> ScriptedServer:
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            await self.start()
            undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
