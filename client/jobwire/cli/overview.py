"""One look at a service: what is asked, what is counted, and how it is drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from jobwire.cli.listing import Pages
from jobwire.cli.output import document_of, table
from jobwire.cli.server import Server
from jobwire.cli.words import TERMINAL, badge, colour_of, seconds_of, state_word
from jobwire.cli.worker import badge_of_worker, listed
from jobwire.durations import span_text
from jobwire.filtering import SplitFilter
from jobwire.v1 import admin_service_pb2, job_pb2

_MOST_JOBS = 5000
_MOST_FAILED = 1000
_MOST_WORKERS = 1000
_OLDEST = 8
_WORKER_ROWS = 10
_FAILED_WITHIN = timedelta(hours=1)

_OPEN = tuple(
    state for state in job_pb2.JobState.values() if state not in TERMINAL and state != job_pb2.JOB_STATE_UNSPECIFIED
)
_COLUMNS = tuple(
    job_pb2.JobState.Value(f"JOB_STATE_{name}")
    for name in ("PENDING", "PROCESSING", "SCHEDULED", "RETRYING", "BLOCKED")
)


@dataclass(slots=True)
class QueueCounts:
    """Open jobs of one queue."""

    states: Counter[int] = field(default_factory=Counter)
    oldest_seconds: float | None = None
    """Age of the oldest job that waits for a worker (PENDING); None = none waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look."""

    version: str
    store: str
    now: float
    up_seconds: float | None
    revision: int
    revisions_a_second: float | None
    """Durable changes; None at the first look."""
    queues: Mapping[str, QueueCounts]
    is_cut: bool
    """True when there are more open jobs than were read: the numbers are lower bounds."""
    failed: int
    failed_is_cut: bool
    workers: tuple[admin_service_pb2.Worker, ...]
    oldest: tuple[job_pb2.Job, ...]
    """Open jobs that were submitted first, of those that were read."""

    def as_document(self) -> dict[str, Any]:
        """One object for programs."""
        return {
            "server": {"version": self.version, "store": self.store, "up_seconds": self.up_seconds,
                       "revision": str(self.revision), "revisions_a_second": self.revisions_a_second},
            "queues": [
                {"queue": name,
                 "states": {f"JOB_STATE_{state_word(state)}": counts.states[state] for state in _COLUMNS},
                 "oldest_pending_seconds": counts.oldest_seconds}
                for name, counts in self.queues.items()
            ],
            "is_cut": self.is_cut,
            "failed_within_1h": self.failed,
            "failed_is_cut": self.failed_is_cut,
            "workers": [document_of(worker) for worker in self.workers],
            "oldest": [document_of(job) for job in self.oldest],
        }  # fmt: skip


class Overview:
    """Looks at a service, and remembers the last look for rates."""

    def __init__(self, server: Server, *, queues: Sequence[str], wall_seconds: Callable[[], float]) -> None:
        self._server = server
        self._queues = queues
        self._wall_seconds = wall_seconds
        self._before: tuple[float, int] | None = None

    def look(self) -> Snapshot:
        """Ask for all of it. Raises JobwireError."""
        info = self._server.info()
        at = self._server.clock.monotonic()
        now = self._wall_seconds()
        pages = Pages(self._server, self._chosen(_OPEN, now, within=None), _MOST_JOBS)
        jobs = [job for page in pages for job in page]
        failures = Pages(
            self._server, self._chosen([job_pb2.JOB_STATE_FAILED], now, within=_FAILED_WITHIN), _MOST_FAILED
        )
        failed = sum(len(page) for page in failures)
        revision = info.current.revision
        before, self._before = self._before, (at, revision)
        rate = None if before is None or at <= before[0] else (revision - before[1]) / (at - before[0])
        return Snapshot(
            version=info.version,
            store=info.store,
            now=now,
            up_seconds=max(now - seconds_of(info.start_time), 0.0) if info.HasField("start_time") else None,
            revision=revision,
            revisions_a_second=rate,
            queues=counted(jobs, now=now),
            is_cut=pages.has_more,
            failed=failed,
            failed_is_cut=failures.has_more,
            workers=tuple(self._server.workers_page("", _MOST_WORKERS).workers),
            oldest=tuple(sorted(jobs, key=lambda job: seconds_of(job.create_time))[:_OLDEST]),
        )

    def _chosen(self, states: Iterable[int], now: float, *, within: timedelta | None) -> SplitFilter:
        moment = datetime.fromtimestamp(now, UTC)
        condition = job_pb2.JobFilter(states=states, queues=self._queues)  # type: ignore[arg-type]
        if within is not None:
            condition.create_time_min.FromDatetime(moment - within)
        return SplitFilter(condition, (), moment)


def counted(jobs: Iterable[job_pb2.Job], *, now: float) -> dict[str, QueueCounts]:
    """Count jobs by queue and state; queues by name."""
    queues: dict[str, QueueCounts] = defaultdict(QueueCounts)
    for job in jobs:
        counts = queues[job.spec.queue]
        counts.states[job.status.state] += 1
        if job.status.state == job_pb2.JOB_STATE_PENDING:
            counts.oldest_seconds = max(counts.oldest_seconds or 0.0, now - seconds_of(job.create_time))
    return dict(sorted(queues.items()))


def screen_lines(snapshot: Snapshot, *, width: int | None, coloured: bool) -> Iterator[str]:
    """Draw a look. `width` cuts lines; None = nothing is cut."""
    yield from _head(snapshot)
    yield ""
    yield from _queue_rows(snapshot, width)
    yield ""
    yield from _worker_rows(snapshot, width, coloured=coloured)
    if snapshot.oldest:
        yield ""
        yield from _oldest_rows(snapshot, width, coloured=coloured)


def _head(snapshot: Snapshot) -> Iterator[str]:
    up = "" if snapshot.up_seconds is None else f" · up {span_text(snapshot.up_seconds)}"
    rate = "" if snapshot.revisions_a_second is None else f" (+{snapshot.revisions_a_second:.0f}/s)"
    clock = datetime.fromtimestamp(snapshot.now, UTC).strftime("%H:%M:%SZ")
    yield f"jobwire {snapshot.version} · {snapshot.store}{up} · revision {snapshot.revision}{rate} · {clock}"
    total: Counter[int] = Counter()
    for counts in snapshot.queues.values():
        total += counts.states
    more = "+" if snapshot.is_cut else ""
    by_state = [f"{total[state]}{more} {state_word(state).lower()}" for state in _COLUMNS if total[state]]
    failed = f"{snapshot.failed}{'+' * snapshot.failed_is_cut} submitted in the last hour failed"
    yield " · ".join([f"open {total.total()}{more}", *by_state, failed])


def _queue_rows(snapshot: Snapshot, width: int | None) -> list[str]:
    more = "+" if snapshot.is_cut else ""
    rows = [
        (
            name,
            *(f"{counts.states[state]}{more}" for state in _COLUMNS),
            "-" if counts.oldest_seconds is None else ">" * snapshot.is_cut + span_text(counts.oldest_seconds),
        )
        for name, counts in snapshot.queues.items()
    ]
    if not rows:
        return ["no open jobs"]
    return table(("QUEUE", *(state_word(state) for state in _COLUMNS), "OLDEST PENDING"), rows, width=width)


def _worker_rows(snapshot: Snapshot, width: int | None, *, coloured: bool) -> list[str]:
    if not snapshot.workers:
        return ["no workers"]
    busiest = sorted(snapshot.workers, key=lambda worker: (not worker.connected, -worker.in_flight, worker.worker_id))
    rows = [
        (
            badge_of_worker(worker),
            worker.worker_id,
            _bar(worker.in_flight, worker.max_in_flight),
            span_text(max(snapshot.now - seconds_of(worker.last_seen_time), 0.0)),
            listed(worker.types, whole=width is None) or "any",
        )
        for worker in busiest[:_WORKER_ROWS]
    ]
    lines = table(("STATE", "WORKER", "JOBS", "SEEN", "TYPES"), rows, width=width)
    if coloured:
        colours = ["green" if row[0].startswith("●") else "white" for row in rows]
        lines = [lines[0], *(click.style(row[0], fg=colour) + line.removeprefix(row[0])
                             for line, row, colour in zip(lines[1:], rows, colours, strict=True))]  # fmt: skip
    if len(busiest) > _WORKER_ROWS:
        lines.append(f"and {len(busiest) - _WORKER_ROWS} more workers: jobwire worker list --all")
    return lines


def _bar(taken: int, window: int) -> str:
    if not window:
        return str(taken)
    filled = min(round(10 * taken / window), 10)
    return f"{'█' * filled}{'░' * (10 - filled)} {taken}/{window}"


def _oldest_rows(snapshot: Snapshot, width: int | None, *, coloured: bool) -> list[str]:
    rows = [
        (
            badge(job.status.state),
            job.job_id,
            job.spec.type,
            job.spec.queue,
            f"{job.status.attempt}/{job.status.max_attempts}",
            span_text(max(snapshot.now - seconds_of(job.create_time), 0.0)),
        )
        for job in snapshot.oldest
    ]
    lines = table(("OLDEST OPEN", "ID", "TYPE", "QUEUE", "ATTEMPT", "AGE"), rows, width=width)
    if not coloured:
        return lines
    return [lines[0], *(click.style(row[0], fg=colour_of(job.status.state)) + line.removeprefix(row[0])
                        for line, row, job in zip(lines[1:], rows, snapshot.oldest, strict=True))]  # fmt: skip
