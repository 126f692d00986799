"""What a job's end means for a command: its result on stdout, its state in the exit code."""

from __future__ import annotations

from jobwire.cli.faults import CliError
from jobwire.cli.output import Printer
from jobwire.cli.words import error_text, state_word
from jobwire.v1 import job_pb2


def payload_bytes(payload: job_pb2.Payload) -> bytes:
    """The data, whichever arm holds it."""
    return payload.text.encode() if payload.WhichOneof("content") == "text" else payload.data


def print_result(printer: Printer, job: job_pb2.Job) -> None:
    """Write a job's result as it is: JSON and text with a line end, anything else byte for byte; nothing if none."""
    if not job.status.HasField("result"):
        return
    payload = job.status.result
    data = payload_bytes(payload)
    readable = not payload.content_encoding and payload.content_type.startswith(("application/json", "text/"))
    printer.raw(data + b"\n" if readable and not data.endswith(b"\n") else data)


def raise_unless_completed(job: job_pb2.Job) -> None:
    """Raise JOB_FAILED, JOB_CANCELLED or JOB_EXPIRED (exit 3 or 4); return for COMPLETED."""
    if job.status.state != job_pb2.JOB_STATE_COMPLETED:
        raise ended_fault(job.job_id, job.status)


def ended_fault(job_id: str, status: job_pb2.JobStatus) -> CliError:
    """The error for a job that ended, but not COMPLETED."""
    word = state_word(status.state)
    attempts = "1 attempt" if status.attempt == 1 else f"{status.attempt} attempts"
    cause = f": {error_text(status.last_error)}" if status.HasField("last_error") else ""
    past = {"FAILED": f"failed after {attempts}", "CANCELLED": "was cancelled", "EXPIRED": "expired"}.get(word, word)
    return CliError(
        f"JOB_{word}",
        f"job {job_id} {past}{cause}",
        hints=[f"see why:        jobwire job describe {job_id}", f"run it again:   jobwire job retry {job_id}"],
        details={"job_id": job_id, "state": word, "attempts": status.attempt},
    )
