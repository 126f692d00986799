"""The flags that choose jobs, and the JobFilter they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from jobwire.cli.params import PAIR, STATES
from jobwire.v1 import job_pb2


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags. Each may be repeated: any of the values; different flags: all of them."""
    options = [
        click.option("--state", "states", type=STATES, multiple=True, help="State; repeatable, or a,b,c."),
        click.option("--queue", "queues", multiple=True, metavar="NAME", help="Queue; repeatable."),
        click.option("--type", "types", multiple=True, metavar="TYPE", help="Job type; repeatable."),
        click.option("--label", "labels", type=PAIR, multiple=True, metavar="KEY=VALUE", help="Label; all must match."),
        click.option("--batch", "batch_id", default="", metavar="ID", help="Batch."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def filter_of(given: Mapping[str, Any]) -> job_pb2.JobFilter:
    """Build the filter from what click parsed."""
    states = [state for group in given["states"] for state in group]
    return job_pb2.JobFilter(
        queues=given["queues"],
        types=given["types"],
        states=states,
        labels=dict(given["labels"]),
        batch_id=given["batch_id"],
    )
