"""`jobwire job cancel`, `retry` and `delete`: of jobs given by id, or of all that a filter chooses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from jobwire._calls import Repeat
from jobwire.cli.bulk import for_each_id, one_or_many
from jobwire.cli.faults import CliError
from jobwire.cli.filters import filter_option
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation
from jobwire.cli.last import JOB_ID
from jobwire.cli.output import Printer
from jobwire.cli.params import DURATION
from jobwire.cli.server import Server
from jobwire.cli.spec import timestamp_of
from jobwire.cli.sweep import Sweep, Verb
from jobwire.cli.words import TERMINAL, badge
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

_OPEN = frozenset(job_pb2.JobState.values()) - TERMINAL - {job_pb2.JOB_STATE_UNSPECIFIED}

_CANCEL = Verb(name="cancel", past="cancelled", states=_OPEN, key="jobs")
_RETRY = Verb(name="retry", past="retried", states=TERMINAL - {job_pb2.JOB_STATE_COMPLETED}, key="jobs")
_DELETE = Verb(name="delete", past="deleted", states=TERMINAL, key="deleted")


def _bulk_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags of a command that changes jobs by id or by filter."""
    options: list[Callable[..., Any]] = [
        click.argument("job_ids", metavar="[ID]...", nargs=-1, type=JOB_ID),
        filter_option,
        click.option("--limit", type=click.IntRange(1, 1_000_000), default=10_000,
                     help="With --filter: change the newest N jobs at most. Default: 10000."),
        click.option("--dry-run", is_flag=True, help="With --filter: count the jobs, show five, change nothing."),
        click.option("-y", "--yes", is_flag=True, help="With --filter: do not ask."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@command("cancel", epilog="Example: jobwire job cancel --filter 'queue:mail age>1d' --reason 'out of date' --dry-run")
@_bulk_options
@click.option("--reason", default="", help="Kept with the job.")
@click.option("--force", is_flag=True, help="Do not wait for the worker: fence its lease and cancel now.")
def cancel(invocation: Invocation, job_ids: tuple[str, ...], reason: str, force: bool, **given: Any) -> None:
    """Cancel jobs: those given by id, or all that --filter chooses and that have not ended.

    One that waits is cancelled at once; a running one is asked to stop, then cancelled. With a filter the jobs are
    counted and named first, and the command asks before it changes them; without a terminal it needs --yes. Exit code
    11: some did not change.
    """
    printer = Printer(invocation, shows=job_pb2.Job)
    with Server(invocation) as server:

        def act(job_id: str) -> job_pb2.Job:
            request = pb.CancelJobRequest(job_id=job_id, reason=reason, force=force)
            return server.call("CancelJob", request, pb.CancelJobResponse).job

        if _is_by_filter(job_ids, given):
            Sweep(invocation, printer, server, _CANCEL).run(act, **given)
        else:
            _change_each(invocation, printer, job_ids, act)


@command("retry", epilog="Example: jobwire job retry --filter 'state:failed queue:mail age<1d' --yes")
@_bulk_options
@click.option("--attempts", type=click.IntRange(0), default=0, help="Attempts granted. Default: as the policy says.")
@click.option("--delay", type=DURATION, help="Not before this time has passed.")
def retry(
    invocation: Invocation, job_ids: tuple[str, ...], attempts: int, delay: timedelta | None, **given: Any
) -> None:
    """Put FAILED, CANCELLED or EXPIRED jobs back to work: those given by id, or all that --filter chooses.

    With a filter the jobs are counted and named first, and the command asks before it changes them; without a terminal
    it needs --yes. A filter without `state:` chooses among all three; write state:failed for those alone. Exit code 11:
    some did not change.
    """
    printer = Printer(invocation, shows=job_pb2.Job)
    with Server(invocation) as server:

        def act(job_id: str) -> job_pb2.Job:
            request = pb.RetryJobRequest(job_id=job_id, additional_attempts=attempts)
            if delay is not None:
                request.schedule_time.CopyFrom(timestamp_of(delay, invocation.wall_seconds()))
            return server.call("RetryJob", request, pb.RetryJobResponse, repeat=Repeat.IF_UNSENT).job

        if _is_by_filter(job_ids, given):
            Sweep(invocation, printer, server, _RETRY).run(act, **given)
        else:
            _change_each(invocation, printer, job_ids, act)


@command("delete", epilog="Example: jobwire job delete --filter 'state:cancelled age>7d' --dry-run")
@_bulk_options
@click.option("--missing-ok", is_flag=True, help="An id without a job is no error.")
def delete(invocation: Invocation, job_ids: tuple[str, ...], missing_ok: bool, **given: Any) -> None:
    """Remove finished jobs with their payloads and results, for good. Their ids are not given out again.

    Those given by id, or all that --filter chooses and that have ended. With a filter the jobs are counted and named
    first, and the command asks before it removes them; without a terminal it needs --yes. Exit code 11: some are still
    there.
    """
    printer = Printer(invocation)
    with Server(invocation) as server:

        def act(job_id: str) -> str:
            request = pb.DeleteJobRequest(job_id=job_id, allow_missing=missing_ok)
            repeat = Repeat.SAFE if missing_ok else Repeat.IF_UNSENT
            server.call("DeleteJob", request, pb.DeleteJobResponse, repeat=repeat)
            return job_id

        if _is_by_filter(job_ids, given):
            Sweep(invocation, printer, server, _DELETE).run(act, **given)
            return
        with printer.many("deleted") as many:
            for_each_id(invocation, job_ids, act, lambda job_id: many.add_id(job_id, text=f"deleted  {job_id}"))


def _is_by_filter(job_ids: tuple[str, ...], given: dict[str, Any]) -> bool:
    """Tell which way the jobs are given. Raises CliError for neither and for both."""
    text = given["filter_text"]
    if job_ids and text is not None:
        raise CliError("USAGE", "give ids or --filter, not both")
    if not job_ids and text is None:
        raise CliError("USAGE", "say which jobs: by their ids, or by --filter",
                       hints=["look first:   jobwire job list --filter 'state:failed queue:mail'"])  # fmt: skip
    if job_ids and given["dry_run"]:
        raise CliError("USAGE", "--dry-run belongs to --filter", hints=["look at a job:   jobwire job get ID"])
    return not job_ids


def _change_each(
    invocation: Invocation, printer: Printer, job_ids: tuple[str, ...], act: Callable[[str], job_pb2.Job]
) -> None:
    with one_or_many(printer, job_ids) as show:

        def take(job: job_pb2.Job) -> None:
            show(job)
            if printer.fields is None:
                printer.rows([f"{badge(job.status.state)}  {job.job_id}{_asked_to_stop(job)}"])

        for_each_id(invocation, job_ids, act, take)


def _asked_to_stop(job: job_pb2.Job) -> str:
    asked = job.status.HasField("cancel_request_time") and job.status.state == job_pb2.JOB_STATE_PROCESSING
    return "  asked to stop" if asked else ""
