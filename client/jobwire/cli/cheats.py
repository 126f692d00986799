"""Commands to copy, by topic."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Line(NamedTuple):
    """A command and what it is for."""

    purpose: str
    command: str


CHEATS: Mapping[str, tuple[Line, ...]] = MappingProxyType({
    "start": (
        Line("a server for development, with a SQLite file and built-in job types", "jobwire dev"),
        Line("a job, its progress and its result", "jobwire run hello -d '\"Ada\"'"),
        Line("what there is", "jobwire job list"),
    ),
    "submit": (
        Line("submit and print the id", "jobwire submit email.send -d '{\"to\": \"ada@example.org\"}'"),
        Line("the payload from a file", "jobwire submit report.render -d @month.json"),
        Line("once, however often it is repeated", "jobwire submit email.send -d '{}' --key order-42/mail"),
        Line("later", "jobwire submit email.send -d '{}' --delay 10m"),
        Line("first in its queue", "jobwire submit email.send -d '{}' --queue mail --priority 9"),
        Line("three attempts, half an hour each", "jobwire submit video.cut --max-attempts 3 --attempt-timeout 30m"),
        Line("many: one job a line", "jobwire submit thumb --from-jsonl jobs.jsonl"),
    ),
    "watch": (
        Line("the job that this terminal submitted last", "jobwire watch @last"),
        Line("all failures of a queue, as they happen", "jobwire watch -f 'queue:mail state:failed'"),
        Line("block until jobs are done", "jobwire wait ID ID --timeout 5m"),
        Line("block until a job runs, or is half way", "jobwire wait ID --for 'progress>=50'"),
        Line("everything at a glance", "jobwire top"),
    ),
    "failed": (
        Line("find them", "jobwire job list -f 'state:failed age<1d'"),
        Line("by their error", "jobwire job list -f 'state:failed error:~timeout' -o wide"),
        Line("why one failed", "jobwire job describe ID"),
        Line("how many would be retried", "jobwire job retry -f 'state:failed queue:mail' --dry-run"),
        Line("retry them all", "jobwire job retry -f 'state:failed queue:mail'"),
        Line("change the payload and try again", "jobwire job clone ID --edit"),
        Line("what the code means", "jobwire explain LEASE_LOST"),
    ),
    "filters": (
        Line("any of several states", "jobwire job list -f 'state:failed,retrying'"),
        Line("types that begin with email.", "jobwire job list -f 'type:email.*'"),
        Line("by label", "jobwire job list -f 'label.customer:42'"),
        Line("not these", "jobwire job list -f '-queue:bulk -state:completed'"),
        Line("that run for more than ten minutes", "jobwire job list -f 'state:processing run>10m'"),
        Line("the whole language", "jobwire help filters"),
    ),
    "clean-up": (
        Line("cancel what waits for too long", "jobwire job cancel -f 'state:pending age>7d' --reason 'out of date'"),
        Line("delete what was cancelled", "jobwire job delete -f 'state:cancelled' --dry-run"),
        Line("stop a running job now, its worker may say what it likes", "jobwire job cancel ID --force"),
    ),
    "work": (
        Line("handlers of a Python app", "jobwire work jobs:app --slots 8"),
        Line("any program: payload on stdin, result on stdout", "jobwire work resize -- convert - -resize 200x png:-"),
        Line("work off what there is, from two queues", "jobwire work jobs:app --queue mail:3 --queue bulk"),
        Line("who works", "jobwire worker list -o wide"),
    ),
    "scripts": (
        Line("ids for xargs", "jobwire job list -f 'state:failed' -o id"),
        Line("one object a line", "jobwire job list --all -o jsonl"),
        Line("some fields", "jobwire job list --fields job_id,status.state,last_error.message"),
        Line("the result alone", "jobwire job result ID"),
        Line("no prompt", "jobwire job retry -f 'state:failed' --yes -o none"),
        Line("what the exit codes mean", "jobwire help exit-codes"),
    ),
    "bench": (
        Line("durable submits a second", "jobwire bench submit --duration 5s --clients 16"),
        Line("submit to result, with a worker of its own", "jobwire bench e2e --count 500"),
        Line("how soon watchers hear", "jobwire bench watch --rate 100"),
    ),
})  # fmt: skip
"""Every command here is read by a test as the command line would read it."""


def near(topic: str) -> list[str]:
    """Topics that are written alike."""
    import difflib  # noqa: PLC0415 - only for mistakes

    return difflib.get_close_matches(topic, CHEATS, n=2)
