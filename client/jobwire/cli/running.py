"""`jobwire run`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from jobwire.cli.faults import CliError
from jobwire.cli.flags import command
from jobwire.cli.following import Deadline, Follower
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.last import remember
from jobwire.cli.outcome import print_result, raise_unless_completed
from jobwire.cli.output import Printer, compact, document_of
from jobwire.cli.params import DURATION
from jobwire.cli.progress import Reporter, reporter_for
from jobwire.cli.server import Server
from jobwire.cli.spec import request_of
from jobwire.cli.submitting import flags_of, note_about_type, spec_options
from jobwire.cli.words import TERMINAL
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb


@command(
    "run",
    short_help="Submit a job, follow it, print its result.",
    epilog="Example: jobwire run hello -d '\"Ada\"'",
)
@click.argument("job_type", metavar="TYPE")
@spec_options
@click.option(
    "--timeout",
    "wait_limit",
    type=DURATION,
    help="Longest wait for the end (exit 5; the job goes on). Before the command: deadline of each call.",
)
@click.option("--exit-status/--no-exit-status", default=True, help="Exit by the job's outcome. Default: yes.")
def run(invocation: Invocation, job_type: str, wait_limit: timedelta | None, exit_status: bool, **given: Any) -> None:
    """Submit a job, follow it, print its result on stdout, and exit by its outcome.

    Exit code 0: COMPLETED, 3: FAILED, 4: CANCELLED or EXPIRED, 5: --timeout is over. Ctrl+C leaves the job running.
    stdout gets the result and nothing else; -o json the whole job, -o jsonl each event, -o id the id.
    """
    printer = Printer(invocation, shows=job_pb2.Job)
    request = request_of(job_type, flags_of(given), now_seconds=invocation.wall_seconds())
    with Server(invocation) as server, reporter_for(invocation) as reporter:
        deadline = Deadline(wait_limit, server.clock)
        info = server.info()
        submitted = _submit_for_run(server, request)
        remember(invocation, submitted.job_id)
        reporter.submitted(submitted)
        if (note := note_about_type(info, job_type)) is not None:
            reporter.say(note)
        try:
            job = _follow_to_end(server, submitted, info.current.epoch, deadline, reporter, printer)
        except KeyboardInterrupt:
            raise left_running(submitted.job_id) from None
        reporter.ended(job)
    _print_run(printer, job)
    if exit_status:
        raise_unless_completed(job)


def _submit_for_run(server: Server, request: pb.SubmitJobRequest) -> job_pb2.Job:
    try:
        return server.call("SubmitJob", request, pb.SubmitJobResponse).job
    except KeyboardInterrupt:
        raise CliError(
            "INTERRUPTED",
            "interrupted before the server answered: the job may exist or not",
            hints=[f"settle it by asking again with the same key:   --key {request.request_id}"],
        ) from None


def left_running(job_id: str) -> CliError:
    """Say after Ctrl+C that the job goes on, and where to look."""
    return CliError(
        "INTERRUPTED",
        f"interrupted; the job goes on: {job_id}",
        hints=[
            f"look:      jobwire job get {job_id}",
            f"follow:    jobwire watch {job_id}",
            f"stop it:   jobwire job cancel {job_id}",
        ],
        details={"job_id": job_id},
    )


def _follow_to_end(
    server: Server, submitted: job_pb2.Job, epoch: str, deadline: Deadline, reporter: Reporter, printer: Printer
) -> job_pb2.Job:
    """Follow a job from its submit to its end, without a gap in between; return it with its result."""
    request = pb.WatchJobsRequest(
        job_ids=[submitted.job_id], until_all_terminal=True, include_progress=True,
        after=pb.WatchCursor(epoch=epoch, revision=submitted.status.revision),
    )  # fmt: skip
    follower = Follower(server, request, deadline=deadline, on_cut=reporter.say)
    follower.saw(submitted.job_id, submitted.status.revision)
    if submitted.status.state not in TERMINAL:
        for event in follower.events():
            reporter.changed(event)
            if printer.output is Output.JSONL:
                printer.line(compact(document_of(event)))
            if event.event_type == pb.JOB_EVENT_TYPE_DELETED:
                raise CliError("JOB_DELETED", f"job {submitted.job_id} was deleted while it was watched")
            if event.status.state in TERMINAL:
                break
    return server.job(submitted.job_id)


def _print_run(printer: Printer, job: job_pb2.Job) -> None:
    if printer.output.for_people and printer.fields is None:
        print_result(printer, job)
    else:
        printer.one(job, identifier=job.job_id, text=lambda: None)
