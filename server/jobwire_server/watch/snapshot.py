"""How jobs stand when a watch begins."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from jobwire_server.domain.job import TERMINAL_STATES, Job
from jobwire_server.store.base import EventKind, JobEvent, ListQuery, Store
from jobwire_server.watch.requests import Detail, JobsWatch

_PAGE_JOBS: Final = 200
_FULL_JOBS: Final = 4
"""Jobs read at once by id when each may bring megabytes of payload."""
_PAGE_BYTES: Final = 2 << 20


class SnapshotPage(NamedTuple):
    """Some jobs of the initial state."""

    revision: int
    """The initial state is that of this revision, the same for all pages."""
    read_at: int
    """Revision at which this page was read; what changed in between is in the log."""
    jobs: Sequence[Job]
    """In the order of their last change. Jobs that changed after `revision` are left out: their events follow."""


def initial_pages(store: Store, watch: JobsWatch) -> AsyncGenerator[SnapshotPage, None]:
    """Read the jobs that a watch is about, as they stood at one revision; at least one page."""
    return _named(store, watch) if watch.job_ids else _matching(store, watch)


async def _matching(store: Store, watch: JobsWatch) -> AsyncGenerator[SnapshotPage, None]:
    revision: int | None = None
    before: int | None = None
    while True:
        full = watch.detail is Detail.FULL
        query = ListQuery(watch.filter, _PAGE_JOBS, before_key=before, full=full, max_bytes=_PAGE_BYTES)
        page = await store.list_jobs(watch.tenant, query)
        if revision is None:
            revision = page.position.revision
        yield SnapshotPage(revision, page.position.revision, _unchanged_since(revision, page.jobs))
        before = page.next_key
        if before is None:
            return


async def _named(store: Store, watch: JobsWatch) -> AsyncGenerator[SnapshotPage, None]:
    revision = (await store.position()).revision
    full = watch.detail is Detail.FULL
    for ids in _slices(watch.job_ids, _FULL_JOBS if full else _PAGE_JOBS):
        found = await store.get(watch.tenant, ids, full=full)
        read_at = (await store.position()).revision
        yield SnapshotPage(revision, read_at, _unchanged_since(revision, [job for job in found if job is not None]))


def _unchanged_since(revision: int, jobs: Iterable[Job]) -> list[Job]:
    unchanged = [job for job in jobs if job.status.revision <= revision]
    unchanged.sort(key=lambda job: job.status.revision)
    return unchanged


def _slices(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


class Unfinished:
    """The jobs of `until_all_terminal` that have not ended, kept up to date by the events that are handed out."""

    def __init__(self, unfinished: set[str], settled: int) -> None:
        self._unfinished = unfinished
        self.settled = settled
        """Committed revision at which the jobs were read, or later."""

    @classmethod
    async def load(cls, store: Store, watch: JobsWatch) -> Unfinished:
        """Read how the jobs stand; those that do not exist count as ended."""
        unfinished: set[str] = set()
        for ids in _slices(watch.job_ids, _PAGE_JOBS):
            for job in await store.get(watch.tenant, ids, full=False):
                if job is not None and job.status.state not in TERMINAL_STATES:
                    unfinished.add(job.job_id)
        return cls(unfinished, (await store.position()).revision)

    def apply(self, events: Iterable[JobEvent]) -> None:
        """Take notice of events that are about to be handed out. Older ones than what was read do no harm: by the
        time that `settled` is reached they have been followed by the newer ones."""
        for event in events:
            if event.kind is EventKind.DELETED or event.state in TERMINAL_STATES:
                self._unfinished.discard(event.job_id)
            else:
                self._unfinished.add(event.job_id)

    def is_over(self, revision: int) -> bool:
        """Tell whether all have ended, and the watcher at `revision` has been told so."""
        return not self._unfinished and revision >= self.settled
