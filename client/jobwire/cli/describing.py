"""`jobwire job describe`."""

from __future__ import annotations

import click

from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation
from jobwire.cli.last import JOB_ID
from jobwire.cli.output import Printer
from jobwire.cli.server import Server
from jobwire.cli.timeline import whole_story
from jobwire.cli.times import moments
from jobwire.v1 import job_pb2


@command("describe", epilog="Example: jobwire job describe @last --payload")
@click.argument("job_id", metavar="ID", type=JOB_ID)
@click.option("--payload", "with_payload", is_flag=True, help="Show payload and result, not their sizes alone.")
def describe(invocation: Invocation, job_id: str, with_payload: bool) -> None:
    """Tell the whole story of a job: facts, attempts with run times and waits, the last error, what to type next.

    The server keeps the newest attempts of a job; where earlier ones are missing the story says so. Payload and result
    may hold what is nobody's business, and so are shown by their sizes, unless --payload asks for them. -o json prints
    the job, as `job get` does, contents included.
    """
    printer = Printer(invocation, shows=job_pb2.Job)
    with Server(invocation) as server:
        job = server.job(job_id)
    printer.one(
        job,
        identifier=job.job_id,
        text=lambda: "\n".join(
            whole_story(
                job,
                now=invocation.wall_seconds(),
                moment=moments(invocation),
                with_payload=with_payload,
                coloured=invocation.coloured(invocation.stdout),
            )
        ),
    )
