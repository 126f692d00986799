"""`jobwire work`: a worker for an app of Python handlers, or for any program."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from jobwire.cli.faults import CliError, as_clause
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation
from jobwire.cli.params import DURATION, QUEUE, SIZE

if TYPE_CHECKING:
    from jobwire.cli.sheet import Sheet
    from jobwire.settings import Settings
    from jobwire.worker.handler import Handler
    from jobwire.worker.process import WorkerSettings

_MOST_PULLED = 100
_PULL_SECONDS = 20
DEFAULT_GRACE = timedelta(seconds=30)


@command(
    "work",
    short_help="Run jobs here: with the handlers of an app, or with any program.",
    epilog="Example: jobwire work resize -- convert - -resize 200x200 png:-",
)
@click.argument("target", metavar="MODULE:APP|TYPE")
@click.argument("program", metavar="[-- PROGRAM ARG...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--slots", type=click.IntRange(1, 10_000), help="Most jobs that run at once. Default: 16, a program 1.")
@click.option("--queue", "queues", type=QUEUE, multiple=True, metavar="NAME[:WEIGHT]",
              help="Take jobs of this queue only; repeatable, with a weight for its share. * is every queue that is "
              "not named beside it. Default: *.")  # fmt: skip
@click.option("--grace", type=DURATION, default=DEFAULT_GRACE,
              help="Time that running jobs have to finish after the first signal. Default: 30s.")  # fmt: skip
@click.option("--max-jobs", type=click.IntRange(1), help="Stop after so many. Default: never.")
@click.option("--prefetch", type=click.IntRange(0, 10_000),
              help="Jobs that may wait here beyond the slots, leased. Default: as many as end "
              "within 0.1 s.")  # fmt: skip
@click.option("--lease", type=DURATION, help="Wished lease. Default: the server's.")
@click.option("--worker-id", metavar="NAME", help="Name, unique among live workers. Default: made of the host's name.")
@click.option("--max-jobs-per-child", type=click.IntRange(1), metavar="N",
              help="Replace a child process (runner='process') after so many jobs. Default: never.")  # fmt: skip
@click.option("--memory-per-child", type=SIZE,
              help="Kill a child process whose resident memory reaches this (512M). Default: no bound.")  # fmt: skip
@click.option("--no-wait", is_flag=True, help="Do not wait for a server that is not there: exit 9.")
def work(invocation: Invocation, target: str, program: tuple[str, ...], no_wait: bool, **given: Any) -> None:
    """Run jobs: with the handlers of an app (MODULE:APP), or each job of TYPE with a program.

    A program gets the payload on stdin and prints the result; exit code 0 is success, 75 try again, 65 fail for good,
    any other as the retry policy says. docs/how-to/workers.md tells the rest.

    The first Ctrl+C or SIGTERM drains: nothing new is begun, what runs may finish within the grace, the rest is given
    back without using up an attempt; the second ends the grace. The exit code is 0 then. Each job that ends is a line
    on stderr; -o jsonl and -o json print objects on stdout, -o id the ids of the jobs.
    """
    from jobwire.cli.server import Server, settings_of  # noqa: PLC0415 - help pages need neither gRPC nor a worker
    from jobwire.cli.voice import Voice  # noqa: PLC0415
    from jobwire.errors import ArgumentInvalid  # noqa: PLC0415
    from jobwire.worker.process import check_handlers, log_to_stderr, run_worker  # noqa: PLC0415
    from jobwire.worker.telling import facts_of  # noqa: PLC0415

    handlers = _program(target, program) if program else _app(target)
    settings = _settings(given, default_slots=1 if program else 16)
    connection = settings_of(invocation)
    if invocation.sheet is not None:
        _show_pull(invocation.sheet, connection, handlers, settings)
    try:
        check_handlers(handlers)
    except ArgumentInvalid as error:
        raise CliError("APP_UNUSABLE", f"cannot use {target}", why=[error.message]) from error
    log_to_stderr(logging.ERROR if invocation.quiet else logging.INFO)
    if no_wait:
        with Server(invocation) as server:
            server.info()
    facts = facts_of(handlers, settings, connection.address)
    if program:
        facts += ["payload → stdin", "result ← stdout"]
    with Voice(invocation, facts) as voice:
        run_worker(handlers, connection, settings, app_path=None if program else target, ears=voice.ears())


def _show_pull(
    sheet: Sheet, connection: Settings, handlers: Mapping[str, Handler[..., Any]], settings: WorkerSettings
) -> None:
    """Write down how the same jobs are taken without a stream. Raises Enough."""
    from jobwire.v1 import worker_service_pb2 as pb  # noqa: PLC0415 - only for --show-grpcurl
    from jobwire.worker.process import new_worker_id  # noqa: PLC0415

    request = pb.PullJobsRequest(
        worker_id=settings.worker_id or new_worker_id(),
        queues=[pb.QueueSubscription(queue=each.queue, weight=each.weight) for each in settings.queues],
        types=sorted(handlers),
        max_jobs=min(settings.slots, _MOST_PULLED),
    )
    request.wait_timeout.FromSeconds(_PULL_SECONDS)
    if settings.lease_seconds is not None:
        request.lease_duration.FromTimedelta(timedelta(seconds=settings.lease_seconds))
    sheet.write(connection, "/jobwire.v1.WorkerService/PullJobs", request)
    sheet.stop("jobwire.v1.WorkerService/CompleteJob or FailJob, and Heartbeat meanwhile, with the lease_token of each "
               "assignment (a worker of jobwire does all of this over one stream, Work)")  # fmt: skip


def _settings(given: Mapping[str, Any], *, default_slots: int) -> WorkerSettings:
    from jobwire.worker.process import WorkerSettings  # noqa: PLC0415 - see above
    from jobwire.worker.transport import ANY_QUEUE, Subscription  # noqa: PLC0415

    lease: timedelta | None = given["lease"]
    return WorkerSettings(
        slots=given["slots"] or default_slots,
        queues=tuple(Subscription(name, weight) for name, weight in given["queues"]) or (Subscription(ANY_QUEUE),),
        worker_id=given["worker_id"] or "",
        lease_seconds=None if lease is None else lease.total_seconds(),
        prefetch=given["prefetch"],
        grace_seconds=given["grace"].total_seconds(),
        max_jobs=given["max_jobs"],
        max_jobs_per_child=given["max_jobs_per_child"],
        memory_bytes_per_child=given["memory_per_child"],
    )


def _app(path: str) -> Mapping[str, Handler[..., Any]]:
    """Import the app, as `python -m` would from here. It runs the module's code: the path is the operator's own."""
    from jobwire.app import load_app  # noqa: PLC0415 - help pages need none of it

    if ":" not in path:
        raise CliError(
            "USAGE",
            f"{path!r} is no MODULE:APP, and no program is given for it as a type",
            hints=["for handlers:    jobwire work jobs:app", f"for a program:   jobwire work {path} -- PROGRAM ARG..."],
        )
    module = path.partition(":")[0]
    if (folder := os.getcwd()) not in sys.path:  # noqa: PTH109 - sys.path holds text
        sys.path.insert(0, folder)
    try:
        return load_app(path).handlers
    except ValueError as error:
        raise CliError("APP_UNUSABLE", f"cannot use {path}", why=[str(error)]) from error
    except Exception as error:
        raise CliError(
            "APP_UNUSABLE",
            f"importing {module} raised {type(error).__name__}",
            why=[str(error)] if str(error) else [],
            hints=[f"see where:   python {module}" if module.endswith(".py") else f"see where:   python -m {module}"],
        ) from error


def _program(job_type: str, argv: Sequence[str]) -> Mapping[str, Handler[..., Any]]:
    from jobwire.worker.programs.handler import Program  # noqa: PLC0415 - see above

    if shutil.which(argv[0]) is None:
        raise CliError(
            "PROGRAM_NOT_FOUND",
            f"there is no program {argv[0]!r}",
            why=["It is looked for on PATH, and must be executable. No shell takes part."],
            hints=[f"for a line of shell:   jobwire work {job_type} -- sh -c '...'"],
        )
    try:
        return {job_type: Program(argv, type=job_type)}
    except ValueError as error:
        raise CliError("USAGE", as_clause(str(error))) from error
