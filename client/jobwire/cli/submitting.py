"""`jobwire run` and `jobwire submit`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from jobwire.cli.faults import CliError
from jobwire.cli.flags import command
from jobwire.cli.following import Deadline, Follower
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.outcome import print_result, raise_unless_completed
from jobwire.cli.output import Printer, compact, document_of
from jobwire.cli.params import BACKOFF, DURATION, MOMENT, PAIR
from jobwire.cli.progress import Reporter, reporter_for
from jobwire.cli.server import Server
from jobwire.cli.spec import JSON_TYPE, SubmitFlags, request_of
from jobwire.cli.words import TERMINAL, state_word
from jobwire.v1 import admin_service_pb2, job_pb2
from jobwire.v1 import job_service_pb2 as pb

_TYPE_CAPABILITY = "type:"


def _spec_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags that describe a job, in the order that help shows them."""
    options = [
        click.option("-d", "--data", metavar="JSON|@FILE|-", help="Payload: JSON, a file, or stdin."),
        click.option("--content-type", default=JSON_TYPE, metavar="TYPE", help="Media type of the payload. "
                     f"Default: {JSON_TYPE}, which is checked; anything else is sent byte for byte."),
        click.option("--queue", metavar="NAME", help="Queue. Default: default."),
        click.option("--key", metavar="KEY", help="Idempotency key: the same key never makes a second job."),
        click.option("--job-id", metavar="ID", help="Id of the job. Default: the server makes one."),
        click.option("--delay", type=DURATION, help="Not before this time has passed (5m, 2h, 7d)."),
        click.option("--at", type=MOMENT, help="Not before this time (2026-11-21T12:31:04Z, now+1h)."),
        click.option("--priority", type=click.IntRange(0, 9), help="9 first, 0 last. Default: 5."),
        click.option("--max-attempts", type=click.IntRange(1), help="Attempts in all. Default: 20."),
        click.option("--backoff", type=BACKOFF, metavar="FIRST[..MAX]", help="Wait before attempt 2, doubled each "
                     "time, and its upper bound. Default: 2s..1h."),
        click.option("--label", "labels", type=PAIR, multiple=True, metavar="KEY=VALUE", help="Label; repeatable."),
        click.option("--header", "headers", type=PAIR, multiple=True, metavar="KEY=VALUE",
                     help="Header for the worker; repeatable."),
        click.option("--attempt-timeout", type=DURATION, help="Longest run of one attempt. Default: no limit."),
        click.option("--expires", type=MOMENT, help="EXPIRED when not finished by then. Default: never."),
        click.option("--retention", type=DURATION, help="Keep the finished job so long. Default: 7d, FAILED 30d."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _flags_of(given: dict[str, Any]) -> SubmitFlags:
    return SubmitFlags(**{**given, "labels": dict(given["labels"]), "headers": dict(given["headers"])})


def note_about_type(info: admin_service_pb2.ServerInfo, job_type: str) -> str | None:
    """Say that no worker of the server knows a type; None when one does, or when the server does not list them."""
    known = sorted(name.removeprefix(_TYPE_CAPABILITY) for name in info.capabilities
                   if name.startswith(_TYPE_CAPABILITY))  # fmt: skip
    if not known or job_type in known:
        return None
    import difflib  # noqa: PLC0415 - only for this note

    near = difflib.get_close_matches(job_type, known, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return (f"note: no worker of this server knows the type {job_type!r}, so the job will wait for one "
            f"(known: {', '.join(known)}){meant}")  # fmt: skip


@command(
    "run",
    short_help="Submit a job, follow it, print its result.",
    epilog="Example: jobwire run hello -d '\"Ada\"'",
)
@click.argument("job_type", metavar="TYPE")
@_spec_options
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
    request = request_of(job_type, _flags_of(given), now_seconds=invocation.wall_seconds())
    deadline = Deadline(wait_limit)
    with Server(invocation) as server, reporter_for(invocation) as reporter:
        info = server.info()
        submitted = _submit_for_run(server, request)
        reporter.submitted(submitted)
        if (note := note_about_type(info, job_type)) is not None:
            reporter.say(note)
        try:
            job = _follow_to_end(server, submitted, info.current.epoch, deadline, reporter, invocation)
        except KeyboardInterrupt:
            raise left_running(submitted.job_id) from None
        reporter.ended(job)
    _print_run(Printer(invocation), job)
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
    server: Server, submitted: job_pb2.Job, epoch: str, deadline: Deadline, reporter: Reporter, invocation: Invocation
) -> job_pb2.Job:
    """Follow a job from its submit to its end, without a gap in between; return it with its result."""
    request = pb.WatchJobsRequest(
        job_ids=[submitted.job_id], until_all_terminal=True, include_progress=True,
        after=pb.WatchCursor(epoch=epoch, revision=submitted.status.revision),
    )  # fmt: skip
    follower = Follower(server, request, deadline=deadline, on_cut=reporter.say)
    follower.saw(submitted.job_id, submitted.status.revision)
    printer = Printer(invocation)
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
    match printer.output:
        case Output.TABLE:
            print_result(printer, job)
        case Output.JSONL:
            printer.line(compact(document_of(job)))
        case _:
            printer.one(job, identifier=job.job_id, text=lambda: None)


@command(
    "submit",
    short_help="Submit a job and print its id.",
    epilog="Example: jobwire submit hello -d '\"Ada\"' --delay 5m",
)
@click.argument("job_type", metavar="[TYPE]", required=False)
@_spec_options
@click.option("--from-jsonl", "file", metavar="FILE",
              help="Submit one job per line of FILE (- = stdin): a JSON object with type, payload, queue, key, ...; "
              "flags are the defaults of all lines.")  # fmt: skip
def submit(invocation: Invocation, job_type: str | None, file: str | None, **given: Any) -> None:
    """Submit a job and print its id on stdout: when the id is there, the job is on the server's disk.

    With --from-jsonl: many jobs, each on its own. A refused line is named on stderr and does not stop the others
    (exit 11). -o json prints the job; with --from-jsonl one answer per line of the file.
    """
    flags = _flags_of(given)
    if file is not None:
        from jobwire.cli.bulk import submit_lines  # noqa: PLC0415 - only for files

        submit_lines(invocation, file, job_type=job_type, flags=flags)
        return
    if job_type is None:
        raise CliError("USAGE", "missing the TYPE of the job", hints=["jobwire submit hello -d '\"Ada\"'"])
    request = request_of(job_type, flags, now_seconds=invocation.wall_seconds())
    printer = Printer(invocation)
    with Server(invocation) as server:
        note = None if invocation.quiet else note_about_type(server.info(), job_type)
        answer = server.call("SubmitJob", request, pb.SubmitJobResponse)
    job = answer.job
    if answer.created:
        printer.talk(f"submitted {job.spec.type} to queue {job.spec.queue}: {state_word(job.status.state)}")
    else:
        printer.talk(f"the key {request.request_id!r} has a job already: {state_word(job.status.state)}")
    if note is not None:
        printer.talk(note)
    printer.one(job, identifier=job.job_id, text=lambda: job.job_id)
