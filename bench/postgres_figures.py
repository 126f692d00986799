"""P1 to P7 on PostgreSQL, beside SQLite in the same run; large stores, a foreign transaction, two servers."""

from __future__ import annotations

import asyncio
from functools import partial
from statistics import median
from typing import Final

import psycopg

from bench import p7_watchers
from bench import postgres as pg
from bench.drain import Pace, by_worker
from bench.drain import drain as drain_file
from bench.figure import Figure, Trial, percentile
from bench.latency import latencies
from bench.load import ECHO, SUBMIT, submit_batches, submit_request, unary_rate
from bench.preload import preload
from bench.server import echoing, working
from bench.server import serving as serving_file
from bench.turns import METHOD, Compared, in_turns

SLOTS: Final = 256
DRAINED: Final = 60_000
MANY: Final = 1_000_000
CALLERS: Final = 64
FLOOR: Final = 20_000
NO_GOAL: Final = "no figure is asked for; it is shown beside that of SQLite"


def unary(trial: Trial) -> Figure:
    """P1: echo, SQLite and PostgreSQL in turns."""
    seconds = trial.seconds(3.0)
    with (
        pg.cluster(trial.folder) as cluster,
        echoing(trial.folder) as echo,
        serving_file(trial.folder) as file,
        pg.serving(trial.folder, cluster, cluster.store()) as database,
    ):
        ways = ((echo.address, ECHO), (file.address, SUBMIT), (database.address, SUBMIT))
        rounds = [
            [
                asyncio.run(unary_rate(address, method, submit_request, callers=CALLERS, seconds=seconds))
                for address, method in ways
            ]
            for _ in range(3)
        ]
    bare, ours, theirs = (median(one) for one in zip(*rounds, strict=True))
    return Figure(
        value=round(median(each[2] / each[0] for each in rounds), 2),
        unit="x echo",
        reach=NO_GOAL,
        reached=True,
        method=f"as P1, {len(rounds)} rounds of {seconds:g} s in turns",
        durability=pg.DURABILITY,
        details=[f"PostgreSQL {theirs:,.0f}/s, SQLite {ours:,.0f}/s, echo {bare:,.0f}/s"],
    )


def batches(trial: Trial) -> Figure:
    """P2: SQLite and PostgreSQL in turns."""
    count = trial.count(50)
    with (
        pg.cluster(trial.folder) as cluster,
        serving_file(trial.folder) as file,
        pg.serving(trial.folder, cluster, cluster.store()) as database,
    ):
        rounds = [
            [
                asyncio.run(submit_batches(address, batches=count, size=1_000, in_flight=4, job_type="bench.unserved"))
                for address in (file.address, database.address)
            ]
            for _ in range(3)
        ]
    ours, theirs = (median(one) for one in zip(*rounds, strict=True))
    return Figure(
        value=round(theirs),
        unit="jobs/s",
        reach=NO_GOAL,
        reached=True,
        method=f"as P2, {len(rounds)} rounds of {count * 1000:,} jobs in turns",
        durability=pg.DURABILITY,
        details=[f"SQLite {ours:,.0f} jobs/s; {median(each[1] / each[0] for each in rounds):.2f} x"],
    )


def drains(trial: Trial) -> Figure:
    """P3: SQLite and PostgreSQL in turns."""
    jobs = trial.count(2 * DRAINED)
    backlog = preload(trial.folder / "backlog.db", jobs, "bench.noop")
    paces, files = [], []
    with pg.cluster(trial.folder) as cluster:
        template = cluster.store()
        cluster.fill(template, jobs, "bench.noop")
        cluster.tidy(template)
        for _ in range(3):
            database = cluster.copy(template)
            paces.append(pg.drain(trial.folder, cluster, database, jobs, slots=SLOTS))
            cluster.drop(database)
            files.append(drain_file(trial.folder, backlog, jobs, by_worker(slots=SLOTS)))
    middle, file = sorted(paces)[1], sorted(files)[1]
    judged = middle.jobs_per_second / trial.canary
    return Figure(
        value=round(middle.jobs_per_second),
        unit="jobs/s",
        reach="at least 20,000 jobs/s with one server (divided by the canary)",
        reached=judged >= FLOOR,
        method=f"as P3, {jobs:,} jobs, one server, one worker of {SLOTS} slots, three rounds in turns with SQLite",
        durability=pg.DURABILITY,
        details=[
            f"over the canary {judged:,.0f} jobs/s",
            f"PostgreSQL: {middle}",
            f"SQLite: {file}",
        ],
    )


def latency(trial: Trial) -> Figure:
    """P4 through a remote worker."""
    jobs = trial.count(500)
    with (
        pg.cluster(trial.folder) as cluster,
        pg.serving(trial.folder, cluster, cluster.store()) as server,
        working(trial.folder, server.address, slots=4),
    ):
        found = latencies(server.address, jobs)
    return Figure(
        value=round(percentile(found.to_handler, 0.5), 2),
        unit="ms to the handler of a remote worker (p50)",
        reach=NO_GOAL,
        reached=True,
        method=f"as P4, {jobs} jobs",
        durability=pg.DURABILITY,
        details=[str(found)],
    )


def start(trial: Trial) -> Figure:
    """P5: start with 1,000,000 PENDING."""
    jobs = trial.count(MANY)
    with pg.cluster(trial.folder) as cluster:
        database = cluster.store()
        cluster.fill(database, jobs, "bench.unserved")
        cluster.tidy(database)
        seconds, memory = [], []
        for _ in range(3):
            with pg.serving(trial.folder, cluster, database) as server:
                seconds.append(server.start_seconds)
                memory.append(server.rss_mib())
    judged = median(seconds) * trial.canary
    return Figure(
        value=round(median(seconds), 2),
        unit="s",
        reach="at most 2 s (multiplied by the canary) and 150 MB RSS, as on a file",
        reached=judged <= 2 and max(memory) <= 150,
        method=f"{jobs:,} PENDING jobs, process start to health SERVING, three starts",
        durability=pg.DURABILITY,
        details=[f"over the canary {judged:.2f} s; memory {max(memory):.0f} MiB"],
    )


def large(trial: Trial) -> Figure:
    """P6 and the claims: a drain in a small store, with a million waiting, and after a million that are finished."""
    jobs = trial.count(DRAINED)
    with pg.cluster(trial.folder) as cluster:
        small, *templates = _stores(trial, cluster, jobs).items()
        drain = partial(_drain_a_copy, trial, cluster, jobs)
        base, compared = in_turns(partial(drain, small[1]), {name: partial(drain, each) for name, each in templates})
    value = round(min(each.ratio for each in compared.values()), 2)
    return Figure(
        value=value,
        unit="x the rate in a small store (the worst of them)",
        reach="at least 0.90 x",
        reached=value >= 0.90,
        method=f"as P3, the first {jobs:,} jobs; {METHOD}; the small store has {trial.count(10_000):,} behind",
        durability=pg.DURABILITY,
        details=[
            f"small: {base}",
            *(f"{name}: {each}" for name, each in compared.items()),
        ],
    )


def _stores(trial: Trial, cluster: pg.Cluster, jobs: int) -> dict[str, str]:
    """A database for each case, with the jobs that are drained and what is beside them, by name of the case."""
    many, databases = trial.count(MANY), {}
    for name in ("small", "1,000,000 behind", "1,000,000 unserved ahead", "after 1,000,000 finished"):
        database = databases[name] = cluster.store()
        if "ahead" in name:
            cluster.fill(database, many, "bench.unserved")
        if "finished" in name:
            cluster.fill(database, many, "bench.done")
            cluster.finish(database, "bench.done")
        cluster.fill(database, jobs + (many if "behind" in name else trial.count(10_000)), "bench.noop")
        cluster.tidy(database)
    return databases


def _drain_a_copy(
    trial: Trial, cluster: pg.Cluster, jobs: int, template: str, *, servers: int = 1, held: bool = False
) -> Pace:
    """Drain a copy of the database; `held`: while somebody else holds a snapshot of it."""
    database = cluster.copy(template)
    with psycopg.connect(cluster.url(database)) as somebody:
        if held:
            somebody.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            somebody.execute("SELECT count(*) FROM jobwire.event").fetchone()
        pace = pg.drain(trial.folder, cluster, database, jobs, slots=SLOTS, servers=servers)
    cluster.drop(database)
    return pace


def watchers(trial: Trial) -> Figure:
    """P7 on PostgreSQL."""
    count, seconds = trial.count(p7_watchers.WATCHERS), trial.seconds(p7_watchers.SECONDS)
    with pg.cluster(trial.folder) as cluster, pg.serving(trial.folder, cluster, cluster.store()) as server:
        ratios, memory = asyncio.run(p7_watchers.compare(server, count, seconds))
    value = round(median(ratios), 2)
    return Figure(
        value=value,
        unit="x the rate without watchers",
        reach="at least 0.80 x, at most 64 KiB a watcher",
        reached=value >= 0.80 and max(memory) <= 64,
        method=f"as P7, {count} WatchJobs streams, rounds of {seconds:g} s in turns",
        durability=pg.DURABILITY,
        details=[f"ratios {[round(one, 2) for one in ratios]}; {max(memory):.1f} KiB resident a watcher"],
    )


def foreign(trial: Trial) -> Figure:
    """A transaction that somebody else holds open for the whole drain, against a drain without."""
    jobs = trial.count(2 * DRAINED)
    base, compared = _one_backlog(trial, jobs, held=True)
    return Figure(
        value=round(compared.ratio, 2),
        unit="x the rate without",
        reach="no figure is asked for; what it costs",
        reached=True,
        method=f"as P3, {jobs:,} jobs; a snapshot of the same database, held meanwhile; {METHOD}",
        durability=pg.DURABILITY,
        details=[f"without: {base}", f"with: {compared}"],
    )


def two_servers(trial: Trial) -> Figure:
    """One server with its worker against two with a worker each, on one database."""
    jobs = trial.count(2 * DRAINED)
    base, compared = _one_backlog(trial, jobs, servers=2)
    return Figure(
        value=round(compared.ratio, 2),
        unit="x the rate of one server",
        reach="no figure is asked for; what limits",
        reached=True,
        method=f"as P3, {jobs:,} jobs; one worker of {SLOTS} slots for each server; all on the same cores; {METHOD}",
        durability=pg.DURABILITY,
        details=[f"one: {base}", f"two: {compared}"],
    )


def _one_backlog(trial: Trial, jobs: int, *, servers: int = 1, held: bool = False) -> tuple[Pace, Compared]:
    """The middle pace of bare drains, and the same backlog drained otherwise."""
    with pg.cluster(trial.folder) as cluster:
        template = cluster.store()
        cluster.fill(template, jobs, "bench.noop")
        cluster.tidy(template)
        drain = partial(_drain_a_copy, trial, cluster, jobs, template)
        base, compared = in_turns(drain, {"otherwise": partial(drain, servers=servers, held=held)})
    return base, compared["otherwise"]
