"""The CLI's calls. Retries, errors and patience are the SDK's; what comes back are the contract's own messages,
because the CLI prints them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from jobwire._ambient import Ambient, Clock
from jobwire._calls import Call, Repeat, Tries, did_nothing
from jobwire._status import Place, error_from
from jobwire.cli.border import channel_for
from jobwire.cli.invocation import Invocation, origin_words
from jobwire.errors import JobwireError, ServerUnreachable
from jobwire.settings import Settings, connection_of
from jobwire.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
)

M = TypeVar("M", bound=Message)


class Server:
    """One command's connection."""

    def __init__(self, invocation: Invocation) -> None:
        self._settings = settings_of(invocation)
        self._ambient = Ambient()
        self.call_seconds = self._settings.deadline.total_seconds()
        self._channel = channel_for(invocation, self._settings)
        self._jobs = job_service_pb2_grpc.JobServiceStub(self._channel)
        self._admin = admin_service_pb2_grpc.AdminServiceStub(self._channel)
        self._has_answered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def call(
        self,
        rpc: str,
        request: Message,
        answer: type[M],
        *,
        extra: timedelta = timedelta(0),
        repeat: Repeat = Repeat.SAFE,
    ) -> M:
        """Make one call of JobService; all tries together stay within `--timeout`.

        `extra`: time that the call itself asks the server to wait. An address where nobody listens is told at once,
        unless the server has answered before (then it is perhaps being restarted). Raises JobwireError.
        """
        return self._call(getattr(self._jobs, rpc), rpc, request, answer, extra=extra, repeat=repeat)

    def info(self) -> admin_service_pb2.ServerInfo:
        """Ask the server about itself."""
        answer = self._call(
            self._admin.GetServerInfo,
            "GetServerInfo",
            admin_service_pb2.GetServerInfoRequest(),
            admin_service_pb2.GetServerInfoResponse,
        )
        return answer.server_info

    def health(self) -> str:
        """Ask grpc.health.v1 how the whole service is: "SERVING", "NOT_SERVING", ... Raises JobwireError."""
        from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 - few commands ask

        stub = health_pb2_grpc.HealthStub(self._channel)
        answer = self._call(stub.Check, "Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def workers_page(self, page_token: str, page_size: int) -> admin_service_pb2.ListWorkersResponse:
        """Read a page of the workers."""
        request = admin_service_pb2.ListWorkersRequest(page_token=page_token, page_size=page_size)
        return self._call(self._admin.ListWorkers, "ListWorkers", request, admin_service_pb2.ListWorkersResponse)

    def job(self, job_id: str) -> job_pb2.Job:
        """Read one job, all of it."""
        request = job_service_pb2.GetJobRequest(job_id=job_id, view=job_pb2.JOB_VIEW_FULL)
        return self.call("GetJob", request, job_service_pb2.GetJobResponse).job

    def watch(
        self, request: job_service_pb2.WatchJobsRequest, *, seconds: float | None
    ) -> Iterator[job_service_pb2.WatchJobsResponse]:
        """Open one stream, of at most `seconds`. Ends with the server's OK or raises JobwireError."""
        stream: Any = self._jobs.WatchJobs(request, timeout=seconds)
        try:
            for response in stream:
                self._has_answered = True
                yield response
        except grpc.RpcError as error:
            raise self._error(error, "WatchJobs", seconds) from error
        finally:
            stream.cancel()  # an abandoned stream is never collected by grpc

    @property
    def clock(self) -> Clock:
        """Time."""
        return self._ambient.clock

    def chance(self) -> float:
        """A number in [0, 1)."""
        return self._ambient.chance()

    def pause(self, seconds: float) -> None:
        """Wait, interruptible by Ctrl+C."""
        self.clock.wait(threading.Event(), seconds)

    @property
    def has_answered(self) -> bool:
        """True when the server has answered anything: a cut is then worth a new try."""
        return self._has_answered

    def _call(
        self,
        method: Any,
        rpc: str,
        request: Message,
        answer: type[M],
        *,
        extra: timedelta = timedelta(0),
        repeat: Repeat = Repeat.SAFE,
    ) -> M:
        call = Call(rpc, request, answer, self.call_seconds + extra.total_seconds(), repeat)
        tries = Tries(call, most=None, now=self.clock.monotonic(), chance=self.chance)
        while True:
            seconds = tries.begin(self.clock.monotonic())
            try:
                response = method(request, timeout=seconds)
            except grpc.RpcError as error:
                fault = self._error(error, rpc, call.seconds)
                pause = None if self._is_nobody(fault) else tries.pause(fault, self.clock.monotonic())
                if pause is None:
                    raise fault from error
                self.pause(pause)
                continue
            assert isinstance(response, answer)
            self._has_answered = True
            return response

    def _is_nobody(self, error: JobwireError) -> bool:
        return isinstance(error, ServerUnreachable) and did_nothing(error) and not self._has_answered

    def _error(self, error: grpc.RpcError, rpc: str, seconds: float | None) -> JobwireError:
        call: Any = error  # grpc's errors are calls, which its types do not say
        place = Place(self._settings.address, self._settings.origin, rpc, seconds)
        return error_from(call.code().name, call.details() or "", call.trailing_metadata() or (), place)


def settings_of(invocation: Invocation) -> Settings:
    """How the server is reached, as flags, environment and context say. Raises ArgumentInvalid, ConfigInvalid."""
    return connection_of(invocation.lookup, origin_of=origin_words)
