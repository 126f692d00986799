"""`jobwire watch`, `jobwire wait` and `jobwire job events`: reading the event stream."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from jobwire.cli.conditions import AT_END, CONDITION, Condition
from jobwire.cli.faults import CliError
from jobwire.cli.filters import filter_options, server_filter_of
from jobwire.cli.flags import command
from jobwire.cli.following import Deadline, Follower
from jobwire.cli.invocation import Invocation
from jobwire.cli.last import JOB_ID
from jobwire.cli.outcome import ended_fault
from jobwire.cli.output import Many, Printer
from jobwire.cli.params import DURATION
from jobwire.cli.server import Server
from jobwire.cli.tables import print_jobs
from jobwire.cli.times import moments
from jobwire.cli.words import TERMINAL, badge, change_line, moment_of, painted, state_word
from jobwire.v1 import job_pb2
from jobwire.v1 import job_service_pb2 as pb

_MOST_IDS = 1000


@command("watch", epilog="Example: jobwire watch --filter 'queue:mail state:failed' -o jsonl")
@click.argument("job_ids", metavar="[ID]...", nargs=-1, type=JOB_ID)
@filter_options
@click.option(
    "--until",
    type=CONDITION,
    help="End when every job given is there: completed, terminal, "
    "state=NAME, progress>=N. Default with ids: terminal; without: never.",
)
@click.option("--timeout", "wait_limit", type=DURATION, help="End after this time (exit 5). Default: never.")
@click.option("--since", type=click.IntRange(0), metavar="REVISION", help="First what happened after this revision.")
@click.option("--progress/--no-progress", default=True, help="Progress reports, too. Default: yes.")  # fmt: skip
def watch(
    invocation: Invocation,
    job_ids: tuple[str, ...],
    until: Condition | None,
    wait_limit: timedelta | None,
    since: int | None,
    progress: bool,
    **given: Any,
) -> None:
    """Print changes of jobs as they happen: of these jobs, or of all that match, or simply all.

    Cuts and restarts of the server are bridged: nothing is missed and nothing repeated. Jobs given by id end it, and
    the exit code tells of them as `jobwire wait` does. -o json is one document, closed on Ctrl+C; for long watches
    use -o jsonl.
    """
    condition = server_filter_of(given, now_seconds=invocation.wall_seconds()).condition
    if job_ids and condition != job_pb2.JobFilter():
        raise CliError("USAGE", "give ids or a filter, not both")
    if until is not None and not job_ids:
        raise CliError("USAGE", "--until needs the ids of jobs")
    printer = Printer(invocation, shows=pb.JobEvent)
    with Server(invocation) as server, printer.many("events") as many:
        request = pb.WatchJobsRequest(filter=None if job_ids else condition, include_progress=progress)
        waiting = _Waiting(_existing(server, job_ids), until or AT_END)
        request.job_ids.extend(job_ids)
        request.send_initial_state = bool(job_ids) and since is None
        if since is not None:
            request.after.CopyFrom(pb.WatchCursor(epoch=server.info().current.epoch, revision=since))
        follower = Follower(server, request, deadline=Deadline(wait_limit, server.clock), on_cut=printer.talk)
        _print_events(invocation, follower, waiting, many)
    waiting.raise_for_outcome(by_state=until is None)


def _print_events(invocation: Invocation, follower: Follower, waiting: _Waiting, many: Many) -> None:
    for event in follower.events():
        many.add(event, identifier=event.job_id, text=lambda event=event: _line_of(event, invocation))  # type: ignore[misc]
        if waiting.is_over_after(event):
            return


def _line_of(event: pb.JobEvent, invocation: Invocation) -> str:
    """One line per event: its change, or that the job is gone."""
    # Progress is no commit and has no commit time: the time at which it was heard.
    time = event.event_time if event.HasField("event_time") else moment_of(invocation.wall_seconds())
    moment = moments(invocation)
    if event.event_type == pb.JOB_EVENT_TYPE_DELETED:
        return f"{moment(time)} {event.job_id} DELETED"
    line = change_line(time, event.job_id, event.status, moment=moment)
    if not invocation.coloured(invocation.stdout):
        return line
    start = f"{moment(time)} {event.job_id} "
    state = event.status.state
    return start + painted(badge(state), state) + line.removeprefix(start + state_word(state))


class _Waiting:
    """Which jobs are still waited for, and how the others ended."""

    def __init__(self, jobs: Sequence[job_pb2.Job], until: Condition) -> None:
        self._until = until
        self._open = {job.job_id for job in jobs}
        self._bounded = bool(jobs)
        self._ended: dict[str, job_pb2.JobStatus] = {}
        self._deleted: list[str] = []
        self.met: dict[str, job_pb2.JobStatus] = {}

    def is_over_after(self, event: pb.JobEvent) -> bool:
        """Take an event in; True when no job is left to wait for."""
        if not self._bounded:
            return False
        self.take(event)
        return not self._open

    def take(self, event: pb.JobEvent) -> None:
        """Take an event in."""
        if event.event_type != pb.JOB_EVENT_TYPE_DELETED:
            self.take_status(event.job_id, event.status)
        elif event.job_id in self._open:
            self._deleted.append(event.job_id)
            self._open.discard(event.job_id)

    def take_status(self, job_id: str, status: job_pb2.JobStatus) -> None:
        """Take in how a job is now."""
        if job_id not in self._open:
            return
        if self._until.is_met(status):
            self.met[job_id] = status
            self._open.discard(job_id)
        if status.state in TERMINAL:
            self._ended[job_id] = status
            self._open.discard(job_id)

    def is_enough(self, *, any_of_them: bool) -> bool:
        """True when no job is left to wait for, or one is enough and has met the condition."""
        return not self._open or (any_of_them and bool(self.met))

    @property
    def needs_progress(self) -> bool:
        """True when progress matters."""
        return self._until.needs_progress

    def raise_for_deleted(self) -> None:
        """Raise JOB_DELETED when a job that was waited for is gone."""
        if self._deleted:
            raise CliError("JOB_DELETED", f"job {self._deleted[0]} was deleted while it was watched")

    def raise_for_outcome(self, *, by_state: bool) -> None:
        """Raise what the exit code must tell: a deleted job, an ended one that did not meet the condition.

        `by_state`: a job that is FAILED, CANCELLED or EXPIRED is told even where its end was what was waited for.
        """
        self.raise_for_deleted()
        missed = {job_id: status for job_id, status in self._ended.items() if by_state or job_id not in self.met}
        bad = [(job_id, status) for job_id, status in missed.items() if status.state != job_pb2.JOB_STATE_COMPLETED]
        # FAILED (3) before CANCELLED and EXPIRED (4): the worst is told.
        for job_id, status in sorted(bad, key=lambda pair: pair[1].state):
            raise ended_fault(job_id, status)
        for job_id in missed.keys() - self.met.keys():
            raise CliError(
                "CONDITION_IMPOSSIBLE",
                f"job {job_id} is COMPLETED, so it will never be: {self._until}",
                details={"job_id": job_id},
            )


def _existing(server: Server, job_ids: Sequence[str]) -> list[job_pb2.Job]:
    """Read jobs; raises JOB_NOT_FOUND when one does not exist."""
    if len(job_ids) > _MOST_IDS:
        raise CliError("USAGE", f"at most {_MOST_IDS} ids at once, not {len(job_ids)}")
    found: list[job_pb2.Job] = []
    asked = list(dict.fromkeys(job_ids))
    while asked:
        answer = server.call("BatchGetJobs", pb.BatchGetJobsRequest(job_ids=asked), pb.BatchGetJobsResponse)
        if answer.missing_job_ids:
            raise CliError(
                "JOB_NOT_FOUND",
                f"there is no job {answer.missing_job_ids[0]!r}",
                hints=["see what there is:   jobwire job list"],
                grpc_code="NOT_FOUND",
                details={"missing_job_ids": list(answer.missing_job_ids)},
            )
        found.extend(answer.jobs)
        answered = {job.job_id for job in answer.jobs}
        asked = [job_id for job_id in asked if job_id not in answered]
    return found


@command("wait", epilog="Example: jobwire wait ID --for state=processing --timeout 30s")
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=JOB_ID)
@click.option(
    "--for",
    "until",
    type=CONDITION,
    default="completed",
    help="completed, terminal, state=NAME, or progress>=N. Default: completed.",
)
@click.option(
    "--timeout", "wait_limit", type=DURATION, help="Longest wait (exit 5; 0s = look once). Default: no limit."
)
@click.option("--any/--all", "any_of_them", default=False, help="One of the jobs is enough. Default: all.")  # fmt: skip
def wait(
    invocation: Invocation,
    job_ids: tuple[str, ...],
    until: Condition,
    wait_limit: timedelta | None,
    any_of_them: bool,
) -> None:
    """Block until jobs have finished well (or another condition holds), then print them.

    Exit code 0: the condition holds; 3, 4: a job FAILED, or was CANCELLED or EXPIRED, without it; 5: --timeout is over;
    6: no such job; 7: a job is COMPLETED and so will never be in the state waited for.
    """
    printer = Printer(invocation, shows=job_pb2.Job)
    with Server(invocation) as server:
        deadline = Deadline(wait_limit, server.clock)
        jobs = _existing(server, job_ids)
        waiting = _Waiting(jobs, until)
        for job in jobs:
            waiting.take_status(job.job_id, job.status)
        if not waiting.is_enough(any_of_them=any_of_them):
            if deadline.is_over:
                raise deadline.fault(job_ids)
            _follow_until_enough(server, waiting, job_ids, deadline, printer, any_of_them=any_of_them)
            waiting.raise_for_deleted()
            jobs = _existing(server, job_ids)
        _print_jobs_now(invocation, printer, jobs)
    if not (any_of_them and waiting.met):
        waiting.raise_for_outcome(by_state=False)


def _follow_until_enough(
    server: Server,
    waiting: _Waiting,
    job_ids: Sequence[str],
    deadline: Deadline,
    printer: Printer,
    *,
    any_of_them: bool,
) -> None:
    request = pb.WatchJobsRequest(
        job_ids=job_ids,
        send_initial_state=True,
        until_all_terminal=True,
        include_progress=waiting.needs_progress,
    )
    follower = Follower(server, request, deadline=deadline, on_cut=printer.talk)
    for event in follower.events():
        waiting.take(event)
        if waiting.is_enough(any_of_them=any_of_them):
            return


def _print_jobs_now(invocation: Invocation, printer: Printer, jobs: Sequence[job_pb2.Job]) -> None:
    if len(jobs) == 1:
        printer.one(jobs[0], identifier=jobs[0].job_id, text=lambda: None)
    else:
        with printer.many("jobs") as many:
            for job in jobs:
                many.add(job, identifier=job.job_id)
    if len(jobs) > 1 or printer.fields is None:
        print_jobs(invocation, printer, jobs)


@command("events", epilog="Example: jobwire job events ID --watch")
@click.argument("job_id", metavar="ID", type=JOB_ID)
@click.option("--watch", "go_on", is_flag=True, help="Go on until the job has ended.")
@click.option("--since", type=click.IntRange(0), metavar="REVISION", help="Only what happened after this revision.")
def events(invocation: Invocation, job_id: str, go_on: bool, since: int | None) -> None:
    """Print what happened to a job, from the event log, oldest first.

    The log keeps the newest events of all jobs (24 hours or a million, whichever is more); what is older is gone.
    """
    printer = Printer(invocation, shows=pb.JobEvent)
    with Server(invocation) as server, printer.many("events") as many:
        info = server.info()
        (job,) = _existing(server, [job_id])
        start = pb.WatchCursor(epoch=info.current.epoch, revision=info.compacted.revision if since is None else since)
        request = pb.WatchJobsRequest(job_ids=[job_id], after=start, include_progress=go_on, until_all_terminal=go_on)
        follower = Follower(server, request, deadline=Deadline(None, server.clock), on_cut=printer.talk)
        waiting = _Waiting([job] if go_on and job.status.state not in TERMINAL else [], AT_END)
        for response in follower.responses():
            for event in response.events:
                many.add(event, identifier=event.job_id, text=lambda event=event: _line_of(event, invocation))  # type: ignore[misc]
                if waiting.is_over_after(event):
                    return
            if response.cursor.revision >= job.status.revision and (not go_on or job.status.state in TERMINAL):
                return
