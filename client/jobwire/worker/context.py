"""What a handler may know of its job, and say while it runs."""

from __future__ import annotations

import builtins
import logging
import math
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack, cast

from jobwire._ambient import Ambient
from jobwire.codecs import decode, encode
from jobwire.errors import BatchTooLarge, ErrorDetails, PayloadTooLarge
from jobwire.payload import MAX_PAYLOAD_BYTES, Payload
from jobwire.worker.attempt import Attempt, Cause
from jobwire.worker.clock import Clock, SystemClock
from jobwire.worker.steering import Cancelled, LeaseLost
from jobwire.worker.text import bounded
from jobwire.worker.transport import Assignment

if TYPE_CHECKING:
    from jobwire._requests import SubmitOptions

T = TypeVar("T")

MAX_PROGRESS_MESSAGE_BYTES = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NULL = Payload(b"null", "application/json", is_text=True)


class Target(Protocol):
    """What a follow-up needs of a handler."""

    @property
    def type(self) -> str: ...
    @property
    def queue(self) -> str: ...


class JobContext:
    """The running job, as its handler sees it. Safe to use from any thread.

    A handler gets it when its first parameter is annotated `JobContext` (or is called `ctx` and has no annotation);
    deeper down, `current_job()` finds it.
    """

    __slots__ = ("_attempt", "_clock", "_follow_up_bytes")

    def __init__(self, attempt: Attempt, clock: Clock) -> None:
        self._attempt = attempt
        self._clock = clock
        self._follow_up_bytes = 0

    def __repr__(self) -> str:
        return f"<JobContext {self.job_id} ({self.type}), attempt {self.attempt}>"

    @property
    def job_id(self) -> str:
        """Id of the job; empty outside of a job."""
        return self._attempt.assignment.job_id

    @property
    def type(self) -> str:
        """Type of the job."""
        return self._attempt.assignment.type

    @property
    def queue(self) -> str:
        """Queue of the job."""
        return self._attempt.assignment.queue

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self._attempt.assignment.attempt

    @property
    def max_attempts(self) -> int:
        """Attempts allowed in all."""
        return self._attempt.assignment.max_attempts

    @property
    def fence(self) -> int:
        """Rises with every lease of this job: hand it to storages that can refuse a late writer."""
        return self._attempt.assignment.fence

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the job, such as `traceparent`."""
        return self._attempt.assignment.headers

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the job."""
        return self._attempt.assignment.labels

    @property
    def lost_leases(self) -> int:
        """Leases of this job lost in a row right before this attempt: above 0 it may be what kills workers."""
        return self._attempt.assignment.lost_leases

    @property
    def deadline(self) -> datetime | None:
        """End of this attempt by this machine's clock; None = no bound. `remaining_seconds` does not follow the clock
        when somebody sets it."""
        remaining = self.remaining_seconds
        return None if remaining is None else self._now() + timedelta(seconds=remaining)

    @property
    def remaining_seconds(self) -> float | None:
        """Time left of this attempt, at least 0; None = no bound."""
        deadline = self._attempt.deadline
        return None if deadline is None else max(0.0, deadline - self._clock.monotonic())

    @property
    def cancelled(self) -> bool:
        """True once the handler should stop."""
        return self._attempt.cause is not None

    @property
    def cancel_reason(self) -> str:
        """Why it should stop; empty while it need not."""
        return self._attempt.reason

    @property
    def logger(self) -> logging.Logger:
        """Logger `jobwire.job.<type>`."""
        return logging.getLogger(f"jobwire.job.{self.type}")

    def check(self) -> None:
        """Call this at safe points. Raises Cancelled when the handler should stop, LeaseLost when it is too late."""
        cause = self._attempt.cause
        if cause is None:
            return
        self._attempt.obeying = True
        raise LeaseLost(self._attempt.reason) if cause is Cause.LOST else Cancelled(self._attempt.reason)

    def progress(self, current: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the job is: `progress(40)` is a percentage, `progress(3, total=8)` makes one.

        Never blocks; of many calls in a row only the newest is sent. The percentage is held between 0 and 100, the
        message cut to 256 bytes. Raises ValueError when a number is not finite or `total` is not above 0.
        """
        percent = float(current)
        if total is not None:
            if not total > 0:
                raise ValueError(f"total must be more than 0, not {total!r}.")
            percent = 100.0 * percent / total
        if not math.isfinite(percent):
            raise ValueError(f"progress must be a finite number, not {current!r} of {total!r}.")
        text = None if message is None else bounded(str(message), MAX_PROGRESS_MESSAGE_BYTES)
        self._attempt.tell(min(100.0, max(0.0, percent)), text)

    @property
    def last_checkpoint(self) -> Any:
        """What an earlier attempt saved last, decoded (`jobwire.decode`); `{}` when there is nothing, so that
        `ctx.last_checkpoint.get("step", 0)` also works on the first attempt. Raises NotDecodable."""
        saved = self._attempt.assignment.checkpoint
        return {} if saved is None else decode(saved)

    def last_checkpoint_as(self, wanted: builtins.type[T], /) -> T | None:
        """As `last_checkpoint`, decoded to a type; None when there is nothing. Raises NotDecodable."""
        saved = self._attempt.assignment.checkpoint
        return None if saved is None else decode(saved, wanted)

    def checkpoint(self, value: object) -> None:
        """Save what the next attempt needs to go on from here: any value that could be a payload.

        Never blocks; of many calls in a row only the newest is sent, and always before the outcome. Raises
        NotEncodable, PayloadTooLarge.
        """
        saved = encode(value)
        self._attempt.save(_NULL if saved is None else _within_limit("checkpoint", saved))

    def follow_up(self, job: str | Target, /, *payload: object, **options: Unpack[SubmitOptions]) -> None:
        """Have another job created in the very transaction that records the success of this attempt: both, or none.

        job: a type, or a handler (its queue is the default). payload: one value as `Client.submit` takes it, none, or
        several, which become a JSON array and so the handler's arguments in order. options: those of `Client.submit`;
        without a `key` nothing is needed, an attempt succeeds once. Nothing is created when the attempt fails, is
        cancelled or snoozes. Raises ArgumentInvalid, NotEncodable, PayloadTooLarge, BatchTooLarge.
        """
        # Most handlers start none, and a child process that runs them should not pay for it at its start.
        from jobwire._requests import MAX_BATCH_SIZE, MAX_FOLLOW_UP_BYTES, Moment, follow_up_request  # noqa: PLC0415

        if isinstance(job, str):
            job_type = job
        else:
            job_type = job.type
            options = cast("SubmitOptions", {"queue": job.queue, **options})
        encoded = encode(payload[0] if len(payload) == 1 else list(payload) or None)
        if encoded is not None:
            _within_limit(f"payload of the follow-up {job_type!r:.80}", encoded)
        request = follow_up_request(job_type, encoded, options, Moment(self._now(), Ambient().new_id))
        follow_ups, size_bytes = self._attempt.follow_ups, self._follow_up_bytes + request.ByteSize()
        if len(follow_ups) == MAX_BATCH_SIZE:
            raise BatchTooLarge(f"An attempt may have at most {MAX_BATCH_SIZE} follow-ups.")
        if size_bytes > MAX_FOLLOW_UP_BYTES:
            facts = {"limit": str(MAX_FOLLOW_UP_BYTES), "actual": str(size_bytes)}
            raise PayloadTooLarge(
                f"The follow-ups of this attempt have {size_bytes} bytes together; the most is {MAX_FOLLOW_UP_BYTES}.",
                ErrorDetails(facts=facts),
            )
        follow_ups.append(request)
        self._follow_up_bytes = size_bytes

    def _now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self._clock.wall_us())


def _within_limit(what: str, payload: Payload) -> Payload:
    size = len(payload.data)
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"The {what} has {size} bytes; the most is {MAX_PAYLOAD_BYTES}. Keep large data elsewhere, and say where.",
            ErrorDetails(facts={"limit": str(MAX_PAYLOAD_BYTES), "actual": str(size)}),
        )
    return payload


current_context: ContextVar[JobContext] = ContextVar("jobwire_current_job")


def current_job() -> JobContext:
    """Return the context of the job that runs here; outside of a job one that is never cancelled and tells nobody."""
    context = current_context.get(None)
    if context is None:
        nothing = Assignment(
            token=b"", job_id="", queue="", type="", attempt=1, max_attempts=1, fence=0, payload=None, headers={},
            lease_seconds=math.inf, timeout_seconds=None,
        )  # fmt: skip
        return JobContext(Attempt(nothing), SystemClock())
    return context
