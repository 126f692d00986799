"""How people see a job move: lines for a pipe, one live line for a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from jobwire.cli.invocation import Invocation
from jobwire.cli.words import (
    TERMINAL,
    badge,
    change_line,
    colour_of,
    duration_seconds,
    error_text,
    seconds_of,
    state_word,
)
from jobwire.durations import span_text
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Reporter(Protocol):
    """Shows what happens to one job. Enter it before the first call."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def submitted(self, job: job_pb2.Job) -> None:
        """The job exists."""

    def changed(self, event: pb.JobEvent) -> None:
        """Something happened to it."""

    def ended(self, job: job_pb2.Job) -> None:
        """It is over."""

    def say(self, sentence: str) -> None:
        """Say something beside."""


class Silence:
    """`--quiet`: shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def submitted(self, job: job_pb2.Job) -> None:
        """See Reporter."""

    def changed(self, event: pb.JobEvent) -> None:
        """See Reporter."""

    def ended(self, job: job_pb2.Job) -> None:
        """See Reporter."""

    def say(self, sentence: str) -> None:
        """See Reporter."""


class Lines(Silence):
    """One line per durable change, on stderr."""

    def __init__(self, invocation: Invocation) -> None:
        self._stderr = invocation.stderr

    def submitted(self, job: job_pb2.Job) -> None:
        """See Reporter."""
        self.say(change_line(job.create_time, job.job_id, job.status))

    def changed(self, event: pb.JobEvent) -> None:
        """See Reporter. Progress is no durable change; the end is written by `ended`, which knows the duration."""
        if event.event_type != pb.JOB_EVENT_TYPE_PROGRESS and event.status.state not in TERMINAL:
            self.say(change_line(event.event_time, event.job_id, event.status))

    def ended(self, job: job_pb2.Job) -> None:
        """See Reporter."""
        line = change_line(job.status.finish_time, job.job_id, job.status)
        duration = duration_seconds(job)
        self.say(line if duration is None else f"{line} duration={span_text(duration)}")

    def say(self, sentence: str) -> None:
        """See Reporter."""
        self._stderr.write(sentence + "\n")
        self._stderr.flush()


class Live(Silence):
    """A line that moves, and lasting lines for what must not be overwritten. For terminals; imports rich."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._progress: Progress | None = None
        self._row: TaskID | None = None

    def __enter__(self) -> Self:
        from rich.console import Console  # noqa: PLC0415 - only on a terminal
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        coloured = self._invocation.coloured(self._invocation.stderr)
        console = Console(file=self._invocation.stderr, no_color=not coloured, highlight=False)
        self._progress = Progress(
            TextColumn("[{task.fields[colour]}]{task.description}", markup=True),
            TextColumn("{task.fields[attempt]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[percent]}"),
            TextColumn("{task.fields[message]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def submitted(self, job: job_pb2.Job) -> None:
        """See Reporter."""
        self.say(f"◷ {job.job_id}  {job.spec.type}  queue={job.spec.queue}")
        self._show(job.status)

    def changed(self, event: pb.JobEvent) -> None:
        """See Reporter."""
        status = event.status
        if event.event_type != pb.JOB_EVENT_TYPE_PROGRESS and status.state == job_pb2.JOB_STATE_RETRYING:
            self.say(_retrying_sentence(event))
        self._show(status)

    def ended(self, job: job_pb2.Job) -> None:
        """See Reporter."""
        if self._progress is not None and self._row is not None:
            self._progress.remove_task(self._row)
            self._row = None
        self.say(ending_sentence(job), style=colour_of(job.status.state))

    def say(self, sentence: str, style: str | None = None) -> None:
        """See Reporter."""
        assert self._progress is not None
        self._progress.console.print(sentence, style=style, markup=False, soft_wrap=True)

    def _show(self, status: job_pb2.JobStatus) -> None:
        assert self._progress is not None
        known = status.HasField("progress_percent")
        running = status.state == job_pb2.JOB_STATE_PROCESSING
        fields: dict[str, Any] = {
            "colour": colour_of(status.state),
            "attempt": f"attempt {status.attempt}/{status.max_attempts}" if running else "",
            "percent": f"{status.progress_percent:3.0f} %" if known and running else "",
            "message": status.progress_message if running else "",
        }
        total = 100.0 if known and running else None
        completed = status.progress_percent if known and running else 0.0
        if self._row is None:
            self._row = self._progress.add_task(badge(status.state), total=total, completed=int(completed), **fields)
        else:
            self._progress.update(
                self._row, description=badge(status.state), total=total, completed=completed, **fields
            )


def _retrying_sentence(event: pb.JobEvent) -> str:
    status = event.status
    sentence = f"↻ retrying attempt {status.attempt} failed: {error_text(status.last_error)}"
    if not status.HasField("next_attempt_time"):
        return sentence
    wait = seconds_of(status.next_attempt_time) - seconds_of(event.event_time)
    return f"{sentence} · next in {span_text(wait)}"


def ending_sentence(job: job_pb2.Job) -> str:
    """Say how a job ended: state, time, attempts."""
    duration = duration_seconds(job)
    span = f" in {span_text(duration)}" if duration is not None else ""
    attempts = "1 attempt" if job.status.attempt == 1 else f"{job.status.attempt} attempts"
    return f"{badge(job.status.state)}{span} ({attempts})"


def reporter_for(invocation: Invocation) -> Reporter:
    """Choose by --quiet and by what stderr is."""
    if invocation.quiet:
        return Silence()
    if invocation.stderr.isatty() and invocation.environ.get("TERM") != "dumb":
        return Live(invocation)
    return Lines(invocation)


def state_line(job: job_pb2.Job) -> str:
    """Short line for talk on stderr."""
    return f"{state_word(job.status.state)} {job.job_id}"
