"""The watch of many jobs: a cursor on the log, with the six guarantees of the contract.

A feed is *live* when it has seen everything the tail has: then it stands in the index, and only events that match it
touch it. It is *behind* when it has just started, or was too slow for its bound: then it reads the log by itself,
page by page, out of the shared ring where that reaches back far enough, else out of the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from jobwire_server.domain.errors import RevisionCompacted, RevisionInFuture, StoreEpochChanged, Unavailable
from jobwire_server.domain.job import TERMINAL_STATES, Job
from jobwire_server.store.base import EventKind, JobEvent, Position, ProgressNote
from jobwire_server.watch.desk import Desk
from jobwire_server.watch.index import Interest
from jobwire_server.watch.requests import Batch, Cursor, Detail, JobsWatch
from jobwire_server.watch.ring import Entry
from jobwire_server.watch.snapshot import Unfinished, initial_pages

MAX_PENDING: Final = 128
"""Matching events a live feed keeps before it counts as behind."""
MAX_PROGRESS: Final = 1000
_SCAN_LIMIT: Final = 1000
_BATCH_EVENTS: Final = {Detail.NONE: 500, Detail.BASIC: 100, Detail.FULL: 4}
"""Events handed out at once; few where each may bring megabytes of payload."""


class JobsFeed:
    """One watch of many jobs. Iterate `batches()` once; it unregisters itself at its end."""

    def __init__(self, desk: Desk, watch: JobsWatch) -> None:
        self._desk = desk
        self._watch = watch
        self._interest = Interest(watch.tenant, watch.filter)
        self._ids = frozenset(watch.job_ids)
        self._wake = asyncio.Event()
        self._live = False
        self._pending: dict[int | str, Entry] = {}
        self._progress: dict[str, None] = {}
        self._progress_at = 0.0
        self._bookmark_at = 0.0
        self._ending: Unavailable | None = None
        self._epoch = ""
        self._revision = 0
        self._target = 0
        """Committed revision up to which the log must have been read before the feed may go live."""
        self._completing = watch.send_initial_state
        self._unfinished: Unfinished | None = None

    # --- called by the index and the hub ------------------------------------------------------------------------

    @property
    def wants_progress(self) -> bool:
        """See `Listener`."""
        return self._watch.include_progress

    def matched(self, entry: Entry) -> None:
        """See `Listener`."""
        if entry.revision <= self._revision:
            return  # read from the store already: the tail was behind it
        pending = self._pending
        if not pending:
            # Nothing before this event matched, so the cursor may move up to it.
            self._revision = max(self._revision, entry.revision - 1)
        if self._watch.conflate:
            pending.pop(entry.event.job_id, None)
            pending[entry.event.job_id] = entry
        else:
            pending[entry.revision] = entry
        if len(pending) > MAX_PENDING:
            self.lost()
        self._wake.set()

    def lost(self) -> None:
        """See `Listener`: from here on the feed reads the log by itself, after its cursor."""
        self._leave()
        self._wake.set()

    def progressed(self, note: ProgressNote) -> None:
        """See `Listener`. Beyond the bound progress is dropped: it is not kept anywhere, and the next note comes."""
        if len(self._progress) < MAX_PROGRESS:
            self._progress[note.job_id] = None
            if self._desk.now() >= self._progress_at:
                self._wake.set()

    def tick(self, now: float) -> None:
        """Wake up if a bookmark or held progress is due."""
        if now >= self._bookmark_at or (self._progress and now >= self._progress_at):
            self._wake.set()

    def end(self, reason: Unavailable) -> None:
        """Finish: one more batch that says so, then `reason` is raised."""
        self._ending = self._ending or reason
        self._wake.set()

    # --- called by the reader ---------------------------------------------------------------------------------

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield what the watch asked for. The first batch comes at once, even if it is empty.

        Ends when `until_all_terminal` is satisfied; raises the reason when the feed is told to end, and
        `RevisionCompacted`, `RevisionInFuture` or `StoreEpochChanged` when the cursor is not usable.
        """
        position = await self._desk.store.position()
        self._open_at(position)
        self._desk.join(self, position)
        try:
            async with aclosing(self._run()) as run:
                async for batch in run:
                    yield batch
                    self._bookmark_at = self._desk.now() + self._watch.bookmark_seconds
        finally:
            self._leave()
            self._desk.part(self)

    def _open_at(self, position: Position) -> None:
        self._epoch = position.epoch
        self._revision = position.revision
        after = self._watch.after
        if after is None:
            return
        if after.epoch != position.epoch:
            raise StoreEpochChanged(
                "The cursor belongs to another store: open the watch again with send_initial_state.",
                epoch=position.epoch,
                current_revision=position.revision,
            )
        if after.revision > position.revision:
            raise RevisionInFuture(
                f"Revision {after.revision} lies beyond the newest one, {position.revision}: "
                "open the watch again with send_initial_state.",
                epoch=position.epoch,
                current_revision=position.revision,
            )
        if after.revision < position.compacted:
            raise self._compacted(position)
        self._revision = after.revision

    async def _run(self) -> AsyncGenerator[Batch, None]:
        if self._completing:
            async with aclosing(self._initial_state()) as pages:
                async for batch in pages:
                    yield batch
        # After the initial state: of a job that ended before it was read, no event follows to take it off the list.
        await self._load_unfinished()
        if not self._completing:
            yield Batch(self._cursor())
        while not self._is_over():
            batch = await self._next()
            if _says_something(batch) or self._is_bookmark_due():
                yield batch
            if batch.draining and self._ending is not None:
                raise self._ending
            if self._is_idle(batch):
                await self._wake.wait()

    async def _load_unfinished(self) -> None:
        if self._watch.until_all_terminal:
            self._unfinished = await Unfinished.load(self._desk.store, self._watch)
            self._target = max(self._target, self._unfinished.settled)

    async def _initial_state(self) -> AsyncGenerator[Batch, None]:
        """Yield the jobs as they stood at the first page's revision; what changed since then follows as events."""
        async with aclosing(initial_pages(self._desk.store, self._watch)) as pages:
            async for page in pages:
                self._revision = page.revision
                self._target = max(self._target, page.read_at)
                if page.jobs:
                    yield Batch(self._cursor(), snapshots=page.jobs)
                if self._ending is not None:
                    yield Batch(self._cursor(), draining=True)
                    raise self._ending

    async def _next(self) -> Batch:
        self._wake.clear()
        entries = await self._advance()
        if self._unfinished is not None:
            self._unfinished.apply(entry.event for entry in entries)
        complete = self._completing and self._revision >= self._target
        if complete:
            self._completing = False
        jobs = await self._jobs_of(entries)
        progress = await self._take_progress()
        return Batch(
            self._cursor(),
            entries,
            progress=progress,
            jobs=jobs,
            initial_state_complete=complete,
            draining=self._ending is not None,
        )

    def _is_idle(self, batch: Batch) -> bool:
        return not batch.entries and self._live and not self._pending and not self._is_over()

    def _is_over(self) -> bool:
        over = self._unfinished is not None and self._unfinished.is_over(self._revision)
        return over and not self._completing and not self._pending

    def _cursor(self) -> Cursor:
        return Cursor(self._epoch, self._revision)

    def _is_bookmark_due(self) -> bool:
        return self._desk.now() >= self._bookmark_at

    # --- moving the cursor ------------------------------------------------------------------------------------

    async def _advance(self) -> Sequence[Entry]:
        """Return the next matching events and move the cursor over everything that was looked at."""
        limit = _BATCH_EVENTS[self._watch.detail]
        while True:
            if self._live:
                return self._take(limit)
            entries = self._scan_ring(limit)
            if entries is None:
                entries = await self._scan_store(limit)
            if entries or self._ending is not None:
                return entries

    def _take(self, limit: int) -> Sequence[Entry]:
        pending = self._pending
        if len(pending) <= limit:
            entries = list(pending.values())
            pending.clear()
            self._revision = max(self._revision, self._desk.tail.revision)
        else:
            keys = list(pending)[:limit]
            entries = [pending.pop(key) for key in keys]
            self._revision = next(iter(pending.values())).revision - 1
        return entries

    def _scan_ring(self, limit: int) -> Sequence[Entry] | None:
        """Read on in the ring; None when it does not reach back to the cursor."""
        scan = self._desk.tail.after(self._revision, _SCAN_LIMIT)
        if scan is None or (scan.at_end and scan.scanned < self._target):
            return None
        matching = [entry for entry in scan.entries if self._wants(entry.event)]
        if len(matching) > limit:
            matching = matching[:limit]
            self._revision = matching[-1].revision
        else:
            self._revision = scan.scanned
            if scan.at_end:
                self._go_live()
        return self._conflated(matching)

    async def _scan_store(self, limit: int) -> Sequence[Entry]:
        store, watch = self._desk.store, self._watch
        before = await store.position()
        events = await store.events(after=self._revision, limit=_SCAN_LIMIT, tenant=watch.tenant, job_ids=watch.job_ids)
        if watch.job_ids:
            await self._refuse_compacted()
        scanned = events[-1].revision if len(events) == _SCAN_LIMIT else before.revision
        matching = [Entry(event) for event in events if self._wants(event)]
        if len(matching) > limit:
            matching = matching[:limit]
            scanned = matching[-1].revision
        self._revision = max(self._revision, scanned, matching[-1].revision if matching else 0)
        return self._conflated(matching)

    async def _refuse_compacted(self) -> None:
        """The log of single jobs is returned as far as it exists; a watch must not jump over what is gone."""
        position = await self._desk.store.position()
        if position.compacted > self._revision:
            raise self._compacted(position)

    def _compacted(self, position: Position) -> RevisionCompacted:
        return RevisionCompacted(
            f"The log no longer holds the events after the cursor (it begins after revision {position.compacted}): "
            "open the watch again with send_initial_state.",
            compacted_revision=position.compacted,
            current_revision=position.revision,
            epoch=position.epoch,
        )

    def _wants(self, event: JobEvent) -> bool:
        if event.tenant != self._watch.tenant:
            return False
        return event.job_id in self._ids if self._ids else self._interest.accepts(event)

    def _conflated(self, entries: list[Entry]) -> Sequence[Entry]:
        if not self._watch.conflate:
            return entries
        newest: dict[str, Entry] = {}
        for entry in entries:
            newest.pop(entry.event.job_id, None)
            newest[entry.event.job_id] = entry
        return list(newest.values())

    # --- live or behind ---------------------------------------------------------------------------------------

    def _go_live(self) -> None:
        """From here on the index tells this feed of its events; between the scan and this line nothing can happen."""
        self._live = True
        if self._ids:
            self._desk.index.add_ids(self._watch.tenant, self._ids, self)
        else:
            self._desk.index.add_filter(self._watch.tenant, self._watch.filter, self)

    def _leave(self) -> None:
        if not self._live:
            return
        self._live = False
        self._pending.clear()
        if self._ids:
            self._desk.index.remove_ids(self._watch.tenant, self._ids, self)
        else:
            self._desk.index.remove_filter(self._watch.tenant, self._watch.filter, self)

    # --- jobs and progress ------------------------------------------------------------------------------------

    async def _jobs_of(self, entries: Sequence[Entry]) -> dict[str, Job]:
        detail = self._watch.detail
        if detail is Detail.NONE or not entries:
            return {}
        ids = {entry.event.job_id: None for entry in entries if entry.event.kind is not EventKind.DELETED}
        jobs = await self._desk.store.get(self._watch.tenant, list(ids), full=detail is Detail.FULL)
        return {job.job_id: job for job in jobs if job is not None}

    async def _take_progress(self) -> Sequence[Job]:
        now = self._desk.now()
        if not self._progress or now < self._progress_at:
            return ()
        self._progress_at = now + self._watch.bookmark_seconds
        ids, self._progress = list(self._progress), {}
        jobs = await self._desk.store.get(self._watch.tenant, ids, full=False)
        return [job for job in jobs if job is not None and self._is_running_and_wanted(job)]

    def _is_running_and_wanted(self, job: Job) -> bool:
        if job.status.state in TERMINAL_STATES:
            return False
        return bool(self._ids) or self._interest.accepts_job(job)


def _says_something(batch: Batch) -> bool:
    return bool(batch.entries or batch.progress or batch.initial_state_complete or batch.draining)
