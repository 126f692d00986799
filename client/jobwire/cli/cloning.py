"""`jobwire job clone`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from jobwire.cli.faults import CliError
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation
from jobwire.cli.last import JOB_ID, remember
from jobwire.cli.outcome import payload_bytes
from jobwire.cli.output import Printer
from jobwire.cli.server import Server
from jobwire.cli.spec import JSON_TYPE, SubmitFlags, request_of
from jobwire.cli.submitting import flags_of, spec_options
from jobwire.cli.words import state_word
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb


@command("clone", epilog="Example: jobwire job clone @last --edit")
@click.argument("origin_id", metavar="ID", type=JOB_ID)
@click.option("--edit", is_flag=True, help="Open the payload in $VISUAL or $EDITOR first; JSON payloads only.")
@spec_options
def clone(invocation: Invocation, origin_id: str, edit: bool, **given: Any) -> None:
    """Submit a job again as a new one, with changes: the same type and all that it was submitted with.

    Flags replace what they name; labels and headers are added to those of the origin. The new job is due at once,
    unless --delay or --at say otherwise, and never expires unless --expires does. Prints the new id, as `submit` does.
    """
    flags = flags_of(given)
    if edit and flags.data is not None:
        raise CliError("USAGE", "--edit and --data exclude each other: both give the payload")
    if edit and not sys.stdin.isatty():
        raise CliError("USAGE", "--edit needs a terminal, and stdin is none",
                       hints=["give the payload:   -d JSON, -d @FILE, or -d -"])  # fmt: skip
    printer = Printer(invocation, shows=job_pb2.Job)
    with Server(invocation) as server:
        origin = server.job(origin_id)
        payload = _edited(origin) if edit else None
        request = request_of_clone(origin, flags, payload, now_seconds=invocation.wall_seconds())
        job = server.call("SubmitJob", request, pb.SubmitJobResponse).job
    remember(invocation, job.job_id)
    printer.talk(f"submitted {job.spec.type} to queue {job.spec.queue} as {origin_id} was: "
                 f"{state_word(job.status.state)}")  # fmt: skip
    printer.one(job, identifier=job.job_id, text=lambda: job.job_id)


def request_of_clone(
    origin: job_pb2.Job, flags: SubmitFlags, payload: job_pb2.Payload | None, *, now_seconds: float
) -> pb.SubmitJobRequest:
    """The origin's spec with what the flags say on top; `payload`, when given, replaces the origin's."""
    changes = request_of(origin.spec.type, flags, now_seconds=now_seconds)
    request = pb.SubmitJobRequest(job_id=changes.job_id, request_id=changes.request_id)
    request.spec.CopyFrom(origin.spec)
    request.spec.ClearField("schedule_time")  # of the past, as is the next
    request.spec.ClearField("expire_time")
    if changes.spec.HasField("payload"):
        request.spec.ClearField("payload")  # merged, a text and a content type of two payloads would be one
    request.spec.MergeFrom(changes.spec)
    if payload is not None:
        request.spec.payload.CopyFrom(payload)
    return request


def _edited(origin: job_pb2.Job) -> job_pb2.Payload:
    """Let a person change the payload. Raises CliError when it is no JSON, before or after."""
    payload = origin.spec.payload
    data = payload_bytes(payload)
    if data and (payload.content_encoding or not payload.content_type.startswith(JSON_TYPE)):
        raise CliError("USAGE", f"the payload is {payload.content_type or 'of no known type'}, and no text to edit",
                       hints=["give another:   -d @FILE --content-type TYPE"])  # fmt: skip
    before = json.dumps(json.loads(data), ensure_ascii=False, indent=2) + "\n" if data else "null\n"
    after = click.edit(before, extension=".json", require_save=True)
    if after is None:
        raise CliError("NOT_CONFIRMED", "nothing was submitted: the editor saved nothing")
    try:
        document = json.loads(after)
    except ValueError as error:
        raise CliError("INPUT_UNREADABLE", f"what was edited is not JSON ({error})",
                       hints=["nothing was submitted; try again, or give it by:   -d @FILE"]) from error  # fmt: skip
    return job_pb2.Payload(content_type=JSON_TYPE, text=json.dumps(document, ensure_ascii=False))
