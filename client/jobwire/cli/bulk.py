"""Many jobs in one command: submitting the lines of a file, and acting on several ids."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeVar

from jobwire.cli.faults import CliError, as_clause
from jobwire.cli.invocation import Invocation
from jobwire.cli.output import Many, Printer
from jobwire.cli.server import Server
from jobwire.cli.spec import SubmitFlags, request_of_line
from jobwire.errors import DeadlineExceeded, JobwireError, Unavailable
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

_BATCH_JOBS = 1000
_BATCH_BYTES = 3 * 1024 * 1024
"""Below the 4 MiB of one request, with room for the frame."""

T = TypeVar("T")


class _Refused(NamedTuple):
    reason: str
    message: str
    field: str = ""


class _Line(NamedTuple):
    number: int
    request: pb.SubmitJobRequest | _Refused


class _Tally:
    """What became of the lines, told in their order."""

    def __init__(self, printer: Printer, many: Many) -> None:
        self._printer = printer
        self._many = many
        self.accepted = 0
        self.refused = 0

    def accept(self, result: pb.SubmitResult) -> None:
        self.accepted += 1
        self._many.add(result, identifier=result.job_id, text=lambda: result.job_id)

    def refuse(self, number: int, refusal: _Refused) -> None:
        """Name the line on stderr; where a program reads, the refusal is one of the results."""
        self.refused += 1
        reason, message, field = refusal
        if self._printer.output.for_machines:
            error = pb.SubmitError(reason=reason, message=f"line {number}: {message}", field=field)
            self._many.add(pb.SubmitResult(error=error), identifier="")
        else:
            self._printer.warn(f"line {number} refused [{reason}]: {f'{field}: ' if field else ''}{message}")


def submit_lines(invocation: Invocation, file: str, *, job_type: str | None, flags: SubmitFlags) -> None:
    """Submit one job per line, in batches; each line stands alone. Raises CliError PARTIAL when some were refused."""
    if flags.data is not None or flags.key is not None or flags.job_id is not None:
        raise CliError(
            "USAGE", "--data, --key and --job-id belong to one job: with --from-jsonl, put them in the lines"
        )
    printer = Printer(invocation, shows=pb.SubmitResult)
    with _open(file) as stream, Server(invocation) as server, printer.many("results") as many:
        tally = _Tally(printer, many)
        lines = _lines(stream, job_type=job_type, flags=flags, now=invocation.wall_seconds())
        for batch in _batches(lines):
            _submit_batch(server, batch, tally)
    printer.talk(f"{tally.accepted} submitted, {tally.refused} refused")
    if tally.refused:
        raise CliError(
            "PARTIAL",
            f"{tally.refused} of {tally.refused + tally.accepted} lines were refused",
            details={"submitted": tally.accepted, "refused": tally.refused},
        )


def _submit_batch(server: Server, batch: Sequence[_Line], tally: _Tally) -> None:
    requests = [line.request for line in batch if not isinstance(line.request, _Refused)]
    results: Iterator[pb.SubmitResult] = iter(())
    if requests:
        request = pb.BatchSubmitJobsRequest(requests=requests, independent=True)
        results = iter(server.call("BatchSubmitJobs", request, pb.BatchSubmitJobsResponse).results)
    for line in batch:
        if isinstance(line.request, _Refused):
            tally.refuse(line.number, line.request)
            continue
        result = next(results)
        if result.HasField("error"):
            error = result.error
            tally.refuse(line.number, _Refused(error.reason, as_clause(error.message), error.field))
        else:
            tally.accept(result)


@contextmanager
def _open(file: str) -> Iterator[TextIO]:
    if file == "-":
        yield sys.stdin
        return
    try:
        stream = Path(file).open(encoding="utf-8")  # noqa: SIM115 - closed below; only opening may fail this way
    except OSError as error:
        raise CliError("INPUT_UNREADABLE", f"cannot read {file} ({error.strerror})") from error
    with stream:
        yield stream


def _lines(stream: Iterable[str], *, job_type: str | None, flags: SubmitFlags, now: float) -> Iterator[_Line]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            yield _Line(number, request_of_line(line, job_type=job_type, flags=flags, now_seconds=now))
        except CliError as error:
            yield _Line(number, _Refused(error.code, error.message))
        except ValueError as error:
            yield _Line(number, _Refused("INPUT_UNREADABLE", str(error)))


def _batches(lines: Iterable[_Line]) -> Iterator[list[_Line]]:
    """Cut into batches that fit one request in number and bytes."""
    batch: list[_Line] = []
    size = 0
    for line in lines:
        length = 0 if isinstance(line.request, _Refused) else line.request.ByteSize() + 8
        if batch and (len(batch) == _BATCH_JOBS or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += length
    if batch:
        yield batch


def for_each_id(
    invocation: Invocation, job_ids: Sequence[str], act: Callable[[str], T], show: Callable[[T], None]
) -> None:
    """Act on each id; one that is refused does not stop the others.

    One id: its own error. Several: each refusal on stderr (for programs: in the details), then PARTIAL, or the first
    refusal when nothing succeeded.
    """
    printer = Printer(invocation, shows=job_pb2.Job)
    faults: list[JobwireError] = []
    refused: dict[str, str] = {}
    for job_id in job_ids:
        try:
            show(act(job_id))
        except (Unavailable, DeadlineExceeded):
            raise  # the server is gone: the other ids would fare no better
        except JobwireError as error:
            faults.append(error)
            refused[job_id] = error.code
            if len(job_ids) > 1 and not printer.output.for_machines:
                printer.warn(f"{job_id} refused [{error.code}]: {as_clause(error.message)}")
    if not faults:
        return
    if len(faults) == len(job_ids):
        raise faults[0]
    raise CliError(
        "PARTIAL",
        f"{len(faults)} of {len(job_ids)} jobs were refused",
        details={"refused": refused, "done": len(job_ids) - len(faults)},
    )


class one_or_many:  # noqa: N801 - reads as a with statement
    """Print one job as a document of its own, several as a list."""

    def __init__(self, printer: Printer, job_ids: Sequence[str]) -> None:
        self._printer = printer
        self._single = len(job_ids) == 1
        self._many = printer.many("jobs")

    def __enter__(self) -> Any:
        if self._single:
            return lambda job: self._printer.one(job, identifier=job.job_id, text=lambda: None)
        many = self._many.__enter__()
        return lambda job: many.add(job, identifier=job.job_id)

    def __exit__(self, *error: Any) -> None:
        if not self._single:
            self._many.__exit__(*error)
