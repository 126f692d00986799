"""Changing all jobs that a filter chooses: count, ask, change, and say what came of it."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from jobwire.cli.faults import CliError, as_clause
from jobwire.cli.filters import read_filter
from jobwire.cli.invocation import Invocation
from jobwire.cli.listing import Pages
from jobwire.cli.output import Many, Printer
from jobwire.cli.refusals import fault_of
from jobwire.cli.server import Server
from jobwire.cli.tables import jobs_text, print_jobs
from jobwire.cli.words import seconds_of, state_word
from jobwire.durations import span_text
from jobwire.errors import DeadlineExceeded, JobwireError, Unavailable
from jobwire.filtering import SplitFilter
from jobwire.v1 import job_pb2

_CALLS_AT_ONCE = 16
_IN_FLIGHT = 64
_EXAMPLES = 5
_NAMED = 5

T = TypeVar("T")
Changed = job_pb2.Job | str


class Verb(NamedTuple):
    """What is done to jobs."""

    name: str
    """As a command: "retry"."""
    past: str
    """As said afterwards: "retried"."""
    states: frozenset[Any]
    """Jobs in one of these can be changed so."""
    key: str
    """Of the list in the JSON document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The jobs that a filter chose, newest first."""

    job_ids: tuple[str, ...]
    states: Mapping[int, int]
    """Number of jobs by state."""
    examples: tuple[job_pb2.Job, ...]
    """The newest few."""
    newest_seconds: float
    oldest_seconds: float
    has_more: bool
    """True when the limit ended the list: perhaps more match."""

    def sentence(self, verb: Verb, text: str, *, now: float) -> str:
        """Say how many there are, in which states, and how old."""
        count = len(self.job_ids)
        if not count:
            return f"no job that can be {verb.past} matches {text!r}"
        head = f"the newest {jobs_text(count)} of those that match" if self.has_more else (
            f"{jobs_text(count)} match{'es' * (count == 1)}")  # fmt: skip
        by_state = ", ".join(f"{number} {state_word(state).lower()}" for state, number in sorted(self.states.items()))
        newest, oldest = (span_text(max(now - seconds, 0.0)) for seconds in (self.newest_seconds, self.oldest_seconds))
        age = f"{oldest} ago" if oldest == newest else f"between {oldest} and {newest} ago"
        return f"{head} {text!r} and can be {verb.past}: {by_state}; submitted {age}"


@dataclass(slots=True)
class _Tally:
    """What became of the jobs."""

    done: int = 0
    refused: dict[str, JobwireError] = field(default_factory=dict)

    def summary(self, verb: Verb) -> str:
        if not self.refused:
            return f"{self.done} {verb.past}"
        reasons = Counter(error.code for error in self.refused.values())
        listed = ", ".join(f"{code} {number}" for code, number in reasons.most_common())
        return f"{self.done} {verb.past}, {len(self.refused)} not ({listed})"


def narrowed(chosen: SplitFilter, verb: Verb) -> SplitFilter:
    """The same filter, of jobs that the verb can change. Raises CliError when it chooses none of those."""
    asked = set(chosen.condition.states)
    left = asked & verb.states if asked else verb.states
    if not left:
        words = ", ".join(sorted(state_word(state).lower() for state in asked))
        possible = ",".join(state_word(state).lower() for state in sorted(verb.states))
        raise CliError(
            "USAGE",
            f"jobs that are {words} cannot be {verb.past}",
            hints=[f"those can:   state:{possible.replace(', ', ',')}"],
        )
    condition = job_pb2.JobFilter()
    condition.CopyFrom(chosen.condition)
    condition.states[:] = sorted(left)
    return SplitFilter(condition, chosen.rest, chosen.now)


class Sweep:
    """One command that changes many jobs."""

    def __init__(self, invocation: Invocation, printer: Printer, server: Server, verb: Verb) -> None:
        self._invocation = invocation
        self._printer = printer
        self._server = server
        self._verb = verb
        self._now = invocation.wall_seconds()

    def run(self, act: Callable[[str], Changed], *, filter_text: str, limit: int, dry_run: bool, yes: bool) -> None:
        """Count the jobs, ask, and act on each. Jobs that come to match meanwhile are left alone.

        Raises CliError: NOT_CONFIRMED when nobody said yes, PARTIAL when some jobs did not change.
        """
        if not filter_text.strip():
            raise CliError("USAGE", f"an empty filter would {self._verb.name} every job",
                           hints=["say which:   --filter 'state:failed queue:mail'"])  # fmt: skip
        chosen = narrowed(read_filter(filter_text, now=datetime.fromtimestamp(self._now, UTC)), self._verb)
        found = self._find(chosen, limit)
        sentence = found.sentence(self._verb, filter_text, now=self._now)
        if dry_run:
            self._show(found, sentence)
            return
        self._printer.talk(sentence)
        if found.job_ids and not yes:
            self._ask(found, sentence)
        self._act(act, found.job_ids)

    def _find(self, chosen: SplitFilter, limit: int) -> Found:
        pages = Pages(self._server, chosen, limit)
        job_ids: list[str] = []
        examples: list[job_pb2.Job] = []
        states: Counter[int] = Counter()
        newest = oldest = self._now
        for page in pages:
            for job in page:
                oldest = seconds_of(job.create_time)
                newest = newest if job_ids else oldest
                states[job.status.state] += 1
                job_ids.append(job.job_id)
                if len(examples) < _EXAMPLES:
                    examples.append(job)
        return Found(job_ids=tuple(job_ids), states=states, examples=tuple(examples), newest_seconds=newest,
                     oldest_seconds=oldest, has_more=pages.has_more)  # fmt: skip

    def _show(self, found: Found, sentence: str) -> None:
        """Print what would be changed: the number, and the newest few."""
        tail = {
            "count": len(found.job_ids),
            "has_more": found.has_more,
            "states": {f"JOB_STATE_{state_word(state)}": number for state, number in sorted(found.states.items())},
        }
        with self._printer.many("jobs", tail=lambda: tail) as many:
            for job in found.examples:
                many.add(job, identifier=job.job_id)
        self._printer.rows([sentence])
        if found.examples:
            print_jobs(self._invocation, self._printer, found.examples)
        if len(found.job_ids) > len(found.examples):
            self._printer.rows([f"and {len(found.job_ids) - len(found.examples)} more"])
        self._printer.talk("nothing was changed: --dry-run")

    # --- asking ---

    def _ask(self, found: Found, sentence: str) -> None:
        if not self._printer.output.for_people or not sys.stdin.isatty():
            why = "stdin is not a terminal" if self._printer.output.for_people else "-o is for programs"
            raise CliError(
                "NOT_CONFIRMED",
                f"this command would {self._verb.name} {jobs_text(len(found.job_ids))} and needs a yes; {why}",
                why=[sentence] if self._invocation.quiet else [],  # else it was said already
                hints=["add --yes", "or look first:   --dry-run"],
                details={"count": len(found.job_ids), "has_more": found.has_more},
            )
        while True:
            answer = self._answer(f"{self._verb.name.capitalize()} {jobs_text(len(found.job_ids))}? [y/N/list] ")
            if answer in {"y", "yes"}:
                return
            if answer not in {"l", "list"}:
                raise CliError("NOT_CONFIRMED", "nothing was changed")
            for job_id in found.job_ids:
                self._printer.warn(job_id)

    def _answer(self, question: str) -> str:
        self._invocation.stderr.write(question)
        self._invocation.stderr.flush()
        return sys.stdin.readline().strip().lower()

    # --- acting ---

    def _act(self, act: Callable[[str], Changed], job_ids: Sequence[str]) -> None:
        tally = _Tally()
        with self._printer.many(self._verb.key) as many:
            try:
                self._act_on_all(act, job_ids, tally, many)
            except (Unavailable, DeadlineExceeded) as error:
                raise self._broken_off(fault_of(error), tally, len(job_ids)) from error
            except KeyboardInterrupt:
                raise self._broken_off(CliError("INTERRUPTED", "interrupted"), tally, len(job_ids)) from None
        self._printer.rows([tally.summary(self._verb)] if job_ids else [])
        if tally.refused:
            raise CliError(
                "PARTIAL",
                f"{len(tally.refused)} of {len(job_ids)} jobs did not change",
                details={"refused": {job_id: error.code for job_id, error in tally.refused.items()},
                         "done": tally.done},
            )  # fmt: skip

    def _act_on_all(self, act: Callable[[str], Changed], job_ids: Sequence[str], tally: _Tally, many: Many) -> None:
        with self._progress(len(job_ids)) as advance:
            for job_id, future in in_order(act, job_ids):
                try:
                    changed = future.result()
                except (Unavailable, DeadlineExceeded):
                    raise  # the server is gone: the other jobs would fare no better
                except JobwireError as error:
                    tally.refused[job_id] = error
                    self._name(job_id, error, len(tally.refused))
                else:
                    tally.done += 1
                    _add(many, changed)
                advance()

    def _name(self, job_id: str, error: JobwireError, number: int) -> None:
        """Name the first few refusals to people; programs get them all, in the details."""
        if self._printer.output.for_machines or number > _NAMED + 1:
            return
        self._printer.warn(f"{job_id} refused [{error.code}]: {as_clause(error.message)}" if number <= _NAMED
                           else "more were refused; the summary counts them")  # fmt: skip

    def _broken_off(self, fault: CliError, tally: _Tally, count: int) -> CliError:
        return CliError(
            fault.code,
            f"{fault.message}; {tally.done} of {count} jobs are known to be {self._verb.past}",
            why=fault.why,
            hints=["the same command goes on with the rest", *fault.hints],
            grpc_code=fault.grpc_code,
            details={**fault.details, "done": tally.done, "count": count},
        )

    @contextmanager
    def _progress(self, count: int) -> Iterator[Callable[[], None]]:
        """A bar on a terminal, nothing anywhere else."""
        stderr = self._invocation.stderr
        if self._invocation.quiet or not stderr.isatty() or self._invocation.environ.get("TERM") == "dumb":
            yield lambda: None
            return
        from rich.console import Console  # noqa: PLC0415 - only on a terminal
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

        console = Console(file=stderr, no_color=not self._invocation.coloured(stderr), highlight=False)
        bar = Progress(TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(),
                       console=console, transient=True)  # fmt: skip
        with bar:
            row = bar.add_task(self._verb.name, total=count)
            yield lambda: bar.advance(row)


def _add(many: Many, changed: Changed) -> None:
    if isinstance(changed, str):
        many.add_id(changed)
    else:
        many.add(changed, identifier=changed.job_id)


def in_order(act: Callable[[str], T], job_ids: Iterable[str]) -> Iterator[tuple[str, Future[T]]]:
    """Act on all, some at once, and yield what came of each in their order; whoever stops reading stops the rest."""
    pool = ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="jobwire-sweep")
    waiting: deque[tuple[str, Future[Any]]] = deque()
    try:
        for job_id in job_ids:
            waiting.append((job_id, pool.submit(act, job_id)))
            if len(waiting) == _IN_FLIGHT:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(cancel_futures=True)
