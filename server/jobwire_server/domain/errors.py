"""What can go wrong, in the words of the domain.

    JobwireError
    ├── Refused                      a definite answer: nothing was changed
    │   ├── FieldInvalid · PayloadTooLarge · BatchTooLarge · RequestIdReused
    │   ├── PageTokenInvalid · PageTokenMismatch · LeaseTokenMalformed · ProtocolViolation
    │   ├── JobNotFound · JobIdTaken
    │   ├── JobTerminal · JobNotTerminal · JobSucceeded · LeaseLostError
    │   ├── RevisionCompacted · RevisionInFuture · StoreEpochChanged
    │   └── QueueFull · StoreFull · TooManyStreams · TooManyRequests · SlowConsumer · DeadlineTooShort
    └── Unavailable                  try again; what was asked may or may not have happened
        └── NotReady · Draining · StreamAge · WorkerSilent · StoreUnavailable

`reason` is the only error code of the service:
it travels as `google.rpc.ErrorInfo.reason`, and the CLI shows it.
`facts` are the dynamic parts of the message, for programs. `retry_after_us` is set where waiting may help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple


class Violation(NamedTuple):
    """One field that is not acceptable."""

    field: str
    """Path in the request, for example `requests[17].spec.queue`."""
    description: str
    """A sentence: what is wrong and what would be right."""


class JobwireError(Exception):
    """Base of every error that has a reason; never raised itself."""

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, retry_after_us: int | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_us = retry_after_us
        self.facts: Mapping[str, str] = {name: str(value) for name, value in facts.items()}


class Refused(JobwireError):
    """A definite refusal: nothing was changed in any table."""


class Unavailable(JobwireError):
    """The service cannot answer now; a retry with the same `request_id` settles what happened."""

    reason = "STORE_UNAVAILABLE"


class FieldInvalid(Refused):
    """One or more fields of a request are not acceptable."""

    reason = "FIELD_INVALID"

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{more}")
        self.violations = tuple(violations)


class PayloadTooLarge(Refused):
    """A payload, result or header set, or a whole request, is over its limit."""

    reason = "PAYLOAD_TOO_LARGE"


class BatchTooLarge(Refused):
    """More elements than one call may have."""

    reason = "BATCH_TOO_LARGE"


class PageTokenInvalid(Refused):
    """The page token was not made by this store, or was altered."""

    reason = "PAGE_TOKEN_INVALID"


class PageTokenMismatch(Refused):
    """The page token belongs to a call with other conditions."""

    reason = "PAGE_TOKEN_MISMATCH"


class LeaseTokenMalformed(Refused):
    """The lease token was not made by this store, or was altered."""

    reason = "LEASE_TOKEN_MALFORMED"


class ProtocolViolation(Refused):
    """A stream's frame is not what the protocol allows at that point."""

    reason = "PROTOCOL_VIOLATION"


class RequestIdReused(Refused):
    """A request_id was used before, with other content."""

    reason = "REQUEST_ID_REUSED"


class JobNotFound(Refused):
    """There is no such job (or it belongs to somebody else)."""

    reason = "JOB_NOT_FOUND"


class JobIdTaken(Refused):
    """The chosen job id belongs to another job, or did."""

    reason = "JOB_ID_TAKEN"


class JobTerminal(Refused):
    """The job has ended; nothing can be cancelled any more."""

    reason = "JOB_TERMINAL"


class JobNotTerminal(Refused):
    """The job has not ended; cancel it first."""

    reason = "JOB_NOT_TERMINAL"


class JobSucceeded(Refused):
    """A COMPLETED job is never run again."""

    reason = "JOB_SUCCEEDED"


class LeaseLostError(Refused):
    """The worker's lease is over; its report changed nothing."""

    reason = "LEASE_LOST"


class RevisionCompacted(Refused):
    """The event log no longer reaches back to the cursor."""

    reason = "REVISION_COMPACTED"


class RevisionInFuture(Refused):
    """The cursor lies beyond the newest revision of the store."""

    reason = "REVISION_IN_FUTURE"


class StoreEpochChanged(Refused):
    """The cursor belongs to another store (a backup was restored, or the file replaced)."""

    reason = "STORE_EPOCH_CHANGED"


class QueueFull(Refused):
    """The service holds as many unfinished jobs as it may."""

    reason = "QUEUE_FULL"


class StoreFull(Refused):
    """The disk is full; running jobs may still finish."""

    reason = "STORE_FULL"


class TooManyStreams(Refused):
    """Too many open streams."""

    reason = "TOO_MANY_STREAMS"


class TooManyRequests(Refused):
    """Too much work is queued in front of the store."""

    reason = "TOO_MANY_REQUESTS"


class SlowConsumer(Refused):
    """A stream's reader did not take a message in time."""

    reason = "SLOW_CONSUMER"


class DeadlineTooShort(Refused):
    """The call arrived with less time left than any answer takes."""

    reason = "DEADLINE_TOO_SHORT"


class NotReady(Unavailable):
    """The server is starting; recovery has not ended."""

    reason = "NOT_READY"


class Draining(Unavailable):
    """The server is shutting down."""

    reason = "DRAINING"


class StreamAge(Unavailable):
    """The stream has reached its age limit."""

    reason = "STREAM_AGE"


class WorkerSilent(Unavailable):
    """Nothing was heard of a connected worker for three heartbeat intervals."""

    reason = "WORKER_SILENT"


class StoreUnavailable(Unavailable):
    """The store cannot be read or written now."""

    reason = "STORE_UNAVAILABLE"
