"""Many jobs in one command: submitting the lines of a file, and acting on several ids."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar

from jobwire.cli.faults import CliError
from jobwire.cli.invocation import Invocation
from jobwire.cli.output import Printer
from jobwire.cli.server import Server
from jobwire.cli.spec import SubmitFlags, request_of_line
from jobwire.v1 import job_service_pb2 as pb

_BATCH_JOBS = 1000
_BATCH_BYTES = 3 * 1024 * 1024
"""Below the 4 MiB of one request, with room for the frame."""

T = TypeVar("T")


class _Line(NamedTuple):
    number: int
    request: pb.SubmitJobRequest


class _Tally:
    """What became of the lines."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self.accepted = 0
        self.refused = 0

    def refuse(self, number: int, reason: str, sentence: str) -> None:
        self.refused += 1
        self._printer.warn(f"line {number} refused [{reason}]: {sentence}")


def submit_lines(invocation: Invocation, file: str, *, job_type: str | None, flags: SubmitFlags) -> None:
    """Submit one job per line, in batches; each line stands alone. Raises CliError PARTIAL when some were refused."""
    if flags.data is not None or flags.key is not None or flags.job_id is not None:
        raise CliError(
            "USAGE", "--data, --key and --job-id belong to one job: with --from-jsonl, put them in the lines"
        )
    printer = Printer(invocation)
    tally = _Tally(printer)
    with _open(file) as stream, Server(invocation) as server, printer.many("results") as many:
        lines = _lines(stream, job_type=job_type, flags=flags, now=invocation.wall_seconds(), tally=tally)
        for batch in _batches(lines):
            answer = server.call(
                "BatchSubmitJobs",
                pb.BatchSubmitJobsRequest(requests=[line.request for line in batch], independent=True),
                pb.BatchSubmitJobsResponse,
            )
            for line, result in zip(batch, answer.results, strict=True):
                if result.HasField("error"):
                    place = f"{result.error.field}: " if result.error.field else ""
                    tally.refuse(line.number, result.error.reason, place + result.error.message)
                else:
                    tally.accepted += 1
                    many.add(result, identifier=result.job_id, text=lambda job_id=result.job_id: job_id)  # type: ignore[misc]
    printer.talk(f"{tally.accepted} submitted, {tally.refused} refused")
    if tally.refused:
        raise CliError(
            "PARTIAL",
            f"{tally.refused} of {tally.refused + tally.accepted} lines were refused",
            details={"submitted": tally.accepted, "refused": tally.refused},
        )


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


def _lines(
    stream: Iterable[str], *, job_type: str | None, flags: SubmitFlags, now: float, tally: _Tally
) -> Iterator[_Line]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            yield _Line(number, request_of_line(line, job_type=job_type, flags=flags, now_seconds=now))
        except CliError as error:
            tally.refuse(number, error.code, error.message)
        except ValueError as error:
            tally.refuse(number, "INPUT_UNREADABLE", str(error))


def _batches(lines: Iterable[_Line]) -> Iterator[list[_Line]]:
    """Cut into batches that fit one request in number and bytes."""
    batch: list[_Line] = []
    size = 0
    for line in lines:
        length = line.request.ByteSize() + 8
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

    One id: its own error. Several: each refusal on stderr, then PARTIAL, or the first refusal when nothing succeeded.
    """
    faults: list[CliError] = []
    for job_id in job_ids:
        try:
            show(act(job_id))
        except CliError as fault:
            faults.append(fault)
            if len(job_ids) > 1:
                Printer(invocation).warn(f"{job_id} refused [{fault.code}]: {fault.message}")
    if not faults:
        return
    if len(faults) == len(job_ids):
        raise faults[0]
    raise CliError(
        "PARTIAL",
        f"{len(faults)} of {len(job_ids)} jobs were refused",
        details={"refused": len(faults), "done": len(job_ids) - len(faults)},
    )
