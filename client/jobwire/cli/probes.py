"""The checks of `jobwire check`, with the exit codes of Nagios plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from jobwire.cli.faults import as_clause
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation
from jobwire.cli.output import Printer, compact
from jobwire.cli.params import DURATION, STATES
from jobwire.cli.server import Server
from jobwire.cli.verdicts import Checked, Verdict, judge
from jobwire.errors import ArgumentInvalid, JobwireError
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

_PAGE = 1000
_FORMATS = ("text", "json", "prometheus")


def _probe(name: str, *, threshold: Any, warn: str, crit: str, epilog: str) -> Callable[[Callable[..., Checked]], Any]:
    """Make a check of a function that returns what it found; a server that does not answer is CRITICAL for `ready`."""

    def decorate(function: Callable[..., Checked]) -> Any:
        for option in (
            click.option("--format", "form", type=click.Choice(_FORMATS), help="text is a Nagios line, prometheus "
                         "samples for a textfile collector. Default: text, or json with -o json."),
            click.option("--crit", type=threshold, help=crit),
            click.option("--warn", type=threshold, help=warn),
        ):  # fmt: skip
            function = option(function)

        def run(invocation: Invocation, form: str | None, **given: Any) -> int:
            try:
                found = function(invocation, **given)
            except ArgumentInvalid:
                raise  # a setting is wrong: that says nothing of the server
            except JobwireError as error:
                verdict = Verdict.CRITICAL if name == "ready" else Verdict.UNKNOWN
                found = Checked(check=name, verdict=verdict, text=as_clause(error.message))
            return _told(invocation, found, form)

        run.__doc__ = function.__doc__
        run.__dict__ = function.__dict__  # where click keeps the options
        return command(name, epilog=epilog)(run)

    return decorate


def _told(invocation: Invocation, found: Checked, form: str | None) -> int:
    printer = Printer(invocation)
    if form == "json":
        printer.line(compact(found.as_document()))
    elif form is not None:
        printer.line(found.as_nagios() if form == "text" else found.as_prometheus())
    else:
        printer.document(found.as_document, identifier=found.verdict.name, text=found.as_nagios)
    return int(found.verdict)


@_probe(
    "ready",
    threshold=DURATION,
    warn="WARNING when the answer takes longer.",
    crit="CRITICAL when the answer takes longer.",
    epilog="Example: jobwire --timeout 2s check ready --warn 200ms --crit 1s",
)
def ready(invocation: Invocation, warn: timedelta | None, crit: timedelta | None) -> Checked:
    """Check that the server is ready, and how long its answer takes, connecting included.

    CRITICAL (2), too, when it does not answer, starts, or drains.
    """
    with Server(invocation) as server:
        begin = server.clock.monotonic()
        status = server.health()
        seconds = server.clock.monotonic() - begin
    limits = tuple(None if each is None else each.total_seconds() for each in (warn, crit))
    verdict = judge(seconds, warn=limits[0], crit=limits[1]) if status == "SERVING" else Verdict.CRITICAL
    return Checked(
        check="ready", verdict=verdict, text=f"{status}, answered within {seconds * 1000:.1f} ms", measure="time",
        value=round(seconds, 6), unit="s", warn=limits[0], crit=limits[1],
    )  # fmt: skip


@_probe(
    "workers",
    threshold=click.IntRange(0),
    warn="WARNING with fewer. Default: no such level.",
    crit="CRITICAL with fewer. Default: 1.",
    epilog="Example: jobwire check workers --type email.send --warn 3 --crit 1",
)
@click.option("--type", "job_type", metavar="TYPE", help="Only workers that run this type.")
@click.option("--queue", metavar="NAME", help="Only workers that take jobs of this queue.")
def workers(
    invocation: Invocation, warn: int | None, crit: int | None, job_type: str | None, queue: str | None
) -> Checked:
    """Check that enough workers are connected. UNKNOWN (3) when the server does not answer."""
    crit = 1 if crit is None else crit
    count, token = 0, ""
    with Server(invocation) as server:
        while True:
            page = server.workers_page(token, _PAGE)
            count += sum(
                each.connected
                and (job_type is None or not each.types or job_type in each.types)
                and (queue is None or queue in each.queues or "*" in each.queues)
                for each in page.workers
            )
            token = page.next_page_token
            if not token:
                break
    which = "".join([f" for type {job_type}" if job_type else "", f" for queue {queue}" if queue else ""])
    return Checked(
        check="workers", verdict=judge(count, warn=warn, crit=crit, below=True),
        text=f"{count} connected{which}", measure="workers", value=count, warn=warn, crit=crit, below=True,
    )  # fmt: skip


@_probe(
    "queue",
    threshold=click.IntRange(0),
    warn="WARNING with more. Default: 1000.",
    crit="CRITICAL with more. Default: 10000.",
    epilog="Example: jobwire check queue mail --state failed --warn 0 --crit 100",
)
@click.argument("queue", metavar="[QUEUE]", required=False)
@click.option("--state", "states", type=STATES, multiple=True, metavar="STATE,...",
              help="Count jobs in these states. Default: pending.")  # fmt: skip
@click.option("--type", "job_type", metavar="TYPE", help="Count only jobs of this type.")
def queue_(
    invocation: Invocation,
    warn: int | None,
    crit: int | None,
    queue: str | None,
    states: tuple[tuple[int, ...], ...],
    job_type: str | None,
) -> Checked:
    """Check how many jobs wait in a queue, or in all together. UNKNOWN (3) when the server does not answer.

    Jobs are counted a thousand a call, and not further than the higher threshold: beyond it the value is that
    threshold + 1.
    """
    warn, crit = (1000 if warn is None else warn), (10_000 if crit is None else crit)
    wanted = [state for group in states for state in group] or [job_pb2.JOB_STATE_PENDING]
    condition = job_pb2.JobFilter(queues=[queue] if queue else [], types=[job_type] if job_type else [])
    condition.states.extend(wanted)  # type: ignore[arg-type]  # plain numbers, which the generated types do not take
    with Server(invocation) as server:
        count = _count(server, condition, bound=max(warn, crit) + 1)
    words = ", ".join(job_pb2.JobState.Name(state).removeprefix("JOB_STATE_").lower() for state in wanted)
    more = "at least " if count > max(warn, crit) else ""
    return Checked(
        check=f"queue {queue}" if queue else "queue", verdict=judge(count, warn=warn, crit=crit),
        text=f"{more}{count} {words}{f' of type {job_type}' if job_type else ''}", measure="jobs", value=count,
        warn=warn, crit=crit,
    )  # fmt: skip


def _count(server: Server, condition: job_pb2.JobFilter, *, bound: int) -> int:
    count, token = 0, ""
    while count < bound:
        request = pb.ListJobsRequest(
            filter=condition, page_size=min(_PAGE, bound - count), page_token=token, view=job_pb2.JOB_VIEW_BASIC
        )
        page = server.call("ListJobs", request, pb.ListJobsResponse)
        count += len(page.jobs)
        token = page.next_page_token
        if not token:
            break
    return count
