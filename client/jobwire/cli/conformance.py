"""`jobwire conformance`."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobwire.cli.faults import CliError, ExitCode
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation, Output

if TYPE_CHECKING:
    from jobwire.cli.output import Printer
    from jobwire.conformance.runner import Finding, Plan
    from jobwire.conformance.table import Point

T = TypeVar("T")

_LOOKS = {"passed": ("✓", "green"), "failed": ("✕", "red"), "not applicable": ("–", "white")}


@command("conformance", makes_calls=False, epilog="Example: jobwire conformance --worker './my-worker' --fast")
@click.option("--worker", metavar="COMMAND", help="The worker to judge; split into words, run without a shell.")
@click.option(
    "--submitter", metavar="COMMAND", help="The program that submits and watches; it gets a type and a payload."
)
@click.option("--only", "names", metavar="NAME", multiple=True, help="Judge this point alone; again for more.")
@click.option("--fast", is_flag=True, help="A slice for CI, 60 jobs where the whole run takes 500.")
@click.option("--jobs", type=click.IntRange(min=1, max=1000), metavar="N", help="Jobs of the points about many jobs.")
@click.option(
    "--parallel", type=click.IntRange(min=1, max=64), metavar="N", default=4, help="Most points at once. Default: 4."
)
@click.option("--list", "is_listing", is_flag=True, help="List the points and run nothing.")
def conformance(
    invocation: Invocation,
    *,
    worker: str | None,
    submitter: str | None,
    names: tuple[str, ...],
    fast: bool,
    jobs: int | None,
    parallel: int,
    is_listing: bool,
) -> None:
    """Judge, point by point, whether a worker or a submitter in any language keeps the protocol.

    A private server is started, and a proxy before it that loses, repeats, holds back and cuts what passes. A worker
    finds the proxy in JOBWIRE_ADDRESS, and has to take jobs of the type `conformance` from JOBWIRE_QUEUE, as
    JOBWIRE_WORKER_ID, at most JOBWIRE_SLOTS at once, until SIGTERM. A submitter gets a type and a payload as two more
    arguments. What they have to do with each payload: docs/reference/conformance.md.

    Exit code 0: every point passed, or does not apply. 3: some failed.
    """
    from jobwire.cli.output import Printer  # noqa: PLC0415 - help pages need no protobuf

    printer = Printer(invocation)
    if is_listing:
        _print_list(printer, names)
        return
    plan = _plan(worker, submitter, names, fast=fast, jobs=jobs, parallel=parallel)
    _judge(invocation, printer, plan)


def _plan(
    worker: str | None, submitter: str | None, names: Sequence[str], *, fast: bool, jobs: int | None, parallel: int
) -> Plan:
    # Connections are cut on purpose, which is not worth a line. gRPC reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from jobwire.conformance.runner import Plan, chosen  # noqa: PLC0415 - it brings gRPC
    from jobwire.conformance.stage import Commands  # noqa: PLC0415

    if worker is None and submitter is None:
        raise click.UsageError("Name a program to judge: --worker COMMAND or --submitter COMMAND.")
    _check_names(names)
    commands = Commands(_words("--worker", worker), _words("--submitter", submitter))
    points = chosen(commands, names=names, fast=fast)
    if not points:
        raise click.UsageError(f"{names[0]!r} is a point for the other kind of program: see --list.")
    return Plan(commands, points, jobs if jobs is not None else 60 if fast else 500, parallel)


def _words(flag: str, line: str | None) -> Sequence[str] | None:
    if line is None:
        return None
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise click.UsageError(f"{flag}: {line!r} cannot be split into words ({error}).") from error
    if not words or shutil.which(words[0]) is None:
        raise click.UsageError(f"{flag}: there is no program {words[0] if words else ''!r} to run.")
    return words


def _check_names(names: Sequence[str]) -> None:
    from jobwire.conformance.table import POINTS  # noqa: PLC0415

    known = [point.name for point in POINTS]
    for name in names:
        if name not in known:
            import difflib  # noqa: PLC0415 - only for mistakes

            near = difflib.get_close_matches(name, known, n=1)
            raise click.UsageError(f"There is no point {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""))


def _judge(invocation: Invocation, printer: Printer, plan: Plan) -> None:
    from jobwire._ambient import Ambient  # noqa: PLC0415
    from jobwire.conformance.processes import ServerBroken  # noqa: PLC0415
    from jobwire.conformance.runner import NeverCalled, certify  # noqa: PLC0415

    report = _Report(printer, plan, is_coloured=invocation.coloured(invocation.stdout))
    try:
        findings = asyncio.run(_until_terminated(certify(plan, report.add, Ambient())))
    except asyncio.CancelledError:
        raise SystemExit(ExitCode.TERMINATED) from None
    except ServerBroken as error:
        raise CliError("START_FAILED", str(error)) from error
    except NeverCalled as error:
        raise CliError(
            "NOT_CERTIFIED",
            f"the worker never called the server: {error.seen}",
            why=error.output,
            hints=["what it has to do: docs/reference/conformance.md"],
        ) from error
    report.close(findings)
    failed = [finding.point.name for finding in findings if finding.verdict == "failed"]
    if failed:
        names = ", ".join(failed)
        raise CliError("NOT_CERTIFIED", f"{len(failed)} of {len(findings)} points failed: {names}",
                       hints=[f"look at one alone:   --only {failed[0]}"], details={"failed": failed})  # fmt: skip


async def _until_terminated(judging: Coroutine[Any, Any, T]) -> T:
    """Let SIGTERM cancel, as Ctrl+C does, so that what was started is ended."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await judging


class _Report:
    """Prints findings as they come."""

    def __init__(self, printer: Printer, plan: Plan, *, is_coloured: bool) -> None:
        self._printer = printer
        self._is_coloured = is_coloured
        self._width = max(len(point.name) for point in plan.points)

    def add(self, finding: Finding) -> None:
        """Print one finding, in formats that do not wait for the last."""
        from jobwire.cli.output import compact  # noqa: PLC0415

        match self._printer.output.nearest:
            case Output.TABLE:
                self._printer.rows(self._rows(finding))
            case Output.JSONL:
                self._printer.line(compact(_document(finding)))
            case _:
                pass

    def close(self, findings: Sequence[Finding]) -> None:
        """Print what is known at the end."""
        from jobwire.cli.output import pretty  # noqa: PLC0415

        counts = {word: sum(finding.verdict == word for finding in findings) for word in _LOOKS}
        if self._printer.output.nearest is Output.JSON:
            totals = {word.replace(" ", "_"): count for word, count in counts.items()}
            self._printer.line(pretty({"points": [_document(finding) for finding in findings], **totals}))
        self._printer.talk(", ".join(f"{count} {word}" for word, count in counts.items() if count))

    def _rows(self, finding: Finding) -> Sequence[str]:
        symbol, colour = _LOOKS[finding.verdict]
        badge = f"{symbol} {finding.verdict}"
        shown = click.style(badge, fg=colour) if self._is_coloured else badge
        pad = " " * (16 - len(badge))
        seconds = f"{finding.seconds:.2f}s" if finding.verdict != "not applicable" else ""
        row = f"{shown}{pad}  {finding.point.name:<{self._width}}  {seconds:>7}".rstrip()
        if finding.verdict != "failed":
            return [row]
        return [row, *(f"    {line}" for line in _explanation(finding))]


def _explanation(finding: Finding) -> Sequence[str]:
    point = finding.point
    lines = [
        f"asked     {point.sentence}",
        f"expected  {finding.expected}",
        f"seen      {finding.seen}",
        f"contract  {point.rule.where}: {point.rule.words}",
    ]
    return lines + [f"{'wrote' if number == 0 else '':<8}  {line}" for number, line in enumerate(finding.output)]


def _document(finding: Finding) -> dict[str, Any]:
    is_failed = finding.verdict == "failed"
    return {
        **_point_document(finding.point),
        "verdict": str(finding.verdict).replace(" ", "_"),
        "seconds": round(finding.seconds, 3),
        "expected": finding.expected if is_failed else None,
        "seen": finding.seen if is_failed else None,
        "output": list(finding.output) if is_failed else None,
    }


def _point_document(point: Point) -> dict[str, Any]:
    return {
        "name": point.name,
        "subject": str(point.subject),
        "sentence": point.sentence,
        "rule": {"where": point.rule.where, "words": point.rule.words},
    }


def _print_list(printer: Printer, names: Sequence[str]) -> None:
    from jobwire.cli.output import compact, pretty, table  # noqa: PLC0415
    from jobwire.conformance.table import POINTS  # noqa: PLC0415

    _check_names(names)
    points = [point for point in POINTS if not names or point.name in names]
    match printer.output.nearest:
        case Output.JSON:
            printer.line(pretty({"points": [_point_document(point) for point in points]}))
        case Output.JSONL:
            for point in points:
                printer.line(compact(_point_document(point)))
        case Output.ID:
            for point in points:
                printer.line(point.name)
        case _:
            rows = [(point.name, point.subject, "fast" if point.is_fast else "", point.sentence) for point in points]
            printer.rows(table(("POINT", "FOR", "SLICE", "WHAT THE PROGRAM HAS TO DO"), rows))
