"""What can go wrong, as one tree made from the reason catalogue.

    JobwireError
    ├── InvalidRequest     FieldInvalid · PayloadTooLarge · BatchTooLarge · PageTokenInvalid · PageTokenMismatch ·
    │                      RequestIdReused
    ├── NotFound           JobNotFound
    ├── Conflict           JobIdTaken · JobTerminal · JobNotTerminal · JobSucceeded · LeaseLost
    ├── PositionLost       RevisionCompacted · RevisionInFuture · StoreEpochChanged
    ├── QuotaExceeded      QueueFull · StoreFull · TooManyStreams · TooManyRequests · SlowConsumer
    ├── Unavailable        NotReady · Draining · StreamAge · StoreUnavailable · ServerUnreachable*
    ├── DeadlineExceeded   DeadlineTooShort · CallTimeout*
    ├── PermissionDenied   (also UNAUTHENTICATED)
    ├── Unsupported        the server does not know the call: client and server are too far apart in version
    ├── ServerBug          the server's fault; facts["error_id"] finds it in its log
    ├── JobEnded*          JobFailed* · JobCancelled* · JobExpired*
    └── local*             WaitTimeout · ArgumentInvalid · ConfigInvalid · NotEncodable · NotDecodable · ClientClosed ·
                           WrongEventLoop

The classes with a star are made here and never travel. `code` is the reason, the only error code there is: a class
has one, and an instance of a category (`QuotaExceeded`) may carry a reason that a newer server has and we do not know.
A job's own failure is no failed call: it is raised by `result()` only, as `JobEnded`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from jobwire._error_details import ErrorDetails as ErrorDetails  # noqa: PLC0414 (a name of this module, too)
from jobwire._error_details import Violation as Violation  # noqa: PLC0414
from jobwire.models import JobError, JobState, JobStatus

_NO_DETAILS = ErrorDetails()


class JobwireError(Exception):
    """Base of every error of the client; `str()` is one sentence (or a few) with the facts in it."""

    reason: ClassVar[str] = ""
    status: ClassVar[str] = ""
    advice: ClassVar[str] = ""

    def __init__(self, message: str, details: ErrorDetails = _NO_DETAILS) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.code = details.code or self.reason or details.grpc_code or self.status
        self.grpc_code = details.grpc_code or self.status
        self.why = details.why
        self.hint = details.hint or self.advice
        self.facts: Mapping[str, str] = details.facts
        self.violations = details.violations
        self.retry_after = details.retry_after

    def __str__(self) -> str:
        return f"{self.message} {self.why}" if self.why else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Crosses process borders whole: the default would rebuild it from the message alone.
        return type(self), (self.message, self.details), self.__dict__


# --- answers of the server, by category -----------------------------------------------------------------------------


class InvalidRequest(JobwireError):
    """The request can never succeed as it is; nothing was changed."""

    status = "INVALID_ARGUMENT"


class NotFound(JobwireError):
    """There is no such thing, or the caller may not know of it."""

    status = "NOT_FOUND"


class Conflict(JobwireError):
    """The request does not fit the state of things; nothing was changed."""

    status = "FAILED_PRECONDITION"


class PositionLost(JobwireError):
    """A watch cannot be resumed at its cursor."""

    status = "OUT_OF_RANGE"
    advice = "watch again with snapshot=True, without a cursor"


class QuotaExceeded(JobwireError):
    """The server has no room for this now; nothing was changed."""

    status = "RESOURCE_EXHAUSTED"
    advice = "try again later"


class Unavailable(JobwireError):
    """The server cannot answer now. What was asked may or may not have happened; the same key settles it."""

    status = "UNAVAILABLE"
    advice = "try again; a submit with the same key never makes a second job"


class DeadlineExceeded(JobwireError):
    """The call's deadline passed. What was asked may or may not have happened; the same key settles it."""

    status = "DEADLINE_EXCEEDED"
    advice = "give the call a longer deadline"


class PermissionDenied(JobwireError):
    """The caller is unknown, or may not do this."""

    status = "PERMISSION_DENIED"


class Unsupported(JobwireError):
    """The server does not have this call or feature."""

    status = "UNIMPLEMENTED"
    advice = "compare the versions: jobwire version"


class ServerBug(JobwireError):
    """The server failed in a way it did not foresee."""

    reason = "INTERNAL"
    status = "INTERNAL"
    advice = "look for the error_id in the server's log, and report it"


# --- answers of the server, by reason -------------------------------------------------------------------------------


class FieldInvalid(InvalidRequest):
    """One or more fields are not acceptable: see `violations`."""

    reason = "FIELD_INVALID"


class PayloadTooLarge(InvalidRequest):
    """A payload, or the whole request, is over its limit."""

    reason = "PAYLOAD_TOO_LARGE"
    advice = "store the data elsewhere and submit where it is"


class BatchTooLarge(InvalidRequest):
    """More elements than one call may have."""

    reason = "BATCH_TOO_LARGE"
    advice = "split the batch; submit_many does so by itself unless atomic=True"


class PageTokenInvalid(InvalidRequest):
    """The page token was not made by this server's store."""

    reason = "PAGE_TOKEN_INVALID"
    advice = "start the list again"


class PageTokenMismatch(InvalidRequest):
    """The page token belongs to a list with other conditions."""

    reason = "PAGE_TOKEN_MISMATCH"
    advice = "start the list again"


class RequestIdReused(InvalidRequest):
    """The key was used before, with other content."""

    reason = "REQUEST_ID_REUSED"
    advice = "use another key"


class LeaseTokenMalformed(InvalidRequest):
    """The lease token was not made by this server's store."""

    reason = "LEASE_TOKEN_MALFORMED"


class ProtocolViolation(InvalidRequest):
    """A worker sent a frame that the protocol does not allow at that point."""

    reason = "PROTOCOL_VIOLATION"
    advice = "mend the worker: jobwire conformance tells what it does wrong"


class JobNotFound(NotFound):
    """There is no such job (any more)."""

    reason = "JOB_NOT_FOUND"
    advice = "list the jobs: jobwire job list"


class JobIdTaken(Conflict):
    """The chosen job id belongs to another job, or did."""

    reason = "JOB_ID_TAKEN"
    status = "ALREADY_EXISTS"
    advice = "choose another job_id, or none"


class JobTerminal(Conflict):
    """The job has ended; there is nothing left to cancel."""

    reason = "JOB_TERMINAL"


class JobNotTerminal(Conflict):
    """The job has not ended."""

    reason = "JOB_NOT_TERMINAL"
    advice = "wait for its end, or cancel it first"


class JobSucceeded(Conflict):
    """A COMPLETED job is never run again."""

    reason = "JOB_SUCCEEDED"
    advice = "submit a new job"


class LeaseLost(Conflict):
    """A worker's lease was over when it reported."""

    reason = "LEASE_LOST"


class RevisionCompacted(PositionLost):
    """The event log no longer reaches back to the cursor."""

    reason = "REVISION_COMPACTED"


class RevisionInFuture(PositionLost):
    """The cursor lies beyond the newest revision of the store."""

    reason = "REVISION_IN_FUTURE"


class StoreEpochChanged(PositionLost):
    """The cursor belongs to another store: a backup was restored, or the file replaced."""

    reason = "STORE_EPOCH_CHANGED"


class QueueFull(QuotaExceeded):
    """The service holds as many unfinished jobs as it may."""

    reason = "QUEUE_FULL"
    advice = "wait until workers have finished some jobs, or raise the server's max_depth"


class StoreFull(QuotaExceeded):
    """The server's disk is full."""

    reason = "STORE_FULL"
    advice = "free disk space on the server; it recovers by itself"


class TooManyStreams(QuotaExceeded):
    """Too many open streams."""

    reason = "TOO_MANY_STREAMS"
    advice = "watch many jobs in one stream: client.watch()"


class TooManyRequests(QuotaExceeded):
    """Too much work waits in front of the server's store."""

    reason = "TOO_MANY_REQUESTS"


class SlowConsumer(QuotaExceeded):
    """The reader of a stream did not take a message in time."""

    reason = "SLOW_CONSUMER"
    advice = "read faster, or watch with conflate=True"


class DeadlineTooShort(DeadlineExceeded):
    """The call arrived with less time left than any answer takes; nothing was done."""

    reason = "DEADLINE_TOO_SHORT"


class NotReady(Unavailable):
    """The server is starting."""

    reason = "NOT_READY"


class Draining(Unavailable):
    """The server is shutting down."""

    reason = "DRAINING"


class StreamAge(Unavailable):
    """The stream reached its age limit."""

    reason = "STREAM_AGE"


class WorkerSilent(Unavailable):
    """The server heard nothing of a connected worker for too long."""

    reason = "WORKER_SILENT"


class StoreUnavailable(Unavailable):
    """The server cannot read or write its store now."""

    reason = "STORE_UNAVAILABLE"


# --- made by the client ---------------------------------------------------------------------------------------------


class ServerUnreachable(Unavailable):
    """No answer from the address at all. facts: address, origin, cause; facts["sent"] is "no" when surely unsent."""

    reason = "SERVER_UNREACHABLE"


class CallTimeout(DeadlineExceeded, TimeoutError):
    """The server did not answer before the call's deadline."""

    reason = "CALL_TIMEOUT"


class WaitTimeout(JobwireError, TimeoutError):
    """The job did not end in the time the caller gave; it goes on."""

    reason = "WAIT_TIMEOUT"
    status = "DEADLINE_EXCEEDED"


class JobEnded(JobwireError):
    """The job ended without a result."""

    job_id: str = ""
    final_status: JobStatus | None = None

    @property
    def error(self) -> JobError | None:
        """Why the last attempt failed, if one did."""
        return self.final_status.last_error if self.final_status else None

    @property
    def attempts(self) -> int:
        """Attempts that were begun."""
        return self.final_status.attempt if self.final_status else 0


class JobFailed(JobEnded):
    """The job used up its attempts, or failed for good: see `error` and `attempts`."""

    reason = "JOB_FAILED"


class JobCancelled(JobEnded):
    """The job was cancelled."""

    reason = "JOB_CANCELLED"


class JobExpired(JobEnded):
    """The job's expire_time passed before it finished."""

    reason = "JOB_EXPIRED"


class ArgumentInvalid(JobwireError, ValueError):
    """An argument was refused before anything was sent."""

    reason = "ARGUMENT_INVALID"
    status = "INVALID_ARGUMENT"


class ConfigInvalid(ArgumentInvalid):
    """The file of contexts, or an environment variable, says something that cannot be used."""

    reason = "CONFIG_INVALID"
    advice = "see what counts and where it comes from: jobwire config show --origin"


class NotEncodable(ArgumentInvalid):
    """A payload cannot be written as JSON."""

    reason = "NOT_ENCODABLE"
    advice = "give bytes, a protobuf message, a dataclass, or plain JSON values"


class NotDecodable(JobwireError, ValueError):
    """A payload or result cannot be read as what was asked for."""

    reason = "NOT_DECODABLE"
    advice = "read the bytes: result(type=bytes)"


class ClientClosed(JobwireError):
    """The client was closed."""

    reason = "CLIENT_CLOSED"
    advice = "make a new client"


class WrongEventLoop(JobwireError):
    """An AsyncClient was used in another event loop than the one it was first used in."""

    reason = "WRONG_EVENT_LOOP"
    advice = "make one AsyncClient for each event loop, or use Client, which may be shared by threads"


# --- the catalogue --------------------------------------------------------------------------------------------------


def _subclasses(base: type[JobwireError]) -> Iterator[type[JobwireError]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


_LOCAL: tuple[type[JobwireError], ...] = (
    ServerUnreachable, CallTimeout, WaitTimeout, JobEnded, ArgumentInvalid, NotDecodable, ClientClosed, WrongEventLoop,
)  # fmt: skip

CATALOGUE: Mapping[str, type[JobwireError]] = {
    error.reason: error for error in _subclasses(JobwireError) if error.reason
}
"""Every reason there is, and its class."""

LOCAL_REASONS = frozenset(reason for reason, error in CATALOGUE.items() if issubclass(error, _LOCAL))
"""Reasons that the client makes itself; all others come from the server."""

_CATEGORIES: Mapping[str, type[JobwireError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": Conflict,
    "FAILED_PRECONDITION": Conflict,
    "ABORTED": Conflict,
    "OUT_OF_RANGE": PositionLost,
    "RESOURCE_EXHAUSTED": QuotaExceeded,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAUTHENTICATED": PermissionDenied,
    "PERMISSION_DENIED": PermissionDenied,
    "UNIMPLEMENTED": Unsupported,
}


def error_class(reason: str, grpc_code: str) -> type[JobwireError]:
    """Return the class for what a server sent: by reason, for an unknown reason by category."""
    known = CATALOGUE.get(reason)
    if known is not None and reason not in LOCAL_REASONS:
        return known
    return _CATEGORIES.get(grpc_code, ServerBug)


def job_ended(job_id: str, status: JobStatus) -> JobEnded:
    """Make the exception for a job that ended in `status`, which is terminal and not COMPLETED."""
    kind, _ = _ENDS[status.state]
    facts = {"job_id": job_id, "state": status.state.value, "attempts": str(status.attempt)}
    ended = kind(_sentence_of_end(job_id, status), ErrorDetails(facts=facts))
    ended.job_id = job_id
    ended.final_status = status
    return ended


def _sentence_of_end(job_id: str, status: JobStatus) -> str:
    _, verb = _ENDS[status.state]
    attempts = "1 attempt" if status.attempt == 1 else f"{status.attempt} attempts"
    sentence = f"Job {job_id} {verb} after {attempts}"
    error = status.last_error
    if status.state is not JobState.FAILED or error is None:
        return f"{sentence}."
    return f"{sentence}: {error.type}: {error.message}" if error.message else f"{sentence}: {error.type}"


_ENDS: Mapping[JobState, tuple[type[JobEnded], str]] = {
    JobState.FAILED: (JobFailed, "failed"),
    JobState.CANCELLED: (JobCancelled, "was cancelled"),
    JobState.EXPIRED: (JobExpired, "expired"),
}
