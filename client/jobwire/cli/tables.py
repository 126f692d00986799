"""Tables of jobs, for people."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from jobwire.cli.invocation import Invocation, Output, TimeStyle
from jobwire.cli.output import Printer, document_of, table
from jobwire.cli.times import moments, table_style
from jobwire.cli.words import badge, painted, remark, seconds_of
from jobwire.durations import span_text
from jobwire.v1 import job_pb2


def print_jobs(invocation: Invocation, printer: Printer, jobs: Sequence[job_pb2.Job]) -> None:
    """Draw the table, if tables are wanted. A terminal gets ages and a cut last column, a pipe full times and texts."""
    if not printer.output.for_people:
        return
    wide = printer.output is Output.WIDE
    width = shutil.get_terminal_size().columns if invocation.stdout.isatty() and not wide else None
    if printer.fields is not None:
        rows = [printer.fields.cells(document_of(job)) for job in jobs]
        printer.rows(table(printer.fields.names, rows, width=width))
        return
    lines = _drawn(invocation, jobs, wide=wide, width=width)
    if invocation.coloured(invocation.stdout):
        lines = [lines[0], *(painted(line, shown.status.state) for line, shown in zip(lines[1:], jobs, strict=True))]
    printer.rows(lines)


def _drawn(invocation: Invocation, jobs: Sequence[job_pb2.Job], *, wide: bool, width: int | None) -> list[str]:
    style = table_style(invocation)
    now = invocation.wall_seconds() if style is TimeStyle.RELATIVE else None
    moment = moments(invocation)
    more = ("PRIORITY", "BATCH", "WORKER", "LABELS") if wide else ()
    created = "CREATED" if now is None else "AGE"
    rows = [
        (
            badge(job.status.state),
            job.job_id,
            job.spec.type,
            job.spec.queue,
            f"{job.status.attempt}/{job.status.max_attempts}",
            span_text(max(now - seconds_of(job.create_time), 0.0)) if now is not None else moment(job.create_time),
            *(_more_cells(job) if wide else ()),
            remark(job.status, now=now),
        )
        for job in jobs
    ]
    return table(("STATE", "ID", "TYPE", "QUEUE", "ATTEMPT", created, *more, "REMARK"), rows, width=width)


def _more_cells(job: job_pb2.Job) -> tuple[str, ...]:
    labels = ",".join(f"{key}={value}" for key, value in sorted(job.spec.labels.items()))
    priority = str(job.spec.priority) if job.spec.HasField("priority") else "-"
    return priority, job.batch_id or "-", job.status.worker_id or "-", labels or "-"


def jobs_text(count: int) -> str:
    """A number of jobs."""
    return "1 job" if count == 1 else f"{count} jobs"
