"""`jobwire top`: queues, workers and the oldest jobs on one screen, again and again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta

import click

from jobwire.cli.faults import CliError
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.output import Printer, compact
from jobwire.cli.overview import Overview, Snapshot, screen_lines
from jobwire.cli.params import DURATION
from jobwire.cli.refusals import fault_of
from jobwire.cli.server import Server
from jobwire.errors import Unavailable

_SHORTEST = timedelta(milliseconds=200)


@command("top", epilog="Example: jobwire top -i 5s")
@click.option(
    "-i", "--interval", type=DURATION, default="2s", help="Time between two looks, 200ms or more. Default: 2s."
)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Jobs of this queue only; repeatable.")
@click.option("--once", is_flag=True, help="Look once and exit. So it is, too, where stdout is no terminal.")
def top(invocation: Invocation, interval: timedelta, queues: tuple[str, ...], once: bool) -> None:
    """Show queues with their jobs by state, workers, and the open jobs that were submitted first, until Ctrl+C.

    Each look costs the server a few calls, and reads the newest 5,000 open jobs at most: beyond those, numbers have a +
    and the oldest job a >. -o json prints one look as one document; -o jsonl one look a line, until Ctrl+C.
    """
    if interval < _SHORTEST:
        raise CliError("USAGE", f"--interval must be {_SHORTEST.total_seconds():g}s or more")
    printer = Printer(invocation)
    with Server(invocation) as server:
        overview = Overview(server, queues=queues, wall_seconds=invocation.wall_seconds)
        if printer.output is Output.JSONL and not once:
            for snapshot in _looks(overview, server, interval):
                printer.line(compact(snapshot.as_document()))
        elif printer.output.for_people and invocation.stdout.isatty() and not once:
            _live(invocation, overview, server, interval)
        else:
            snapshot = overview.look()
            printer.document(
                snapshot.as_document,
                identifier=snapshot.version,
                text=lambda: "\n".join(screen_lines(snapshot, width=None, coloured=False)),
            )


def _looks(overview: Overview, server: Server, interval: timedelta) -> Iterator[Snapshot]:
    while True:
        yield overview.look()
        server.pause(interval.total_seconds())


def _live(invocation: Invocation, overview: Overview, server: Server, interval: timedelta) -> None:
    """Refresh the terminal's other screen; the last look stays on the usual one. A server that is gone is awaited."""
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    coloured = invocation.coloured(invocation.stdout)
    console = Console(file=invocation.stdout, no_color=not coloured, highlight=False)
    lines: list[str] = screen_of(overview.look(), coloured=coloured)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Text.from_ansi("\n".join(lines)), refresh=True)
                server.pause(interval.total_seconds())
                try:
                    lines = screen_of(overview.look(), coloured=coloured)
                except Unavailable as error:
                    lines = [*_without_note(lines), f"! {fault_of(error).message}; asking again"]
    except KeyboardInterrupt:
        invocation.stdout.write("\n".join(lines) + "\n")


def screen_of(snapshot: Snapshot, *, coloured: bool) -> list[str]:
    """A look, cut to the terminal as it is now."""
    size = shutil.get_terminal_size()
    return list(screen_lines(snapshot, width=size.columns, coloured=coloured))[: max(size.lines - 1, 1)]


def _without_note(lines: list[str]) -> list[str]:
    return lines[:-1] if lines and lines[-1].startswith("! ") else lines
