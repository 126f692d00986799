"""The CLI's calls: generated stubs, a deadline on every call, refusals as CliError.

The SDK hands out values; the CLI prints the contract's own messages, so it talks to the stubs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from jobwire.cli.faults import CliError
from jobwire.cli.invocation import Invocation, TlsFiles
from jobwire.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
)

_Request_contra = TypeVar("_Request_contra", contravariant=True)
_Response_co = TypeVar("_Response_co", covariant=True)

_LOOPBACK_KEEPALIVE = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000))
_OPTIONS = [
    *_LOOPBACK_KEEPALIVE,
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
]
_PASSING = frozenset({"NOT_READY", "DRAINING", "STORE_UNAVAILABLE"})
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0


class _Unary(Protocol[_Request_contra, _Response_co]):
    def __call__(self, request: _Request_contra, /, *, timeout: float | None = None) -> _Response_co: ...


class Refused(Exception):
    """A call that ended with a gRPC status other than OK, taken apart."""

    def __init__(self, error: grpc.RpcError) -> None:
        call = cast("grpc.Call", error)
        self.grpc_code: str = call.code().name
        self.text: str = call.details() or ""
        super().__init__(self.text)
        self.reason = ""
        self.metadata: dict[str, str] = {}
        self.violations: list[dict[str, str]] = []
        for key, value in call.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self._take_details(status_pb2.Status.FromString(cast("bytes", value)))

    def _take_details(self, status: status_pb2.Status) -> None:
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status.details:
            if detail.Unpack(info):
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(request):
                self.violations = [
                    {"field": violation.field, "description": violation.description}
                    for violation in request.field_violations
                ]

    @property
    def is_cut(self) -> bool:
        """True when the connection failed, not the server refused."""
        return self.grpc_code == "UNAVAILABLE" and not self.reason

    @property
    def is_passing(self) -> bool:
        """True when the same call may well succeed in a moment."""
        return self.grpc_code == "UNAVAILABLE" and self.reason in _PASSING


class Server:
    """One command's connection. Every method raises CliError and nothing else."""

    def __init__(self, invocation: Invocation) -> None:
        self.address = invocation.address
        self._timeout_seconds = invocation.call_timeout.total_seconds()
        self._channel = _open_channel(invocation.address.target, invocation.tls)
        self.jobs = job_service_pb2_grpc.JobServiceStub(self._channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def call(
        self,
        method: _Unary[_Request_contra, _Response_co],
        request: _Request_contra,
        *,
        extra: timedelta = timedelta(0),
    ) -> _Response_co:
        """Make one call. A server that says it is not ready yet is asked again until the deadline (`--timeout`).

        `extra`: time that the call itself asks the server to wait (a long poll).
        """
        try:
            return self.attempt(method, request, extra=extra)
        except Refused as refusal:
            raise self.fault(refusal) from refusal

    def attempt(
        self,
        method: _Unary[_Request_contra, _Response_co],
        request: _Request_contra,
        *,
        extra: timedelta = timedelta(0),
    ) -> _Response_co:
        """Like `call`, but raises Refused: for callers that know an answer to a refusal."""
        pause, waited = _FIRST_PAUSE_SECONDS, 0.0
        while True:
            try:
                return method(request, timeout=self._timeout_seconds + extra.total_seconds())
            except grpc.RpcError as error:
                refusal = Refused(error)
                if not refusal.is_passing or waited + pause > self._timeout_seconds:
                    raise refusal from error
            rest(pause)
            waited, pause = waited + pause, min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def info(self) -> admin_service_pb2.ServerInfo:
        """Ask the server about itself."""
        return self.call(self.admin.GetServerInfo, admin_service_pb2.GetServerInfoRequest()).server_info

    def job(self, job_id: str, *, view: job_pb2.JobView = job_pb2.JOB_VIEW_FULL) -> job_pb2.Job:
        """Read one job."""
        return self.call(self.jobs.GetJob, job_service_pb2.GetJobRequest(job_id=job_id, view=view)).job

    def watch(
        self, request: job_service_pb2.WatchJobsRequest, *, seconds: float | None
    ) -> Iterator[job_service_pb2.WatchJobsResponse]:
        """Open one stream; it ends with Refused or by itself. `seconds` bounds it."""
        stream: Any = self.jobs.WatchJobs(request, timeout=seconds)
        try:
            yield from stream
        except grpc.RpcError as error:
            raise Refused(error) from error
        finally:
            stream.cancel()  # an abandoned stream is never collected by grpc

    def fault(self, refusal: Refused) -> CliError:
        """Make a person's error of a refusal."""
        if refusal.is_cut:
            return _unreachable(refusal, self.address.target, self.address.origin)
        if not refusal.reason:
            return self._bare_fault(refusal)
        why = [f"{violation['field']}: {violation['description']}" for violation in refusal.violations
               if violation["description"] not in refusal.text]  # fmt: skip
        details: dict[str, Any] = dict(refusal.metadata)
        if refusal.violations:
            details["violations"] = refusal.violations
        return CliError(
            refusal.reason, _sentence(refusal.text), why=why, hints=_hints(refusal), grpc_code=refusal.grpc_code,
            details=details,
        )  # fmt: skip

    def _bare_fault(self, refusal: Refused) -> CliError:
        target = self.address.target
        match refusal.grpc_code:
            case "DEADLINE_EXCEEDED":
                return CliError(
                    "NO_ANSWER", f"the server at {target} did not answer within {self._timeout_seconds:g} s",
                    why=["The call may or may not have taken effect."],
                    hints=["give it more time:   --timeout 60s (before the command)"], grpc_code=refusal.grpc_code,
                )  # fmt: skip
            case "UNIMPLEMENTED":
                return CliError(
                    "SERVER_TOO_OLD", f"the server at {target} does not know this call ({refusal.text})",
                    hints=["compare:   jobwire version --server"], grpc_code=refusal.grpc_code,
                )  # fmt: skip
            case code:
                return CliError(code, _sentence(refusal.text) or code, grpc_code=code)


def rest(seconds: float) -> None:
    """Wait, interruptible by Ctrl+C."""
    threading.Event().wait(seconds)


def _sentence(text: str) -> str:
    return text.strip().rstrip(".")


def _hints(refusal: Refused) -> list[str]:
    makers: dict[str, Callable[[], list[str]]] = {
        "REQUEST_ID_REUSED": lambda: ["use another --key for other content"],
        "JOB_ID_TAKEN": lambda: ["use another --job-id, or none"],
        "JOB_NOT_FOUND": lambda: ["see what there is:   jobwire job list"],
        "JOB_NOT_TERMINAL": lambda: ["cancel it first:   jobwire job cancel ID"],
        "QUEUE_FULL": lambda: ["try again when workers have caught up"],
        "INTERNAL": lambda: [f"look in the server's log for error_id {refusal.metadata.get('error_id', '(none)')}"],
    }
    maker = makers.get(refusal.reason)
    return maker() if maker is not None else []


def _unreachable(refusal: Refused, target: str, origin: str) -> CliError:
    refused = "Connection refused" in refusal.text or "No such file" in refusal.text
    cause = "connection refused" if refused else _short_cause(refusal.text)
    why = [f"Nothing listens there. Address came from: {origin}." if refused else f"Address came from: {origin}."]
    return CliError(
        "SERVER_UNREACHABLE",
        f"cannot reach the server at {target} ({cause})",
        why=why,
        hints=["start one:   jobwire dev", "or choose:   jobwire -a HOST:PORT ..."],
        grpc_code="UNAVAILABLE",
        details={"address": target, "origin": origin},
    )


def _short_cause(text: str) -> str:
    """Take the last clause of gRPC's text: what it begins with sends people on a hunt."""
    clause = text.rsplit("; last error: ", maxsplit=1)[-1]
    clause = clause.split(": ", maxsplit=1)[-1] if clause.startswith(("UNKNOWN: ", "UNAVAILABLE: ")) else clause
    return _sentence(clause) or "no answer"


def _open_channel(target: str, tls: TlsFiles | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(target, options=_OPTIONS)
    if (tls.cert is None) != (tls.key is None):
        raise CliError("USAGE", "--tls-cert and --tls-key come together: one is missing")
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_pem(tls.ca), certificate_chain=_pem(tls.cert), private_key=_pem(tls.key)
    )
    return grpc.secure_channel(target, credentials, options=_OPTIONS)


def _pem(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CliError("INPUT_UNREADABLE", f"cannot read {path} ({error.strerror})") from error
