"""The flags that choose jobs. All of them become text of the one filter language, so that they mean the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from jobwire._filter_syntax import quoted
from jobwire.cli.faults import CliError, as_clause
from jobwire.cli.params import PAIR, PAST_MOMENT, STATES
from jobwire.cli.words import state_word
from jobwire.filtering import FilterInvalid, SplitFilter, split_filter

_HELP = "jobwire help filters"


def filter_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--filter` alone."""
    return click.option(
        "-f",
        "--filter",
        "filter_text",
        metavar="FILTER",
        help=f"Conditions that must all hold, such as 'state:failed queue:mail type:email.* age>1h'. See: {_HELP}.",
    )(function)


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--filter` and its short forms. Each may be repeated: any of the values; different ones: all of them."""
    options = [
        click.option("--state", "states", type=STATES, multiple=True, help="State; repeatable, or a,b,c."),
        click.option("--queue", "queues", multiple=True, metavar="NAME", help="Queue; repeatable."),
        click.option("--type", "types", multiple=True, metavar="TYPE", help="Job type; repeatable."),
        click.option("--label", "labels", type=PAIR, multiple=True, metavar="KEY=VALUE", help="Label; all must match."),
        click.option("--batch", "batch_id", default="", metavar="ID", help="Batch."),
    ]
    for option in reversed(options):
        function = option(function)
    return filter_option(function)


def time_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--since` and `--before`."""
    options = [
        click.option("--since", type=PAST_MOMENT, help="Created at or after this time (1h, 2026-11-21T00:00:00Z)."),
        click.option("--before", type=PAST_MOMENT, help="Created before this time."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def filter_of(given: Mapping[str, Any], *, now_seconds: float) -> SplitFilter:
    """Read what click parsed for the functions above. Raises CliError, which shows the bad place."""
    now = datetime.fromtimestamp(now_seconds, UTC)
    return read_filter(text_of(given, now=now), now=now)


def server_filter_of(given: Mapping[str, Any], *, now_seconds: float) -> SplitFilter:
    """The same, where nothing may be left to this side. Raises CliError for more than the server can look for."""
    split = filter_of(given, now_seconds=now_seconds)
    if split.rest:
        conditions = " ".join(map(str, split.rest))
        raise CliError(
            "USAGE",
            f"{conditions} is more than the server can look for, and a watch asks the server alone",
            hints=["it looks for exact values of state, queue, type, label.KEY and batch, and for age and created",
                   "lists take more:   jobwire job list -f '...'"],
        )  # fmt: skip
    return split


def text_of(given: Mapping[str, Any], *, now: datetime) -> str:
    """All that was given, as one text; "" when nothing was."""
    return " ".join(part for part in (*_short_forms(given, now), (given.get("filter_text") or "").strip()) if part)


def read_filter(text: str, *, now: datetime) -> SplitFilter:
    """Read a filter. Raises CliError, which shows the bad place."""
    try:
        return split_filter(text, now=now)
    except FilterInvalid as error:
        shown = [line.rstrip() for line in error.picture]
        raise CliError(
            "USAGE",
            as_clause(error.message),
            why=shown,
            hints=[*error.hint.splitlines(), f"see: {_HELP}"],
            details={"filter": error.text, "start": error.span.start, "end": error.span.end},
        ) from error


def _short_forms(given: Mapping[str, Any], now: datetime) -> Iterator[str]:
    states = [state_word(state).lower() for group in given.get("states", ()) for state in group]
    for name, values in (("state", states), ("queue", given.get("queues", ())), ("type", given.get("types", ()))):
        if values:
            yield f"{name}:{','.join(quoted(value) for value in dict.fromkeys(values))}"
    for key, value in dict(given.get("labels", ())).items():
        yield f"label.{quoted(key)}:{quoted(value)}"
    if given.get("batch_id"):
        yield f"batch:{quoted(given['batch_id'])}"
    for name, sign in (("since", ">"), ("before", "<")):
        if (moment := given.get(name)) is not None:
            yield f"created{sign}{_absolute(moment, now).isoformat()}"


def _absolute(moment: datetime | timedelta, now: datetime) -> datetime:
    return moment if isinstance(moment, datetime) else now + moment
