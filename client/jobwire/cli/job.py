"""`jobwire job`: list, get, result. (The other verbs are in watching, steering, describing and cloning.)"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from jobwire.cli.bulk import for_each_id, one_or_many
from jobwire.cli.filters import filter_of, filter_options, time_options
from jobwire.cli.flags import command
from jobwire.cli.following import Deadline
from jobwire.cli.invocation import Invocation
from jobwire.cli.last import JOB_ID
from jobwire.cli.listing import Pages
from jobwire.cli.outcome import print_result, raise_unless_completed
from jobwire.cli.output import Many, Printer
from jobwire.cli.params import DURATION
from jobwire.cli.root import JOB_COMMANDS, NounGroup
from jobwire.cli.server import Server
from jobwire.cli.story import job_story
from jobwire.cli.tables import jobs_text, print_jobs
from jobwire.cli.words import TERMINAL
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

_TABLE_JOBS = 1000
_LONG_POLL = timedelta(seconds=30)

job = NounGroup(
    name="job",
    entries=JOB_COMMANDS,
    help="List, read, cancel, retry and delete jobs.",
    no_args_is_help=True,
)


@command("list", epilog="Example: jobwire job list -f 'state:failed,retrying queue:mail type:email.*' --since 1h")
@filter_options
@time_options
@click.option("--limit", type=click.IntRange(1), default=50, help="Most jobs to list. Default: 50.")
@click.option("--all", "everything", is_flag=True, help="No limit.")
def list_jobs(invocation: Invocation, limit: int, everything: bool, **given: Any) -> None:
    """List jobs, newest first.

    Conditions of --filter that the server cannot look for (wildcards, negations, error, worker, attempt, priority, run)
    are applied here: the command then reads through all jobs that meet the other conditions, until the limit is full.

    -o json prints {"jobs": [...], "next_page_token": ..., "cursor": ...}, the answer of ListJobs over all pages read;
    -o jsonl one job a line as they arrive.
    """
    printer = Printer(invocation, shows=job_pb2.Job)
    chosen = filter_of(given, now_seconds=invocation.wall_seconds())
    with Server(invocation) as server:
        pages = Pages(server, chosen, None if everything else limit)
        with printer.many("jobs", tail=pages.tail) as many:
            _write_pages(invocation, printer, pages, many)
    if pages.has_more:
        perhaps = "perhaps " if chosen.rest else ""
        printer.talk(f"the newest {jobs_text(many.count)}; there are {perhaps}more: --limit N or --all")


def _write_pages(invocation: Invocation, printer: Printer, pages: Pages, many: Many) -> None:
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


@command("get", epilog="Example: jobwire job get 0197f3c2-a9e1-7bcd-8000-3c5f0a1b2c3d -o json")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=JOB_ID)
def get(invocation: Invocation, job_ids: tuple[str, ...]) -> None:
    """Read jobs by id: one with all that is known of it, several as a table.

    -o json prints the job; for several ids {"jobs": [...]}. An id without a job is an error (exit 6, or 11 when the
    others exist).
    """
    printer = Printer(invocation, shows=job_pb2.Job)
    found: list[job_pb2.Job] = []
    with Server(invocation) as server, one_or_many(printer, job_ids) as show:

        def take(job: job_pb2.Job) -> None:
            found.append(job)
            show(job)

        try:
            for_each_id(invocation, job_ids, server.job, take)
        finally:
            if len(job_ids) == 1 and printer.fields is None:
                printer.rows(
                    line for job in found for line in job_story(job, coloured=invocation.coloured(invocation.stdout))
                )
            elif found and len(job_ids) > 1:
                print_jobs(invocation, printer, found)


@command("result", epilog="Example: jobwire job result ID > result.json")
@click.argument("job_id", metavar="ID", type=JOB_ID)
@click.option("--timeout", "wait_limit", type=DURATION, help="Longest wait for the end (exit 5). Default: no limit.")
def result(invocation: Invocation, job_id: str, wait_limit: timedelta | None) -> None:
    """Wait for a job and print its result: JSON or the bytes as they are, and nothing else.

    Exits by the job's outcome, as `jobwire run` does. -o json prints the result as a Payload message.
    """
    printer = Printer(invocation, shows=job_pb2.Payload)
    with Server(invocation) as server:
        found = wait_for_end(server, job_id, Deadline(wait_limit, server.clock))
    raise_unless_completed(found)
    if printer.output.for_people and printer.fields is None:
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
