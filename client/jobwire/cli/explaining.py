"""`jobwire explain`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import click

from jobwire.cli.faults import CliError
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation


@command("explain", makes_calls=False, epilog="Example: jobwire explain LEASE_LOST")
@click.argument("code", metavar="[CODE]", required=False)
@click.option("--list", "everything", is_flag=True, help="List every code there is.")
def explain(invocation: Invocation, code: str | None, everything: bool) -> None:
    """Say what an error code means, whether to try again, and what to do: the CODE in `error[CODE]`, or a job's error.

    Needs no server. -o json prints {"codes": [{"code", "kind", "meaning", "grpc_code", "repeat", "advice",
    "exit_code"}, ...]}: a code may mean something for a call and something else for a job.
    """
    from jobwire.cli.catalogue import Entry, entries, find, near  # noqa: PLC0415 - help pages need no catalogue
    from jobwire.cli.output import Printer, table  # noqa: PLC0415

    if everything == (code is not None):
        raise CliError("USAGE", "give a code, or --list", hints=["jobwire explain JOB_NOT_FOUND"])
    found: Sequence[Entry] = list(entries()) if code is None else find(code)
    if not found:
        alike = near(code or "")
        raise CliError(
            "USAGE",
            f"there is no code {code!r}",
            hints=[
                *(f"did you mean:   jobwire explain {name}" for name in alike),
                "all there are:   jobwire explain --list",
            ],
            details={"near": alike},
        )
    printer = Printer(invocation)
    printer.documents("codes", [entry.as_document() for entry in found], identifier="code")
    if code is None:
        printer.rows(table(("CODE", "EXIT", "MEANING"),
                           [(entry.code, "" if entry.exit_code is None else str(entry.exit_code), entry.meaning)
                            for entry in found]))  # fmt: skip
    else:
        printer.rows(chain.from_iterable(entry.lines() for entry in found))
