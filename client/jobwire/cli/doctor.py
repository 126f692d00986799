"""`jobwire doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any

import click

from jobwire.cli.examination import examine
from jobwire.cli.faults import ExitCode
from jobwire.cli.findings import Finding, Level, exit_code_of
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.output import Printer, compact

_LOOKS = MappingProxyType(
    {
        Level.OK: ("✓", "green"),
        Level.WARNING: ("!", "yellow"),
        Level.FAILED: ("✕", "red"),
        Level.SKIPPED: ("–", "white"),
    }
)
_INDENT = " " * 21


@command("doctor", epilog="Example: jobwire -c prod doctor")
def doctor(invocation: Invocation) -> int:
    """Look at everything between this command and a worker, and say what is wrong and what to do about it.

    This client and its versions; the address and where it came from; name, connection, TLS and the dates of the
    certificate; the server's health, version, clock, store, last recovery; its workers. Changes nothing.

    Exit code 0: nothing failed (warnings do not count); 9: the server cannot be reached, or is not ready; 2: a setting
    is wrong; 8: the server does not let this client in. -o json prints {"ok": ..., "findings": [{"check", "level",
    "text", "advice", "facts"}, ...]}.
    """
    printer = Printer(invocation)
    findings: list[Finding] = []
    for finding in examine(invocation):
        findings.append(finding)
        if printer.output is Output.JSONL:
            printer.line(compact(finding.as_document()))
        printer.rows(_lines(finding, coloured=invocation.coloured(invocation.stdout)))
    code = exit_code_of(findings)
    if printer.output in {Output.JSON, Output.YAML}:
        printer.document(lambda: _document(findings, code), identifier="", text=lambda: None)
    return code


def _document(findings: Sequence[Finding], code: ExitCode) -> dict[str, Any]:
    return {"ok": code is ExitCode.DONE, "findings": [finding.as_document() for finding in findings]}


def _lines(finding: Finding, *, coloured: bool) -> Iterator[str]:
    symbol, colour = _LOOKS[finding.level]
    badge = f"{symbol} {finding.level}".ljust(10)
    yield f"{click.style(badge, fg=colour) if coloured else badge} {finding.check:<9} {finding.text}"
    yield from (f"{_INDENT}→ {advice}" for advice in finding.advice)
