"""`jobwire job`: list, get, result, cancel, retry, delete (`job events` is in watching)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from jobwire._calls import Repeat
from jobwire.cli.bulk import for_each_id
from jobwire.cli.filters import filter_of, filter_options
from jobwire.cli.flags import command
from jobwire.cli.following import Deadline
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.outcome import print_result, raise_unless_completed
from jobwire.cli.output import Many, Printer
from jobwire.cli.params import DURATION, PAST_MOMENT
from jobwire.cli.root import JOB_COMMANDS, NounGroup
from jobwire.cli.server import Server
from jobwire.cli.spec import timestamp_of
from jobwire.cli.story import job_story
from jobwire.cli.words import TERMINAL, badge, job_table, painted
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

_PAGE_JOBS = 1000
_TABLE_JOBS = 1000
_LONG_POLL = timedelta(seconds=30)

job = NounGroup(
    name="job",
    entries=JOB_COMMANDS,
    help="List, read, cancel, retry and delete jobs.",
    no_args_is_help=True,
)


def print_jobs(invocation: Invocation, printer: Printer, jobs: Sequence[job_pb2.Job]) -> None:
    """Draw the table, if tables are wanted. A terminal gets ages and a cut last column, a pipe full times and texts."""
    on_terminal = invocation.stdout.isatty()
    now = invocation.wall_seconds() if on_terminal else None
    width = shutil.get_terminal_size().columns if on_terminal else None
    lines = job_table(jobs, now=now, width=width)
    if invocation.coloured(invocation.stdout):
        lines = [lines[0], *(painted(line, shown.status.state) for line, shown in zip(lines[1:], jobs, strict=True))]
    printer.rows(lines)


@command("list", epilog="Example: jobwire job list --state failed --queue mail --since 1h -o id")
@filter_options
@click.option("--since", type=PAST_MOMENT, help="Created at or after this time (1h, 2026-11-21T00:00:00Z).")
@click.option("--before", type=PAST_MOMENT, help="Created before this time.")
@click.option("--limit", type=click.IntRange(1), default=50, help="Most jobs to list. Default: 50.")
@click.option("--all", "everything", is_flag=True, help="No limit.")
def list_jobs(
    invocation: Invocation,
    since: datetime | timedelta | None,
    before: datetime | timedelta | None,
    limit: int,
    everything: bool,
    **given: Any,
) -> None:
    """List jobs, newest first.

    -o json prints {"jobs": [...], "next_page_token": ..., "cursor": ...}, the answer of ListJobs over all pages read;
    -o jsonl one job a line as they arrive.
    """
    condition = filter_of(given)
    now = invocation.wall_seconds()
    if since is not None:
        condition.create_time_min.CopyFrom(timestamp_of(since, now))
    if before is not None:
        condition.create_time_max.CopyFrom(timestamp_of(before, now))
    printer = Printer(invocation)
    with Server(invocation) as server:
        pages = _Pages(server, condition, None if everything else limit)
        with printer.many("jobs", tail=pages.tail) as many:
            _write_pages(invocation, printer, pages, many)
    if pages.next_page_token:
        printer.talk(f"the newest {many.count} jobs; there are more: --limit N or --all")


def _write_pages(invocation: Invocation, printer: Printer, pages: _Pages, many: Many) -> None:
    shown: list[job_pb2.Job] = []
    for page in pages:
        for found in page:
            many.add(found, identifier=found.job_id)
        shown += page
        if len(shown) >= _TABLE_JOBS:  # in parts, so that --all needs no memory
            print_jobs(invocation, printer, shown)
            shown = []
    if shown or not many.count:
        print_jobs(invocation, printer, shown)


class _Pages:
    """Pages of ListJobs up to a limit, and what the last one said of the rest."""

    def __init__(self, server: Server, condition: job_pb2.JobFilter, limit: int | None) -> None:
        self._server = server
        self._condition = condition
        self._limit = limit
        self._cursor: dict[str, Any] | None = None
        self.next_page_token = ""

    def __iter__(self) -> Iterator[list[job_pb2.Job]]:
        left = self._limit
        while left is None or left > 0:
            answer = self._server.call(
                "ListJobs",
                pb.ListJobsRequest(
                    filter=self._condition,
                    page_size=_PAGE_JOBS if left is None else min(left, _PAGE_JOBS),
                    page_token=self.next_page_token,
                    view=job_pb2.JOB_VIEW_BASIC,
                ),
                pb.ListJobsResponse,
            )
            self.next_page_token = answer.next_page_token
            if self._cursor is None and answer.HasField("cursor"):
                self._cursor = {"epoch": answer.cursor.epoch, "revision": str(answer.cursor.revision)}
            yield list(answer.jobs)
            if not self.next_page_token:
                return
            left = None if left is None else left - len(answer.jobs)

    def tail(self) -> dict[str, Any]:
        """The other fields of ListJobsResponse."""
        return {"next_page_token": self.next_page_token, "cursor": self._cursor}


@command("get", epilog="Example: jobwire job get 0197f3c2-a9e1-7bcd-8000-3c5f0a1b2c3d -o json")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
def get(invocation: Invocation, job_ids: tuple[str, ...]) -> None:
    """Read jobs by id: one with all that is known of it, several as a table.

    -o json prints the job; for several ids {"jobs": [...]}. An id without a job is an error (exit 6, or 11 when the
    others exist).
    """
    printer = Printer(invocation)
    found: list[job_pb2.Job] = []
    with Server(invocation) as server, _one_or_many(printer, job_ids) as show:

        def take(job: job_pb2.Job) -> None:
            found.append(job)
            show(job)

        try:
            for_each_id(invocation, job_ids, server.job, take)
        finally:
            if len(job_ids) == 1:
                printer.rows(
                    line for job in found for line in job_story(job, coloured=invocation.coloured(invocation.stdout))
                )
            elif found:
                print_jobs(invocation, printer, found)


class _one_or_many:  # noqa: N801 - reads as a with statement
    """Print one job as a document of its own, several as a list."""

    def __init__(self, printer: Printer, job_ids: Sequence[str]) -> None:
        self._printer = printer
        self._single = len(job_ids) == 1
        self._many = printer.many("jobs")

    def __enter__(self) -> Any:
        if self._single:
            return lambda job: self._printer.one(job, identifier=job.job_id, text=lambda: None)
        many = self._many.__enter__()
        return lambda job: many.add(job, identifier=job.job_id)

    def __exit__(self, *error: Any) -> None:
        if not self._single:
            self._many.__exit__(*error)


@command("result", epilog="Example: jobwire job result ID > result.json")
@click.argument("job_id", metavar="ID")
@click.option("--timeout", "wait_limit", type=DURATION, help="Longest wait for the end (exit 5). Default: no limit.")
def result(invocation: Invocation, job_id: str, wait_limit: timedelta | None) -> None:
    """Wait for a job and print its result: JSON or the bytes as they are, and nothing else.

    Exits by the job's outcome, as `jobwire run` does. -o json prints the result as a Payload message.
    """
    with Server(invocation) as server:
        found = wait_for_end(server, job_id, Deadline(wait_limit, server.clock))
    raise_unless_completed(found)
    printer = Printer(invocation)
    if printer.output is Output.TABLE:
        print_result(printer, found)
    else:
        printer.one(found.status.result, identifier=job_id, text=lambda: None)


def wait_for_end(server: Server, job_id: str, deadline: Deadline) -> job_pb2.Job:
    """Long-poll until the job is terminal. Raises WAIT_TIMEOUT at the deadline."""
    found = server.job(job_id)
    while found.status.state not in TERMINAL:
        left = deadline.remaining_seconds()
        if left == 0.0:
            raise deadline.fault([job_id])
        patience = _LONG_POLL if left is None else min(_LONG_POLL, timedelta(seconds=left))
        request = pb.GetJobRequest(job_id=job_id, wait_revision=found.status.revision)
        request.wait_timeout.FromTimedelta(patience)
        found = server.call("GetJob", request, pb.GetJobResponse, extra=patience).job
    return found


@command("cancel", epilog="Example: jobwire job list --queue mail --state pending -o id | xargs jobwire job cancel")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", default="", help="Kept with the job.")
@click.option("--force", is_flag=True, help="Do not wait for the worker: fence its lease and cancel now.")
def cancel(invocation: Invocation, job_ids: tuple[str, ...], reason: str, force: bool) -> None:
    """Cancel jobs. One that waits is cancelled at once; a running one is asked to stop, then cancelled."""
    with Server(invocation) as server:

        def act(job_id: str) -> job_pb2.Job:
            request = pb.CancelJobRequest(job_id=job_id, reason=reason, force=force)
            return server.call("CancelJob", request, pb.CancelJobResponse).job

        _change_each(invocation, job_ids, act)


@command("retry", epilog="Example: jobwire job list --state failed --since 1h -o id | xargs jobwire job retry")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--attempts", type=click.IntRange(0), default=0, help="Attempts granted. Default: as the policy says.")
@click.option("--delay", type=DURATION, help="Not before this time has passed.")
def retry(invocation: Invocation, job_ids: tuple[str, ...], attempts: int, delay: timedelta | None) -> None:
    """Put FAILED, CANCELLED or EXPIRED jobs back to work."""
    with Server(invocation) as server:

        def act(job_id: str) -> job_pb2.Job:
            request = pb.RetryJobRequest(job_id=job_id, additional_attempts=attempts)
            if delay is not None:
                request.schedule_time.CopyFrom(timestamp_of(delay, invocation.wall_seconds()))
            return server.call("RetryJob", request, pb.RetryJobResponse, repeat=Repeat.IF_UNSENT).job

        _change_each(invocation, job_ids, act)


def _change_each(invocation: Invocation, job_ids: Sequence[str], act: Any) -> None:
    printer = Printer(invocation)
    with _one_or_many(printer, job_ids) as show:

        def take(job: job_pb2.Job) -> None:
            show(job)
            printer.rows([f"{badge(job.status.state)}  {job.job_id}{_asked_to_stop(job)}"])

        for_each_id(invocation, job_ids, act, take)


def _asked_to_stop(job: job_pb2.Job) -> str:
    asked = job.status.HasField("cancel_request_time") and job.status.state == job_pb2.JOB_STATE_PROCESSING
    return "  asked to stop" if asked else ""


@command("delete", epilog="Example: jobwire job delete ID")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--missing-ok", is_flag=True, help="An id without a job is no error.")
def delete(invocation: Invocation, job_ids: tuple[str, ...], missing_ok: bool) -> None:
    """Remove finished jobs with their payloads and results, for good. Their ids are not given out again."""
    printer = Printer(invocation)
    with Server(invocation) as server, printer.many("deleted") as many:

        def act(job_id: str) -> str:
            request = pb.DeleteJobRequest(job_id=job_id, allow_missing=missing_ok)
            repeat = Repeat.SAFE if missing_ok else Repeat.IF_UNSENT
            server.call("DeleteJob", request, pb.DeleteJobResponse, repeat=repeat)
            return job_id

        def show(job_id: str) -> None:
            many.add_id(job_id, text=f"deleted  {job_id}")

        for_each_id(invocation, job_ids, act, show)
