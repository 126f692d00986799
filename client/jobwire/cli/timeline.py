"""The whole story of one job, for people: facts, what happened when, what to type next. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.timestamp_pb2 import Timestamp

from jobwire.cli.outcome import payload_bytes
from jobwire.cli.story import shown_payload
from jobwire.cli.times import MomentText
from jobwire.cli.words import TERMINAL, badge, error_text, moment_text, painted, seconds_of, state_word
from jobwire.durations import span_text
from jobwire.v1 import job_pb2

_SMALLEST_WAIT_SECONDS = 0.1
_WAITING = frozenset({
    job_pb2.JOB_STATE_PENDING, job_pb2.JOB_STATE_SCHEDULED, job_pb2.JOB_STATE_RETRYING, job_pb2.JOB_STATE_BLOCKED,
})  # fmt: skip


def whole_story(
    job: job_pb2.Job, *, now: float, moment: MomentText, with_payload: bool, coloured: bool
) -> Iterator[str]:
    """Yield the lines. `now`: seconds since the epoch; `moment` writes the times of the timeline."""
    status = job.status
    state = badge(status.state)
    yield f"{job.spec.type}  {job.job_id}  {painted(state, status.state) if coloured else state}"
    yield from (f"  {line}" for line in _facts(job, now))
    yield ""
    yield "  Timeline"
    entries = [(when if isinstance(when, str) else moment(when), what) for when, what in _timeline(job, now)]
    width = max(len(when) for when, _ in entries)
    yield from (f"    {when:<{width}}  {what}" for when, what in entries)
    if (error := _last_error(job)) is not None:
        past = status.state in {job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_PROCESSING}
        yield ""
        yield "  Error of an earlier attempt" if past else "  Last error"
        yield from (f"    {line}" for line in error)
    yield from _contents(job, with_payload=with_payload)
    yield ""
    yield "  Next"
    yield from (f"    {line}" for line in _next(job))


def _facts(job: job_pb2.Job, now: float) -> Iterator[str]:
    spec, status = job.spec, job.status
    priority = spec.priority if spec.HasField("priority") else 5
    facts = [f"queue {spec.queue}", f"priority {priority}", f"attempt {status.attempt} of {status.max_attempts}"]
    yield " · ".join([*facts, *([f"batch {job.batch_id}"] if job.batch_id else [])])
    if spec.labels:
        yield "labels " + ", ".join(f"{key}={value}" for key, value in sorted(spec.labels.items()))
    yield " · ".join([f"submitted {_ago(seconds_of(job.create_time), now)}", *_limits(spec)])
    if status.state == job_pb2.JOB_STATE_PROCESSING:
        yield " · ".join(_running(status, now))


def _limits(spec: job_pb2.JobSpec) -> Iterator[str]:
    if spec.HasField("schedule_time"):
        yield f"not before {moment_text(spec.schedule_time)}"
    if spec.HasField("expire_time"):
        yield f"expires {moment_text(spec.expire_time)}"
    if spec.HasField("attempt_timeout"):
        yield f"an attempt may run {span_text(spec.attempt_timeout.ToTimedelta().total_seconds())}"


def _running(status: job_pb2.JobStatus, now: float) -> Iterator[str]:
    yield f"runs on {status.worker_id or 'an unnamed worker'}"
    if status.HasField("progress_percent"):
        yield f"{status.progress_percent:.0f} %"
    if status.progress_message:
        yield status.progress_message
    if status.HasField("lease_expire_time"):
        left = seconds_of(status.lease_expire_time) - now
        yield f"lease ends in {span_text(left)}" if left > 0 else "its lease is over"
    if status.HasField("cancel_request_time"):
        yield f"asked to stop {_ago(seconds_of(status.cancel_request_time), now)}"


def _timeline(job: job_pb2.Job, now: float) -> Iterator[tuple[Timestamp | str, str]]:
    status = job.status
    yield job.create_time, "○ submitted"
    if job.attempts and job.attempts[0].number > 1:
        yield "…", f"{job.attempts[0].number - 1} earlier attempts are not kept"
    ended, error = seconds_of(job.create_time), ""
    for attempt in job.attempts:
        yield attempt.start_time, _attempt(attempt, ended_before=ended, error_before=error, now=now)
        if attempt.HasField("finish_time"):
            ended = seconds_of(attempt.finish_time)
        error = error_text(attempt.error) if attempt.HasField("error") else ""
    if status.state in TERMINAL:
        yield status.finish_time, f"{badge(status.state)}{_ending(job)}"
    elif status.HasField("next_attempt_time"):
        yield status.next_attempt_time, f"{badge(status.state)}, due then"
    elif status.state in _WAITING:
        yield "now", f"{badge(status.state)}, waits for a worker"


def _attempt(attempt: job_pb2.Attempt, *, ended_before: float, error_before: str, now: float) -> str:
    start = seconds_of(attempt.start_time)
    finished = attempt.HasField("finish_time")
    span = span_text((seconds_of(attempt.finish_time) if finished else now) - start)
    said = error_text(attempt.error) if attempt.HasField("error") else ""
    if not finished:
        outcome = "◐ runs"
    elif not said:
        outcome = "✓ completed"
    else:
        outcome = "✕ the same error" if said == error_before else f"✕ {said}"
    waited = start - ended_before
    wait = f"  (waited {span_text(waited)})" if waited >= _SMALLEST_WAIT_SECONDS else ""
    return f"attempt {attempt.number}  {attempt.worker_id}  {span}  {outcome}{wait}"


def _ending(job: job_pb2.Job) -> str:
    status = job.status
    took = seconds_of(status.finish_time) - seconds_of(job.create_time)
    over = f" after {span_text(took)} in all"
    if status.state != job_pb2.JOB_STATE_FAILED:
        return over
    if status.attempt >= status.max_attempts:
        return f"{over}: its attempts are used up"
    return f"{over}: the error rules out another attempt" if not status.last_error.retryable else over


def _last_error(job: job_pb2.Job) -> list[str] | None:
    if not job.status.HasField("last_error"):
        return None
    error = job.status.last_error
    lines = [error_text(error)]
    if error.detail:
        lines += error.detail.rstrip().splitlines()
    return lines


def _contents(job: job_pb2.Job, *, with_payload: bool) -> Iterator[str]:
    """Payload and result: their sizes, unless the contents were asked for."""
    for name, holder in (("payload", job.spec), ("result", job.status)):
        if not holder.HasField(name):
            continue
        yield ""
        payload = getattr(holder, name)
        size = f"{len(payload_bytes(payload))} bytes of {payload.content_type or 'no content type'}"
        yield f"  {name.capitalize()}"
        yield f"    {shown_payload(payload)}" if with_payload else f"    {size} (--payload shows it)"


def _next(job: job_pb2.Job) -> Iterator[str]:
    commands = _commands(state_word(job.status.state), job)
    width = max(len(line) for line, _ in commands)
    for line, purpose in commands:
        yield f"{line:<{width}}   {purpose}"


def _commands(state: str, job: job_pb2.Job) -> list[tuple[str, str]]:
    job_id = job.job_id
    watch, cancel = (f"jobwire watch {job_id}", "follow it"), (f"jobwire job cancel {job_id}", "cancel it")
    clone = (f"jobwire job clone {job_id} --edit", "change the payload and submit it as a new job")
    match state:
        case "COMPLETED":
            return [(f"jobwire job result {job_id}", "print the result"),
                    (f"jobwire job clone {job_id}", "submit the same again as a new job")]  # fmt: skip
        case "FAILED" | "CANCELLED" | "EXPIRED":
            return [(f"jobwire job retry {job_id}", "run it again"), clone,
                    (f"jobwire job delete {job_id}", "remove it for good")]  # fmt: skip
        case "PROCESSING":
            return [watch, (cancel[0], "ask it to stop")]
        case "PENDING":
            return [("jobwire worker list", f"see who takes jobs of the type {job.spec.type}"), watch, cancel]
        case _:
            return [watch, cancel]


def _ago(seconds: float, now: float) -> str:
    return f"{span_text(max(now - seconds, 0.0))} ago"
