"""The table of points: all that is known of each, and what judges it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, NamedTuple

from jobwire.conformance.points import ends, leases, outcomes, streams, submitter
from jobwire.conformance.stage import Stage


class Subject(StrEnum):
    """Which program a point is about."""

    WORKER = "worker"
    SUBMITTER = "submitter"


class Rule(NamedTuple):
    """Words of the contract."""

    where: str
    """Message and field, RPC, or page."""
    words: str


class Point(NamedTuple):
    """One thing that a program is certified for."""

    name: str
    judge: Callable[[Stage], Awaitable[None]]
    """Its first line says what the program has to do. Raises Deviation, or returns."""
    rule: Rule
    seconds: float = 30.0
    """Deadline."""
    is_fast: bool = False
    """Part of the slice for CI."""
    ends_server: bool = False
    """Needs a server of its own, which it kills."""
    only_waits: bool = False
    """Takes long and needs no processor meanwhile: runs beside everything else."""
    is_about_stream: bool = False
    """Does not apply to a worker of unary calls."""
    subject: Subject = Subject.WORKER

    @property
    def sentence(self) -> str:
        """What the program has to do."""
        return (self.judge.__doc__ or "").strip()


_PAYLOADS: Final = "docs/reference/conformance.md"
_HELD: Final = Rule(
    "WorkerHello.held_lease_tokens", "Leases of this instance it still holds, those with unacked outcomes included"
)
_SUBMITTER: Final = "docs/reference/conformance.md"

POINTS: Final[tuple[Point, ...]] = (
    # --- asking and reporting
    Point(
        "introduction",
        outcomes.introduction,
        Rule("WorkerHello.max_in_flight", "Credit window: most unfinished assignments at any time"),
        is_fast=True,
    ),
    Point("subscription", outcomes.subscription, Rule("WorkerHello.types", "Types it can run")),
    Point("echo", outcomes.echo, Rule("Payload.content", "both arms count against the same size limit"), is_fast=True),
    Point("failure", outcomes.failure, Rule("JobError.type", "Short stable class: the handler's own")),
    Point(
        "failure-for-good",
        outcomes.failure_for_good,
        Rule("JobError.retryable", "False when the worker or the policy ruled a retry out."),
    ),
    Point("retry-delay", outcomes.retry_delay, Rule("Failure.retry_delay", "Overrides the policy's backoff.")),
    Point(
        "release",
        outcomes.release,
        Rule("Outcome.release", "Give it back without using up the attempt"),
        is_fast=True,
    ),
    Point(
        "progress",
        outcomes.progress,
        Rule("LeaseUpdate", "Keep a lease alive and, if fields are set, record progress."),
    ),
    Point(
        "checkpoint",
        outcomes.checkpoint,
        Rule("LeaseUpdate.checkpoint", "Kept with the job and handed to the next attempt, if there is one."),
        is_fast=True,
    ),
    Point(
        "follow-up",
        outcomes.follow_up,
        Rule(
            "Success.follow_ups",
            "Jobs created in the transaction that records the success: all of it happens, or none.",
        ),
        is_fast=True,
    ),
    Point("big-payload", outcomes.big_payload, Rule("Payload", "At most 1 MiB"), is_fast=True),
    Point(
        "result-too-big",
        outcomes.result_too_big,
        Rule(
            "OutcomeCode.OUTCOME_CODE_INVALID",
            "Malformed, too big, or its follow-ups are refused; the lease still stands.",
        ),
    ),
    Point(
        "bad-payload",
        outcomes.bad_payload,
        Rule(_PAYLOADS, "anything else, also what is no JSON | Failure of type `BadPayload`, not retryable."),
        is_fast=True,
    ),
    Point(
        "many-jobs",
        outcomes.many_jobs,
        Rule("WorkerService.ReportOutcomes", "each on its own; safe to repeat. One bad outcome never fails the call."),
        seconds=120.0,
        is_fast=True,
    ),
    # --- holding a job
    Point(
        "heartbeat",
        leases.heartbeat,
        Rule("WorkRequest.lease_updates", "Name every lease you hold in each heartbeat interval."),
        is_fast=True,
    ),
    Point(
        "window",
        leases.window,
        Rule("WorkResponse.assignments", "each counts against the credit window until its outcome is acked"),
    ),
    Point(
        "cancel",
        leases.cancel,
        Rule("CancelOrder.grace", "Report Stopped within this time or the lease is fenced."),
        is_fast=True,
    ),
    Point(
        "cancel-by-heartbeat",
        leases.cancel_by_heartbeat,
        Rule("LeaseState.cancel_requested", "Someone asked to cancel."),
    ),
    Point(
        "lease-lost",
        leases.lease_lost,
        Rule("LeaseState.valid", "False = lost: stop the job, report nothing."),
        is_fast=True,
    ),
    Point(
        "late-outcome",
        leases.late_outcome,
        Rule("OutcomeCode.OUTCOME_CODE_LEASE_LOST", "Lease was lost; the result was thrown away. Do not retry."),
        seconds=40.0,
    ),
    Point(
        "killed-worker",
        leases.killed_worker,
        Rule(
            "WorkerHello.instance_id", "Random per process start, 1 to 64 characters; tells a reconnect from a restart."
        ),
    ),
    # --- the way between
    Point("ack-lost", streams.ack_lost, _HELD, is_fast=True),
    Point(
        "outcome-lost",
        streams.outcome_lost,
        Rule("WorkRequest.outcomes", "keep each until its ack, and send it again on the next stream if none came."),
        is_fast=True,
    ),
    Point(
        "assignment-lost",
        streams.assignment_lost,
        Rule(
            "WorkerHello.held_lease_tokens",
            "Leases of this instance the server knows and this list lacks were never received: they go back to PENDING "
            "at once and do not use up an attempt.",
        ),
    ),
    Point(
        "assignment-twice",
        streams.assignment_twice,
        Rule("Assignment.lease_token", "Opaque proof of the lease: job, attempt and fencing number."),
        is_about_stream=True,
    ),
    Point(
        "told-to-retry",
        streams.told_to_retry,
        Rule("OutcomeCode.OUTCOME_CODE_RETRY", "Not stored because of a passing fault: send it again."),
        is_about_stream=True,
    ),
    Point(
        "stream-cut",
        streams.stream_cut,
        Rule(
            "WorkerService.Work",
            "When the stream is cut, leases stay: open it again and name them in hello.held_lease_tokens.",
        ),
        is_fast=True,
        is_about_stream=True,
    ),
    Point("cut-often", streams.cut_often, _HELD, seconds=90.0, is_about_stream=True),
    Point(
        "ping", streams.ping, Rule("WorkResponse.ping_id", "echo it in pong_id."), is_fast=True, is_about_stream=True
    ),
    Point(
        "idle-stream",
        streams.idle_stream,
        Rule("WorkerService.Work", "WORKER_SILENT (no frame for three heartbeat intervals)"),
        is_about_stream=True,
    ),
    Point(
        "unknown-fields",
        streams.unknown_fields,
        Rule("JobState", "Clients must accept values they do not know."),
        is_fast=True,
    ),
    Point(
        "drain-notice",
        streams.drain_notice,
        Rule("DrainNotice.reconnect_delay", "Open the new stream after this (jittered), then half-close this one."),
        is_about_stream=True,
    ),
    Point(
        "reconnect-pace",
        streams.reconnect_pace,
        Rule("docs/reference/errors.md", "Wait, with backoff and jitter, and repeat with the same `request_id`"),
    ),
    # --- beginnings and ends
    Point(
        "late-server",
        ends.late_server,
        Rule("docs/reference/errors.md", "Wait, with backoff and jitter, and repeat with the same `request_id`"),
    ),
    Point(
        "idle-drain",
        ends.idle_drain,
        Rule("WorkerService.Work", "To leave: set max_in_flight to 0, finish, release what is left, half-close"),
        is_fast=True,
    ),
    Point(
        "finishing-drain",
        ends.finishing_drain,
        Rule("WorkRequest.max_in_flight", "0 = send me nothing more."),
        is_fast=True,
    ),
    Point(
        "releasing-drain",
        ends.releasing_drain,
        Rule("Outcome.release", "Give it back without using up the attempt (worker shuts down, not my type)."),
        is_fast=True,
    ),
    Point(
        "drained-server",
        ends.drained_server,
        Rule(
            "WorkerService.Work",
            "UNAVAILABLE WORKER_SILENT (no frame for three heartbeat intervals), DRAINING, STREAM_AGE: open the stream "
            "again.",
        ),
        seconds=120.0,
        ends_server=True,
    ),
    Point("killed-server", ends.killed_server, _HELD, seconds=120.0, ends_server=True, is_fast=True),
    Point(
        "frozen-stream",
        streams.frozen_stream,
        Rule("WorkResponse.ping_id", "A worker that sees no frame for 45 s must reconnect."),
        seconds=100.0,
        only_waits=True,
        is_about_stream=True,
    ),
    # --- submitting and watching
    Point(
        "result",
        submitter.result,
        Rule(_SUBMITTER, "writes its result, and nothing else, to stdout"),
        is_fast=True,
        subject=Subject.SUBMITTER,
    ),
    Point(
        "submit-once",
        submitter.submit_once,
        Rule("SubmitJobRequest.request_id", "Same key and same content: the first job again, created = false."),
        is_fast=True,
        subject=Subject.SUBMITTER,
    ),
    Point(
        "watch-cut",
        submitter.watch_cut,
        Rule("JobService.WatchJob", "Streams the status of one job, latest first, until it is terminal (then OK)."),
        is_fast=True,
        subject=Subject.SUBMITTER,
    ),
    Point(
        "end-while-cut",
        submitter.end_while_cut,
        Rule("JobService.WatchJob", "Statuses may be skipped when the reader is slow, the terminal one never."),
        is_fast=True,
        subject=Subject.SUBMITTER,
    ),
    Point(
        "watch-over-kill",
        submitter.server_killed,
        Rule("JobService", "repeating it with the same request_id settles that."),
        ends_server=True,
        subject=Subject.SUBMITTER,
    ),
    Point(
        "failed",
        submitter.failed,
        Rule(_SUBMITTER, "Exit code 0 for COMPLETED, 3 for FAILED, 4 for CANCELLED and EXPIRED."),
        is_fast=True,
        subject=Subject.SUBMITTER,
    ),
    Point(
        "cancelled",
        submitter.cancelled,
        Rule(_SUBMITTER, "Exit code 0 for COMPLETED, 3 for FAILED, 4 for CANCELLED and EXPIRED."),
        subject=Subject.SUBMITTER,
    ),
    Point(
        "unknown-state",
        submitter.unknown_state,
        Rule("JobState", "Clients must accept values they do not know."),
        subject=Subject.SUBMITTER,
    ),
)
