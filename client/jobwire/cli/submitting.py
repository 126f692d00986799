"""`jobwire submit`, and what it shares with `jobwire run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from jobwire.cli.faults import CliError
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation
from jobwire.cli.last import remember
from jobwire.cli.output import Printer
from jobwire.cli.params import BACKOFF, DURATION, MOMENT, PAIR
from jobwire.cli.server import Server
from jobwire.cli.spec import JSON_TYPE, SubmitFlags, request_of
from jobwire.cli.words import state_word
from jobwire.v1 import admin_service_pb2, job_pb2
from jobwire.v1 import job_service_pb2 as pb

_TYPE_CAPABILITY = "type:"


def spec_options(function: Callable[..., Any]) -> Callable[..., Any]:
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


def flags_of(given: dict[str, Any]) -> SubmitFlags:
    """Gather what click parsed for `spec_options`."""
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
    "submit",
    short_help="Submit a job and print its id.",
    epilog="Example: jobwire submit hello -d '\"Ada\"' --delay 5m",
)
@click.argument("job_type", metavar="[TYPE]", required=False)
@spec_options
@click.option("--from-jsonl", "file", metavar="FILE",
              help="Submit one job per line of FILE (- = stdin): a JSON object with type, payload, queue, key, ...; "
              "flags are the defaults of all lines.")  # fmt: skip
def submit(invocation: Invocation, job_type: str | None, file: str | None, **given: Any) -> None:
    """Submit a job and print its id on stdout: when the id is there, the job is on the server's disk.

    With --from-jsonl: many jobs, each on its own. A refused line is named on stderr and does not stop the others
    (exit 11). -o json prints the job; with --from-jsonl one answer per line of the file.
    """
    flags = flags_of(given)
    if file is not None:
        from jobwire.cli.bulk import submit_lines  # noqa: PLC0415 - only for files

        submit_lines(invocation, file, job_type=job_type, flags=flags)
        return
    if job_type is None:
        raise CliError("USAGE", "missing the TYPE of the job", hints=["jobwire submit hello -d '\"Ada\"'"])
    printer = Printer(invocation, shows=job_pb2.Job)
    request = request_of(job_type, flags, now_seconds=invocation.wall_seconds())
    with Server(invocation) as server:
        note = None if invocation.quiet else note_about_type(server.info(), job_type)
        answer = server.call("SubmitJob", request, pb.SubmitJobResponse)
    job = answer.job
    remember(invocation, job.job_id)
    if answer.created:
        printer.talk(f"submitted {job.spec.type} to queue {job.spec.queue}: {state_word(job.status.state)}")
    else:
        printer.talk(f"the key {request.request_id!r} has a job already: {state_word(job.status.state)}")
    if note is not None:
        printer.talk(note)
    printer.one(job, identifier=job.job_id, text=lambda: job.job_id)
