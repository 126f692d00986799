"""`jobwire worker`: who runs jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import click

from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation, Output
from jobwire.cli.output import Printer, document_of, table
from jobwire.cli.root import WORKER_COMMANDS, NounGroup
from jobwire.cli.server import Server
from jobwire.cli.times import MomentText, moments, table_style
from jobwire.v1 import admin_service_pb2 as pb

_PAGE_WORKERS = 1000
_SHOWN = 3

worker = NounGroup(name="worker", entries=WORKER_COMMANDS, help="List workers.", no_args_is_help=True)


@command("list", epilog="Example: jobwire worker list")
@click.option("--limit", type=click.IntRange(1), default=50, help="Most workers to list. Default: 50.")
@click.option("--all", "everything", is_flag=True, help="No limit.")
def list_workers(invocation: Invocation, limit: int, everything: bool) -> None:
    """List the workers that are connected or were seen in the last hour, by name.

    JOBS is how many jobs a worker has, of how many it wants at once; SEEN when it was heard of last. -o json prints
    {"workers": [...], "next_page_token": ...}, the answer of ListWorkers over all pages read.
    """
    printer = Printer(invocation, shows=pb.Worker)
    found: list[pb.Worker] = []
    with Server(invocation) as server:
        pages = _Pages(server, None if everything else limit)
        with printer.many("workers", tail=pages.tail) as many:
            for each in pages:
                found.append(each)
                many.add(each, identifier=each.worker_id)
    _print_table(invocation, printer, found)
    if pages.next_page_token:
        printer.talk("there are more workers: --limit N or --all")


class _Pages:
    """Workers up to a limit, and what the last page said of the rest."""

    def __init__(self, server: Server, limit: int | None) -> None:
        self._server = server
        self._limit = limit
        self.next_page_token = ""

    def __iter__(self) -> Iterator[pb.Worker]:
        left = self._limit
        while left is None or left > 0:
            size = _PAGE_WORKERS if left is None else min(left, _PAGE_WORKERS)
            answer = self._server.workers_page(self.next_page_token, size)
            self.next_page_token = answer.next_page_token
            yield from answer.workers
            if not self.next_page_token:
                return
            left = None if left is None else left - len(answer.workers)

    def tail(self) -> dict[str, Any]:
        """The other field of ListWorkersResponse."""
        return {"next_page_token": self.next_page_token}


def _print_table(invocation: Invocation, printer: Printer, workers: Sequence[pb.Worker]) -> None:
    """A terminal gets ages and a cut last column, a pipe full times and lists."""
    if not printer.output.for_people:
        return
    cut = invocation.stdout.isatty() and printer.output is not Output.WIDE
    width = shutil.get_terminal_size().columns if cut else None
    if printer.fields is not None:
        rows = [printer.fields.cells(document_of(each)) for each in workers]
        printer.rows(table(printer.fields.names, rows, width=width))
        return
    seen = moments(invocation, default=table_style(invocation))
    wide = printer.output is Output.WIDE
    drawn = [_row(each, seen, whole=not cut, wide=wide) for each in workers]
    headings = ("STATE", "WORKER", "JOBS", "SEEN", *(("AGENT",) if wide else ()), "QUEUES", "TYPES")
    lines = table(headings, drawn, width=width)
    if invocation.coloured(invocation.stdout):
        colours = ["green" if each.connected else "white" for each in workers]
        lines = [lines[0], *(_painted(line, row[0], colour) for line, row, colour
                             in zip(lines[1:], drawn, colours, strict=True))]  # fmt: skip
    printer.rows(lines)


def _row(each: pb.Worker, seen: MomentText, *, whole: bool, wide: bool) -> tuple[str, ...]:
    return (
        badge_of_worker(each),
        each.worker_id,
        f"{each.in_flight}/{each.max_in_flight}" if each.max_in_flight else str(each.in_flight),
        seen(each.last_seen_time) if each.HasField("last_seen_time") else "-",
        *((each.user_agent or "-",) if wide else ()),
        listed(each.queues, whole=whole) or "-",
        listed(each.types, whole=whole) or "any",
    )


def badge_of_worker(each: pb.Worker) -> str:
    """Symbol and word."""
    return "● connected" if each.connected else "○ polling" if not each.instance_id else "○ away"


def listed(names: Sequence[str], *, whole: bool) -> str:
    """Names, or the first few and how many more."""
    shown = names if whole else names[:_SHOWN]
    return ",".join(shown) + (f" +{len(names) - len(shown)}" if len(names) > len(shown) else "")


def _painted(line: str, badge: str, colour: str) -> str:
    return click.style(badge, fg=colour) + line.removeprefix(badge)
