"""`jobwire bench`: what a running server does under load, from here."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from jobwire.cli.bench_listener import Listener
from jobwire.cli.bench_worker import BenchWorker
from jobwire.cli.faults import CliError
from jobwire.cli.flags import command
from jobwire.cli.invocation import Invocation
from jobwire.cli.listing import Pages
from jobwire.cli.load import Report, Tally, Tickets, run_clients
from jobwire.cli.output import Printer
from jobwire.cli.params import DURATION, SIZE
from jobwire.cli.root import BENCH_COMMANDS, NounGroup
from jobwire.cli.server import Server, settings_of
from jobwire.cli.sweep import in_order
from jobwire.cli.words import TERMINAL
from jobwire.errors import JobwireError
from jobwire.filtering import SplitFilter
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

JOB_TYPE = "jobwire.bench"
_LONG_POLL = timedelta(seconds=10)
_GRACE = timedelta(seconds=60)
_RETENTION = timedelta(seconds=1)
_MOST_CANCELLED = 5000

bench = NounGroup(
    name="bench",
    entries=BENCH_COMMANDS,
    help="Measure a running server from here. The numbers are those of both machines and what lies between them.",
    no_args_is_help=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What load to make."""

    clients: int
    rate: float | None
    size_bytes: int
    count: int | None
    duration: timedelta | None

    @property
    def facts(self) -> dict[str, Any]:
        """For the report."""
        return {"clients": self.clients, "rate": self.rate, "size_bytes": self.size_bytes}


def _load_options(*, clients: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    options = [
        click.option("--clients", type=click.IntRange(1, 256), default=clients,
                     help=f"Calls at once, each in a thread with a connection. Default: {clients}."),
        click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N",
                     help="Calls a second by all clients. Default: as many as can be."),
        click.option("--size", "size_bytes", type=SIZE, default="100", help="Size of the payload. Default: 100 bytes."),
        click.option("--count", type=click.IntRange(1, 1_000_000), help="End after so many jobs."),
        click.option("--duration", type=DURATION, help="End after this time. Default: 5s, unless --count is given."),
    ]  # fmt: skip

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@command("submit", epilog="Example: jobwire bench submit --duration 5s --clients 16 -o json")
@_load_options(clients=16)
def bench_submit(invocation: Invocation, **given: Any) -> None:
    """Measure durable submits: one SubmitJob a call, each answered when the job is on the server's disk.

    The jobs go to a queue of their own, of a type that nobody serves. At the end 5,000 of them are cancelled, and what
    is left expires within two minutes; either way the server then removes them by itself.
    """
    with _Bench(invocation, given) as run:
        run.measure("submit", "SubmitJob", run.submit)


@command("watch", epilog="Example: jobwire bench watch --rate 100 --duration 5s")
@_load_options(clients=1)
def bench_watch(invocation: Invocation, **given: Any) -> None:
    """Measure how soon a watcher hears of a submit: from the begin of the call to the event on another stream.

    The jobs are those of `bench submit`.
    """
    with _Bench(invocation, given) as run, Listener(Server(invocation), run.queue) as listener:

        def one(client: int) -> float:
            job_id = f"{run.queue}-{secrets.token_hex(8)}"
            begin = run.now()
            run.submit(client, job_id=job_id)
            return listener.wait_for(job_id) - begin

        run.measure("watch", "submit → event", one)


@command("e2e", epilog="Example: jobwire bench e2e --count 500 --clients 4")
@_load_options(clients=8)
def bench_e2e(invocation: Invocation, **given: Any) -> None:
    """Measure whole jobs: from the begin of the submit to the result known to the submitter.

    A worker of its own, in this process and over the Work stream, runs them; so this machine pays for server, worker
    and clients when they are all here. Jobs are removed a second after their end.
    """
    with _Bench(invocation, given) as run, BenchWorker(settings_of(invocation), run.queue, JOB_TYPE):
        run.measure("e2e", "submit → result", run.submit_and_wait)


class _Bench:
    """One run: connections, the queue of its own, the report."""

    def __init__(self, invocation: Invocation, given: dict[str, Any]) -> None:
        self._invocation = invocation
        self._printer = Printer(invocation)
        self.plan = plan_of(given)
        self.queue = f"bench-{secrets.token_hex(4)}"
        self._payload = job_pb2.Payload(
            content_type="application/json", text=f'"{"x" * max(given["size_bytes"] - 2, 0)}"'
        )
        self._servers: list[Server] = []
        self._stack = ExitStack()
        self._has_submitted = False

    def __enter__(self) -> _Bench:
        for _ in range(self.plan.clients):
            self._servers.append(self._stack.enter_context(Server(self._invocation)))
        self._servers[0].info()  # a server that is not there is told now, in one sentence
        if self._invocation.sheet is not None:
            self._submit(0, "")
            self._invocation.sheet.stop("the same for each job, from all clients")
        return self

    def __exit__(self, *error: object) -> None:
        with self._stack:
            if self._has_submitted:
                self._clean_up()

    def _clean_up(self) -> None:
        """Cancel the jobs that nobody ran; they are removed when their retention is over. The rest expires."""
        server = self._servers[0]
        moment = datetime.fromtimestamp(self._invocation.wall_seconds(), UTC)
        waiting = job_pb2.JobFilter(queues=[self.queue], states=[job_pb2.JOB_STATE_PENDING])
        pages = Pages(server, SplitFilter(waiting, (), moment), _MOST_CANCELLED)

        def cancel(job_id: str) -> None:
            server.call("CancelJob", pb.CancelJobRequest(job_id=job_id, reason="bench"), pb.CancelJobResponse)

        try:
            for _, future in in_order(cancel, [job.job_id for page in pages for job in page]):
                future.result()
        except JobwireError as error:
            self._printer.talk(f"some jobs of {self.queue} are left, and will expire: {error.message}")

    def now(self) -> float:
        """Monotonic seconds."""
        return self._servers[0].clock.monotonic()

    def submit(self, client: int, *, job_id: str = "") -> float:
        """Submit one job; return the seconds it took."""
        begin = self.now()
        self._submit(client, job_id)
        return self.now() - begin

    def submit_and_wait(self, client: int) -> float:
        """Submit one job and wait for its result; return the seconds both took."""
        begin = self.now()
        job = self._submit(client, "")
        while job.status.state not in TERMINAL:
            request = pb.GetJobRequest(job_id=job.job_id, wait_revision=job.status.revision)
            request.wait_timeout.FromTimedelta(_LONG_POLL)
            job = self._servers[client].call("GetJob", request, pb.GetJobResponse, extra=_LONG_POLL).job
        return self.now() - begin

    def measure(self, name: str, what: str, one: Callable[[int], float]) -> None:
        """Make the load and print the report. Ctrl+C ends the load early, and the report is of what was done."""
        plan, tally = self.plan, Tally()
        seconds = None if plan.duration is None else plan.duration.total_seconds()
        tickets = Tickets(self._servers[0].clock, count=plan.count, seconds=seconds, rate=plan.rate)
        with _until_interrupted(self._printer):
            run_clients(plan.clients, tickets, tally, one)
        report = Report(bench=name, what=what, facts=plan.facts, seconds=tickets.elapsed_seconds, tally=tally)
        self._printer.document(report.as_document, identifier=self.queue, text=lambda: "\n".join(report.lines()))
        if not tally.seconds and tally.errors:
            code, _ = tally.errors.most_common(1)[0]
            raise CliError(
                "BENCH_FAILED", f"no call succeeded; most failed with {code}", hints=[f"jobwire explain {code}"]
            )

    def _submit(self, client: int, job_id: str) -> job_pb2.Job:
        self._has_submitted = True
        request = pb.SubmitJobRequest(job_id=job_id, request_id=secrets.token_hex(16))
        request.spec.type, request.spec.queue = JOB_TYPE, self.queue
        request.spec.payload.CopyFrom(self._payload)
        request.spec.retention.FromTimedelta(_RETENTION)
        end = datetime.fromtimestamp(self._invocation.wall_seconds(), UTC) + _GRACE + (self.plan.duration or _GRACE)
        request.spec.expire_time.FromDatetime(end)
        return self._servers[client].call("SubmitJob", request, pb.SubmitJobResponse).job


def plan_of(given: dict[str, Any]) -> Plan:
    """Read what click parsed. Raises CliError for two ends."""
    count, duration = given["count"], given["duration"]
    if count is not None and duration is not None:
        raise CliError("USAGE", "--count and --duration exclude each other: both say when to end")
    if count is None and duration is None:
        duration = timedelta(seconds=5)
    return Plan(**{**given, "duration": duration})


@contextmanager
def _until_interrupted(printer: Printer) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        printer.talk("interrupted: the report is of what was done so far")
