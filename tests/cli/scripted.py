# ruff: noqa: N802 - gRPC names its methods
"""A small server that plays scripts: what becomes of a job is told by its type. Real gRPC, fixed times, no store."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_status import rpc_status

from jobwire.v1 import admin_service_pb2, admin_service_pb2_grpc, job_pb2, job_service_pb2_grpc
from jobwire.v1 import job_service_pb2 as pb

START_SECONDS = 1_795_264_264
"""2026-11-21T12:31:04Z."""
EPOCH = "epoch-1"
TERMINAL = {
    job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED, job_pb2.JOB_STATE_EXPIRED,
}  # fmt: skip
CODES = {code.name: code for code in grpc.StatusCode}


class Refusal(Exception):
    """Answer a call with an error."""

    def __init__(self, grpc_code: str, reason: str, message: str, *details: Message, **facts: str) -> None:
        super().__init__(message)
        self.grpc_code, self.reason, self.message, self.details, self.facts = grpc_code, reason, message, details, facts


def not_found(job_id: str) -> Refusal:
    return Refusal("NOT_FOUND", "JOB_NOT_FOUND", f"There is no job {job_id!r}.", job_id=job_id)


def _worker(
    name: str, instance: str, queues: list[str], types: list[str], window: int, taken: int, *, seconds: int,
    connected: bool = False,
) -> admin_service_pb2.Worker:  # fmt: skip
    worker = admin_service_pb2.Worker(
        worker_id=name, instance_id=instance, queues=queues, types=types, max_in_flight=window, in_flight=taken,
        connected=connected,
    )  # fmt: skip
    worker.last_seen_time.seconds = START_SECONDS + seconds
    return worker


class Service(job_service_pb2_grpc.JobServiceServicer, admin_service_pb2_grpc.AdminServiceServicer):
    """Jobs in a dict, events in a list; a job's type names its script in `SCRIPTS`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._log: list[pb.JobEvent] = []
        self._ids = itertools.count(1)
        self._keys: dict[str, pb.SubmitJobRequest] = {}
        self.jobs: dict[str, job_pb2.Job] = {}
        self.capabilities: list[str] = ["type:hello", "type:echo"]
        self.pool_trouble = ""
        self.cuts = 0
        """Streams to break after their first response."""
        self.refusals: dict[str, Refusal] = {}
        """By RPC: what it answers."""
        self.passing_refusals: dict[str, list[Refusal]] = {}
        """By RPC: what it answers first, one call each."""
        self.stream_refusals: list[Refusal] = []
        """What the next streams answer."""
        self.hold_after_progress = False
        """Leave a "flaky" job in its first attempt for a second, so that a terminal can show it."""
        self._doomed: set[str] = set()
        self.workers = [
            _worker(
                "app-1-3f2a", "a", ["mail", "*"], ["email.send", "report.render"], 10, 8, seconds=1, connected=True
            ),
            _worker("app-2-9b10", "b", ["*"], [f"type.{n}" for n in range(5)], 4, 0, seconds=-75),
            _worker("grpcurl", "", ["default"], [], 0, 1, seconds=-3),
        ]
        self.calls: list[tuple[str, Message]] = []

    # --- the script -------------------------------------------------------------------------------------------------

    def step(self, job_id: str, state: str, *, seconds: float = 0.0, **fields: Any) -> None:
        """Change a job and log it."""
        with self._changed:
            job = self.jobs[job_id]
            status = job.status
            status.state = job_pb2.JobState.Value(f"JOB_STATE_{state}")
            status.revision = len(self._log) + 1
            for name, value in fields.items():
                if isinstance(value, Message):
                    getattr(status, name).CopyFrom(value)
                else:
                    setattr(status, name, value)
            event = pb.JobEvent(
                revision=status.revision, event_type=pb.JOB_EVENT_TYPE_UPDATED, job_id=job_id, queue=job.spec.queue,
                job_type=job.spec.type,
            )  # fmt: skip
            event.event_time.seconds = START_SECONDS + int(seconds)
            event.event_time.nanos = round(seconds % 1 * 1e9)
            if status.state == job_pb2.JOB_STATE_PROCESSING and not status.HasField("start_time"):
                status.start_time.CopyFrom(event.event_time)
            if status.state in TERMINAL:
                status.finish_time.CopyFrom(event.event_time)
            self._note_attempt(job, event.event_time)
            event.status.CopyFrom(status)
            event.status.ClearField("result")
            self._log.append(event)
            self._changed.notify_all()

    def _note_attempt(self, job: job_pb2.Job, moment: Timestamp) -> None:
        """Begin an attempt, or end the one that runs."""
        running = job.status.state == job_pb2.JOB_STATE_PROCESSING
        if running:
            job.attempts.add(number=job.status.attempt, worker_id=job.status.worker_id, start_time=moment)
        elif job.attempts and not job.attempts[-1].HasField("finish_time"):
            job.attempts[-1].finish_time.CopyFrom(moment)
            if job.status.state != job_pb2.JOB_STATE_COMPLETED and job.status.HasField("last_error"):
                job.attempts[-1].error.CopyFrom(job.status.last_error)

    def tell_progress(self, job_id: str, percent: float, message: str) -> None:
        """Log a progress event (the script keeps them, the real server does not)."""
        with self._changed:
            status = self.jobs[job_id].status
            status.progress_percent, status.progress_message = percent, message
            event = pb.JobEvent(event_type=pb.JOB_EVENT_TYPE_PROGRESS, job_id=job_id, status=status)
            self._log.append(event)
            self._changed.notify_all()

    def delete_soon(self, job_id: str) -> None:
        """Delete a job as soon as somebody watches it."""
        self._doomed.add(job_id)

    def _delete(self, job_id: str) -> None:
        with self._changed:
            event = pb.JobEvent(revision=len(self._log) + 1, event_type=pb.JOB_EVENT_TYPE_DELETED, job_id=job_id)
            event.event_time.seconds = START_SECONDS + 5
            self._log.append(event)
            del self.jobs[job_id]
            self._changed.notify_all()

    def play(self, job_id: str) -> None:
        """Let a job's life happen at once."""
        job = self.jobs[job_id]
        match job.spec.type:
            case "hello":
                name = job.spec.payload.text.strip('"') or "world"
                self.step(job_id, "PROCESSING", seconds=0.25, attempt=1, worker_id="w-1")
                result = job_pb2.Payload(content_type="application/json", text=f'"Hello, {name}"')
                self.step(job_id, "COMPLETED", seconds=1.5, result=result)
            case "bytes":
                self.step(job_id, "PROCESSING", seconds=0.25, attempt=1, worker_id="w-1")
                result = job_pb2.Payload(content_type="application/octet-stream", data=b"\x00\xff\n\x01")
                self.step(job_id, "COMPLETED", seconds=1.5, result=result)
            case "flaky":
                error = job_pb2.JobError(type="ValueError", message="no\nluck", retryable=True)
                self.step(job_id, "PROCESSING", seconds=0.25, attempt=1, worker_id="w-1")
                self.tell_progress(job_id, 41.0, "rendered 410/1000")
                if self.hold_after_progress:
                    threading.Timer(1.0, self._second_attempt, (job_id, error)).start()
                else:
                    self._second_attempt(job_id, error)
            case "fail" | "longfail":
                long = job.spec.type == "longfail"
                error = job_pb2.JobError(type="ValueError", message="no luck" + " at all" * 20 * long)
                self.step(job_id, "PROCESSING", seconds=0.25, attempt=1, worker_id="w-1")
                self.step(job_id, "FAILED", seconds=1, last_error=error)
            case "stuck":
                self.step(job_id, "PROCESSING", seconds=0.25, attempt=1, worker_id="w-1")
            case "cancelled" | "expired":
                self.step(job_id, job.spec.type.upper(), seconds=1)
            case _:
                pass

    def _second_attempt(self, job_id: str, error: job_pb2.JobError) -> None:
        self.step(job_id, "RETRYING", seconds=2, last_error=error, next_attempt_time=_stamp(6))
        self.step(job_id, "PROCESSING", seconds=6, attempt=2, worker_id="w-2")
        result = job_pb2.Payload(content_type="application/json", text="{}")
        self.step(job_id, "COMPLETED", seconds=8, result=result)

    # --- JobService -------------------------------------------------------------------------------------------------

    def SubmitJob(self, request: pb.SubmitJobRequest, context: Any) -> pb.SubmitJobResponse:
        self._begin("SubmitJob", request)
        job, created = self._create(request)
        submitted = job_pb2.Job()
        submitted.CopyFrom(job)
        if created:
            self.play(job.job_id)
        return pb.SubmitJobResponse(job=submitted, created=created)

    def _create(self, request: pb.SubmitJobRequest) -> tuple[job_pb2.Job, bool]:
        if not request.spec.type.replace(".", "").isalnum():
            violation = error_details_pb2.BadRequest.FieldViolation(
                field="spec.type", description="must be 1 to 200 characters"
            )
            bad = error_details_pb2.BadRequest(field_violations=[violation])
            raise Refusal("INVALID_ARGUMENT", "FIELD_INVALID", "The request has a field that is not valid.", bad)
        if (first := self._keys.get(request.request_id)) is not None:
            if first.spec != request.spec:
                raise Refusal("INVALID_ARGUMENT", "REQUEST_ID_REUSED", "The request_id was used with other content.")
            return self.jobs[first.job_id], False
        job_id = request.job_id or f"job-{next(self._ids)}"
        if job_id in self.jobs:
            raise Refusal("ALREADY_EXISTS", "JOB_ID_TAKEN", f"The job id {job_id!r} is taken.")
        job = job_pb2.Job(job_id=job_id, spec=request.spec)
        job.spec.queue = job.spec.queue or "default"
        job.create_time.seconds = START_SECONDS
        job.status.max_attempts = request.spec.retry_policy.max_attempts or 20
        self.jobs[job_id] = job
        first = pb.SubmitJobRequest()
        first.CopyFrom(request)
        first.job_id = job_id
        if request.request_id:
            self._keys[request.request_id] = first
        self.step(job_id, "PENDING")
        return job, True

    def BatchSubmitJobs(self, request: pb.BatchSubmitJobsRequest, context: Any) -> pb.BatchSubmitJobsResponse:
        self._begin("BatchSubmitJobs", request)
        response = pb.BatchSubmitJobsResponse()
        for element in request.requests:
            try:
                job, created = self._create(element)
                response.results.add(job_id=job.job_id, created=created, state=job.status.state)
            except Refusal as refusal:
                error = pb.SubmitError(reason=refusal.reason, message=refusal.message, field="spec.type")
                response.results.add(error=error)
        return response

    def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        self._begin("GetJob", request)
        job = self._job(request.job_id)
        if request.HasField("wait_revision"):
            with self._changed:
                self._changed.wait_for(
                    lambda: job.status.state in TERMINAL or job.status.revision > request.wait_revision,
                    timeout=request.wait_timeout.ToTimedelta().total_seconds(),
                )
        return pb.GetJobResponse(job=job)

    def BatchGetJobs(self, request: pb.BatchGetJobsRequest, context: Any) -> pb.BatchGetJobsResponse:
        self._begin("BatchGetJobs", request)
        found = [self.jobs[job_id] for job_id in request.job_ids if job_id in self.jobs]
        missing = [job_id for job_id in request.job_ids if job_id not in self.jobs]
        return pb.BatchGetJobsResponse(jobs=found, missing_job_ids=missing)

    def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        self._begin("ListJobs", request)
        wanted = request.filter
        jobs = [job for job in reversed(self.jobs.values())
                if (not wanted.states or job.status.state in wanted.states)
                and (not wanted.types or job.spec.type in wanted.types)
                and (not wanted.queues or job.spec.queue in wanted.queues)
                and all(job.spec.labels.get(key) == value for key, value in wanted.labels.items())]  # fmt: skip
        start = int(request.page_token or "0")
        size = min(request.page_size or 50, 2)  # pages end early: clients must go on
        rest = str(start + size) if start + size < len(jobs) else ""
        page = pb.ListJobsResponse(jobs=jobs[start : start + size], next_page_token=rest, cursor=self._cursor())
        for job in page.jobs:  # the basic view
            job.ClearField("attempts")
        return page

    def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.CancelJobResponse:
        self._begin("CancelJob", request)
        job = self._job(request.job_id)
        if job.status.state == job_pb2.JOB_STATE_PROCESSING and not request.force:
            job.status.cancel_request_time.seconds = START_SECONDS + 2
        elif job.status.state in TERMINAL - {job_pb2.JOB_STATE_CANCELLED}:
            raise Refusal("FAILED_PRECONDITION", "JOB_TERMINAL", f"Job {job.job_id} has ended.", state="COMPLETED")
        else:
            self.step(job.job_id, "CANCELLED", seconds=2)
        return pb.CancelJobResponse(job=job)

    def RetryJob(self, request: pb.RetryJobRequest, context: Any) -> pb.RetryJobResponse:
        self._begin("RetryJob", request)
        job = self._job(request.job_id)
        if job.status.state == job_pb2.JOB_STATE_COMPLETED:
            raise Refusal("FAILED_PRECONDITION", "JOB_SUCCEEDED", f"Job {job.job_id} has succeeded.")
        self.step(job.job_id, "PENDING", seconds=3)
        return pb.RetryJobResponse(job=job)

    def DeleteJob(self, request: pb.DeleteJobRequest, context: Any) -> pb.DeleteJobResponse:
        self._begin("DeleteJob", request)
        if request.job_id in self.jobs or not request.allow_missing:
            job = self._job(request.job_id)
            if job.status.state not in TERMINAL:
                raise Refusal("FAILED_PRECONDITION", "JOB_NOT_TERMINAL", f"Job {job.job_id} has not ended.")
            del self.jobs[request.job_id]
        return pb.DeleteJobResponse()

    def WatchJobs(self, request: pb.WatchJobsRequest, context: Any) -> Iterator[pb.WatchJobsResponse]:
        self._begin("WatchJobs", request)
        if self.stream_refusals:
            abort(context, self.stream_refusals.pop(0))
        place = request.after.revision
        if request.send_initial_state:
            place = self._cursor().revision
            snapshots = [
                pb.JobEvent(revision=job.status.revision, event_type=pb.JOB_EVENT_TYPE_SNAPSHOT, job_id=job.job_id,
                            status=job.status, event_time=_stamp(9))
                for job in self.jobs.values() if not request.job_ids or job.job_id in request.job_ids
            ]  # fmt: skip
            yield pb.WatchJobsResponse(events=snapshots, cursor=self._cursor(), initial_state_complete=True)
        else:
            yield pb.WatchJobsResponse(cursor=pb.WatchCursor(epoch=EPOCH, revision=place))
        yield from self._live(request, place, context)

    def _live(self, request: pb.WatchJobsRequest, place: int, context: Any) -> Iterator[pb.WatchJobsResponse]:
        for job_id in self._doomed.intersection(request.job_ids):
            self._doomed.discard(job_id)
            self._delete(job_id)
        while context.is_active():
            if self.cuts:
                self.cuts -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if request.until_all_terminal and place >= len(self._log) and self._all_terminal(request.job_ids):
                return
            with self._changed:
                self._changed.wait_for(lambda seen=place: len(self._log) > seen, timeout=0.05)
                events = self._log[place : place + 1]
            place += len(events)
            wanted = [event for event in events if self._wants(request, event)]
            if events:
                yield pb.WatchJobsResponse(events=wanted, cursor=pb.WatchCursor(epoch=EPOCH, revision=place))

    def _wants(self, request: pb.WatchJobsRequest, event: pb.JobEvent) -> bool:
        if event.event_type == pb.JOB_EVENT_TYPE_PROGRESS and not request.include_progress:
            return False
        return not request.job_ids or event.job_id in request.job_ids

    def _all_terminal(self, job_ids: Sequence[str]) -> bool:
        return all(job_id not in self.jobs or self.jobs[job_id].status.state in TERMINAL for job_id in job_ids)

    def ListWorkers(self, request: Any, context: Any) -> admin_service_pb2.ListWorkersResponse:
        self._begin("ListWorkers", request)
        start = int(request.page_token or 0)
        end = start + min(2, request.page_size)  # pages end early
        more = end < len(self.workers)
        return admin_service_pb2.ListWorkersResponse(
            workers=self.workers[start:end], next_page_token=str(end) if more else ""
        )

    def GetServerInfo(self, request: Any, context: Any) -> admin_service_pb2.GetServerInfoResponse:
        self._begin("GetServerInfo", request)
        info = admin_service_pb2.ServerInfo(
            version="9.9.9", capabilities=self.capabilities, store="sqlite", current=self._cursor(),
            compacted=pb.WatchCursor(epoch=EPOCH, revision=0), max_batch_size=1000, start_time=_stamp(0),
            recovery=admin_service_pb2.RecoveryReport(returned_count=3), pool_trouble=self.pool_trouble,
        )  # fmt: skip
        return admin_service_pb2.GetServerInfoResponse(server_info=info)

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _begin(self, rpc: str, request: Message) -> None:
        self.calls.append((rpc, request))
        if passing := self.passing_refusals.get(rpc):
            self.passing_refusals[rpc] = passing[1:]
            raise passing[0]
        if (refusal := self.refusals.get(rpc)) is not None:
            raise refusal

    def _job(self, job_id: str) -> job_pb2.Job:
        if job_id not in self.jobs:
            raise not_found(job_id)
        return self.jobs[job_id]

    def _cursor(self) -> pb.WatchCursor:
        return pb.WatchCursor(epoch=EPOCH, revision=len(self._log))


def _stamp(seconds: float) -> Timestamp:
    return Timestamp(seconds=START_SECONDS + int(seconds))


class _Refusing(grpc.ServerInterceptor):
    """Turns Refusal into a status with details, as the contract has it."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None or handler.response_streaming:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._guard(handler.unary_unary, request, context),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    @staticmethod
    def _guard(behaviour: Any, request: Any, context: Any) -> Any:
        try:
            return behaviour(request, context)
        except Refusal as refusal:
            abort(context, refusal)


def abort(context: Any, refusal: Refusal) -> NoReturn:
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain="jobwire.dev", metadata=refusal.facts)
    details = []
    for message in (info, *refusal.details):
        packed = AnyMessage()
        packed.Pack(message)
        details.append(packed)
    code = CODES[refusal.grpc_code]
    status = status_pb2.Status(code=code.value[0], message=refusal.message, details=details)
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status raises")


class ScriptedServer:
    """The service on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder / 'grpc.sock'}"
        self.service = Service()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8), interceptors=[_Refusing()])
        job_service_pb2_grpc.add_JobServiceServicer_to_server(self.service, self._server)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(self.service, self._server)
        self.health = HealthServicer()
        self.tell_health("SERVING")
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self._server.add_insecure_port(self.address)

    def tell_health(self, status: str) -> None:
        """Change what the health service answers."""
        self.health.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=0).wait()
