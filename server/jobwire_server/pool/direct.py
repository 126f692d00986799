"""The transport between a worker runtime and the dispatcher of the same process: calls and values, no bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, assert_never

from jobwire.app import App
from jobwire.payload import Payload
from jobwire.worker import transport as worker
from jobwire.worker.runtime import RuntimeSettings, WorkerRuntime
from jobwire.worker.text import bounded
from jobwire_server.dispatch.dispatcher import Dispatcher
from jobwire_server.dispatch.interest import Interest, Terms
from jobwire_server.dispatch.session import Beat, Run, Subscriber, WorkerSession
from jobwire_server.dispatch.settings import HEARTBEATS_PER_LEASE
from jobwire_server.domain.errors import (
    FieldInvalid,
    JobwireError,
    PayloadTooLarge,
    QueueFull,
    Refused,
    StoreFull,
    TooManyRequests,
    Violation,
)
from jobwire_server.domain.job import SECOND_US, Content, JobError, NewJob
from jobwire_server.domain.limits import DEFAULT_LIMITS, Limits
from jobwire_server.domain.outcome import Failed, LeaseLost, Outcome, Released, Snoozed, Stopped, Succeeded
from jobwire_server.kernel.telemetry import Log, LogEvent
from jobwire_server.pool.base import PoolUnusable
from jobwire_server.pool.settings import FLUSH_SECONDS, PATIENCE
from jobwire_server.store.base import Lease, Owner, Report, ReportAnswer, ReportCode, Transport

ERROR_MESSAGE_BYTES: Final = 4 << 10
ERROR_DETAIL_BYTES: Final = 16 << 10
PROGRESS_MESSAGE_BYTES: Final = 1 << 10
"""Longer texts are cut: they are kept with the job, and read by people."""

_KEY_BITS: Final = 63
_KEY_MASK: Final = (1 << _KEY_BITS) - 1
_CODES: Final = {
    ReportCode.RECORDED: worker.AckCode.RECORDED,
    ReportCode.DUPLICATE: worker.AckCode.DUPLICATE,
    ReportCode.LEASE_LOST: worker.AckCode.LEASE_LOST,
}


_PASSING: Final = (QueueFull, StoreFull, TooManyRequests)
"""Refusals of follow-ups that waiting may cure."""

ReadFollowUps = Callable[[Sequence[Any]], Sequence[NewJob]]
"""Reads the jobs that a success brings along, which are messages of the contract. Raises `Refused`."""


def no_follow_ups(_requests: Sequence[Any]) -> Sequence[NewJob]:
    """Refuse them: a success without the jobs that it asked for would be a lie."""
    raise FieldInvalid([Violation("follow_ups", "cannot be created by this worker")])


class DirectTransport:
    """Implements `jobwire.worker.transport.Transport` on a dispatcher. One worker, opened once."""

    def __init__(
        self, dispatcher: Dispatcher, *, follow_ups: ReadFollowUps = no_follow_ups, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """`follow_ups`: reads the jobs that a success brings along."""
        self._dispatcher = dispatcher
        self._read_follow_ups = follow_ups
        self._limits = limits
        self._session: WorkerSession | None = None

    async def open(self, hello: worker.Hello, inbox: worker.Inbox) -> worker.Welcome:
        """See `Transport`. The lease's owner is this server's incarnation: recovery voids those of dead ones."""
        owner = Owner(hello.worker_id, self._dispatcher.instance_id, Transport.DIRECT)
        terms = {each.queue: Terms(each.weight or 1, each.max_in_flight or None) for each in hello.queues}
        lease_us = None if hello.lease_seconds is None else round(hello.lease_seconds * SECOND_US)
        self._session = self._dispatcher.attach(
            Subscriber(owner, Interest(hello.types, terms), lease_us, hello.max_in_flight_bytes), _Desk(inbox)
        )
        settings = self._dispatcher.settings
        return worker.Welcome(
            lease_seconds=self._session.lease_us / SECOND_US,
            heartbeat_seconds=self._session.lease_us / SECOND_US / HEARTBEATS_PER_LEASE,
            cancel_grace_seconds=settings.cancel_grace_us / SECOND_US,
        )

    async def resize(self, max_in_flight: int) -> None:
        """See `Transport`."""
        self._opened.resize(max_in_flight)

    async def report(self, reports: Sequence[worker.OutcomeReport]) -> Sequence[worker.Ack]:
        """See `Transport`."""
        sound: dict[bytes | int, Report] = {}
        acks: dict[bytes | int, worker.Ack] = {}
        for token, outcome in reports:
            try:
                sound[token] = Report(*run_of(token), self._outcome(outcome))
            except Refused as refusal:
                acks[token] = worker.Ack(token, worker.AckCode.INVALID, refusal.message)
        if sound:
            acks.update(await self._record(sound))
        return [acks[report.token] for report in reports]

    async def abandon(self, tokens: Sequence[bytes | int]) -> None:
        """See `Transport`."""
        try:
            await self._opened.report([Report(*run_of(token), LeaseLost()) for token in tokens])
        except JobwireError as error:
            raise ConnectionError(error.message) from error

    async def update(self, updates: Sequence[worker.LeaseUpdate]) -> Sequence[worker.LeaseState]:
        """See `Transport`."""
        beats = [
            Beat(
                run_of(update.token),
                _percent(update.progress_percent),
                _cut(update.progress_message),
                None if update.checkpoint is None else Content._make(update.checkpoint),
            )
            for update in updates
        ]
        try:
            states = await self._opened.extend(beats)
        except JobwireError as error:
            raise ConnectionError(error.message) from error
        return [
            worker.LeaseState(update.token, state.valid, state.cancel_requested, max(0, state.remaining_us) / SECOND_US)
            for update, state in zip(updates, states, strict=True)
        ]

    async def close(self) -> None:
        """See `Transport`."""
        if self._session is not None:
            self._session.close()

    @property
    def _opened(self) -> WorkerSession:
        if self._session is None:
            raise RuntimeError("the transport was not opened")
        return self._session

    async def _record(self, reports: Mapping[bytes | int, Report]) -> dict[bytes | int, worker.Ack]:
        try:
            answers = await self._opened.report(list(reports.values()))
        except JobwireError as error:
            # Also a refusal (the store is full or overrun) is only for now: the lease still stands.
            raise ConnectionError(error.message) from error
        return {token: _ack_of(token, answer) for token, answer in zip(reports, answers, strict=True)}

    def _outcome(self, outcome: worker.Outcome) -> Outcome:
        match outcome:
            case worker.Success(result, follow_ups):
                if result is not None and len(result.data) > self._limits.payload_bytes:
                    raise PayloadTooLarge(
                        f"The result has {len(result.data)} bytes; the most is {self._limits.payload_bytes}.",
                        limit=self._limits.payload_bytes,
                    )
                content = None if result is None else Content._make(result)
                return Succeeded(content, self._read_follow_ups(follow_ups) if follow_ups else ())
            case worker.Failure():
                delay = outcome.retry_delay_seconds
                return Failed(
                    JobError(
                        type=bounded(outcome.error_type, self._limits.error_type_chars) or "Exception",
                        message=bounded(outcome.message, ERROR_MESSAGE_BYTES),
                        detail=bounded(outcome.detail, ERROR_DETAIL_BYTES, keep_end=True),
                        retryable=outcome.retryable,
                    ),
                    None if delay is None else self._microseconds(delay),
                )
            case worker.Release():
                delay_us = self._microseconds(outcome.delay_seconds)
                return Snoozed(delay_us) if delay_us else Released()
            case worker.Stopped():
                return Stopped(bounded(outcome.reason, self._limits.reason_chars))
            case _:
                assert_never(outcome)

    def _microseconds(self, seconds: float) -> int:
        if not seconds > 0:  # also not a number
            return 0
        return round(min(seconds * SECOND_US, self._limits.duration_us))


class DirectPool:
    """Implements `Pool` in this process and on this event loop, for embedding: handlers are isolated from nothing."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        app: App,
        *,
        slots: int,
        worker_id: str,
        app_path: str | None,
        log: Log,
        follow_ups: ReadFollowUps,
    ) -> None:
        self._dispatcher = dispatcher
        self._follow_ups = follow_ups
        self._app = app
        self._slots = slots
        self._worker_id = worker_id
        self._app_path = app_path
        self._log = log
        self._runtime: WorkerRuntime | None = None
        self._trouble = ""

    async def find_handlers(self) -> Sequence[str]:
        """See `Pool`. They are here already."""
        return sorted(self._app.handlers)

    async def connect(self) -> None:
        """See `Pool`."""
        if not self._app.handlers:
            return
        try:
            runtime = WorkerRuntime(
                transport=DirectTransport(self._dispatcher, follow_ups=self._follow_ups),
                handlers=self._app.handlers,
                slots=self._slots,
                worker_id=self._worker_id,
                instance_id=self._dispatcher.instance_id,
                app_path=self._app_path,
                settings=RuntimeSettings(flush_seconds=FLUSH_SECONDS, patience=PATIENCE),
                on_health=self._health,
            )
        except ValueError as error:
            raise PoolUnusable(str(error)) from error
        self._runtime = runtime
        await runtime.start()
        await runtime.resume()

    async def run(self) -> None:
        """See `Pool`. The runtime looks after itself."""

    async def drain(self, grace_seconds: float) -> None:
        """See `Pool`."""
        if self._runtime is not None:
            await self._runtime.drain(grace_seconds)

    async def stop(self) -> None:
        """See `Pool`."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await runtime.stop()

    @property
    def trouble(self) -> str:
        """See `Pool`."""
        return self._trouble

    def _health(self, reason: str | None) -> None:
        self._trouble = reason or ""
        write = self._log.info if reason is None else self._log.error
        write(LogEvent.POOL_HEALTH, healthy=reason is None, reason=reason)


class _Desk:
    """The inbox of a runtime, as the dispatcher sees it."""

    def __init__(self, inbox: worker.Inbox) -> None:
        self._inbox = inbox

    def assign(self, leases: Sequence[Lease]) -> None:
        self._inbox.assign([_assignment(lease) for lease in leases])

    def cancel(self, runs: Sequence[Run], grace_seconds: float) -> None:
        self._inbox.cancel([worker.CancelOrder(token_of(run), "", grace_seconds) for run in runs])

    def lose(self, runs: Sequence[Run]) -> None:
        self._inbox.lose([token_of(run) for run in runs])

    def drain(self, reason: str) -> None:
        self._inbox.drain(reason)


def _ack_of(token: bytes | int, answer: ReportAnswer) -> worker.Ack:
    code = _CODES.get(answer.code)
    if code is not None:
        return worker.Ack(token, code)
    refusal = answer.refusal
    is_final = isinstance(refusal, Refused) and not isinstance(refusal, _PASSING)
    text = "" if refusal is None else f"{refusal.reason}: {refusal.message}"
    return worker.Ack(token, worker.AckCode.INVALID if is_final else worker.AckCode.RETRY, text)


def token_of(run: Run) -> int:
    """Pack (key, fence) into the token that names the lease."""
    key, fence = run
    return fence << _KEY_BITS | key


def run_of(token: bytes | int) -> Run:
    """Unpack a token made by `token_of`."""
    if isinstance(token, bytes):
        raise TypeError("tokens of the direct transport are integers")
    return token & _KEY_MASK, token >> _KEY_BITS


def _assignment(lease: Lease) -> worker.Assignment:
    bounds = [bound for bound in (lease.attempt_timeout_us, lease.expire_in_us) if bound is not None]
    return worker.Assignment(
        token_of((lease.key, lease.fence)),
        lease.job_id,
        lease.queue,
        lease.type,
        lease.attempt,
        lease.max_attempts,
        lease.fence,
        None if lease.payload is None else Payload._make(lease.payload),
        lease.headers,
        lease.lease_us / SECOND_US,
        max(0, min(bounds)) / SECOND_US if bounds else None,
        lease.labels,
        None if lease.checkpoint is None else Payload._make(lease.checkpoint),
        lease.losses,
        lease.create_time_us / SECOND_US,
    )


def _percent(percent: float | None) -> float | None:
    if percent is None or percent != percent:  # noqa: PLR0124 - not a number is the only value unequal to itself
        return None
    return min(100.0, max(0.0, percent))


def _cut(text: str | None) -> str | None:
    return None if text is None else bounded(text, PROGRESS_MESSAGE_BYTES)
