"""What watchers want, arranged so that an event finds them without asking each."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from jobwire_server.domain.job import Job, State
from jobwire_server.store.base import JobEvent, JobFilter, ProgressNote
from jobwire_server.watch.ring import Entry


class Listener(Protocol):
    """Somebody who wants events. Called on the event loop; must not block or raise."""

    @property
    def wants_progress(self) -> bool:
        """True to be told of progress, too."""

    def matched(self, entry: Entry) -> None:
        """An event that is wanted has been committed."""

    def progressed(self, note: ProgressNote) -> None:
        """A job that may be wanted made progress."""

    def lost(self) -> None:
        """Events were skipped: read what is missing from the store."""


class Interest:
    """One distinct filter of one tenant, and everybody who has it: it is matched once for all of them."""

    __slots__ = ("_filter", "_labels", "_queues", "_states", "_types", "key", "listeners", "tenant")

    def __init__(self, tenant: str, wanted: JobFilter) -> None:
        self.tenant = tenant
        self.key = interest_key(tenant, wanted)
        self.listeners: set[Listener] = set()
        self._filter = wanted
        self._queues = frozenset(wanted.queues)
        self._types = frozenset(wanted.types)
        self._states = frozenset(wanted.states)
        self._labels = tuple(wanted.labels.items())

    def accepts(self, event: JobEvent) -> bool:
        """Tell whether the job matched before or after this change."""
        states = self._states
        if states and event.state not in states and event.previous_state not in states:
            return False
        return self.accepts_lane(event.queue, event.type) and self._accepts_rest(
            event.batch_id, event.labels, event.create_time_us
        )

    def accepts_job(self, job: Job) -> bool:
        """Tell whether a job matches as it is now."""
        if self._states and job.status.state not in self._states:
            return False
        return self.accepts_lane(job.spec.queue, job.spec.type) and self._accepts_rest(
            job.batch_id, job.spec.labels, job.create_time_us
        )

    def accepts_lane(self, queue: str, type_: str) -> bool:
        """Tell whether jobs of this queue and type can match at all."""
        return (not self._queues or queue in self._queues) and (not self._types or type_ in self._types)

    def _accepts_rest(self, batch_id: str, labels: Mapping[str, str], create_time_us: int) -> bool:
        wanted = self._filter
        if wanted.batch_id and batch_id != wanted.batch_id:
            return False
        if wanted.create_time_min_us is not None and create_time_us < wanted.create_time_min_us:
            return False
        if wanted.create_time_max_us is not None and create_time_us >= wanted.create_time_max_us:
            return False
        return all(labels.get(key) == value for key, value in self._labels)

    def buckets(self) -> Iterator[Hashable]:
        """Yield the index places of this interest: those of its most selective condition."""
        wanted, tenant = self._filter, self.tenant
        if wanted.batch_id:
            yield ("batch", tenant, wanted.batch_id)
        elif self._types:
            yield from (("type", tenant, name) for name in self._types)
        elif self._queues:
            yield from (("queue", tenant, name) for name in self._queues)
        elif self._labels:
            yield ("label", tenant, *self._labels[0])
        else:
            yield ("all", tenant)


def interest_key(tenant: str, wanted: JobFilter) -> Hashable:
    """Return what two equal filters of one tenant have in common."""
    return (
        tenant,
        frozenset(wanted.queues),
        frozenset(wanted.types),
        frozenset[State](wanted.states),
        frozenset(wanted.labels.items()),
        wanted.batch_id,
        wanted.create_time_min_us,
        wanted.create_time_max_us,
    )


class Index:
    """Finds the listeners of an event with a few look-ups, however many there are."""

    def __init__(self) -> None:
        self._by_id: dict[tuple[str, str], set[Listener]] = {}
        self._interests: dict[Hashable, Interest] = {}
        self._buckets: dict[Hashable, dict[Interest, None]] = {}
        self._noting: dict[Interest, set[Listener]] = {}

    def add_ids(self, tenant: str, job_ids: Iterable[str], listener: Listener) -> None:
        """Tell `listener` of these jobs."""
        for job_id in job_ids:
            self._by_id.setdefault((tenant, job_id), set()).add(listener)

    def remove_ids(self, tenant: str, job_ids: Iterable[str], listener: Listener) -> None:
        """Undo `add_ids`; harmless when it was not called."""
        for job_id in job_ids:
            listeners = self._by_id.get((tenant, job_id))
            if listeners is not None:
                listeners.discard(listener)
                if not listeners:
                    del self._by_id[tenant, job_id]

    def add_filter(self, tenant: str, wanted: JobFilter, listener: Listener) -> None:
        """Tell `listener` of the jobs that match."""
        key = interest_key(tenant, wanted)
        interest = self._interests.get(key)
        if interest is None:
            interest = self._interests[key] = Interest(tenant, wanted)
            for bucket in interest.buckets():
                self._buckets.setdefault(bucket, {})[interest] = None
        interest.listeners.add(listener)
        if listener.wants_progress:
            self._noting.setdefault(interest, set()).add(listener)

    def remove_filter(self, tenant: str, wanted: JobFilter, listener: Listener) -> None:
        """Undo `add_filter`; harmless when it was not called."""
        interest = self._interests.get(interest_key(tenant, wanted))
        if interest is None:
            return
        interest.listeners.discard(listener)
        self._noting.get(interest, set()).discard(listener)
        if interest.listeners:
            return
        self._noting.pop(interest, None)
        del self._interests[interest.key]
        for bucket in interest.buckets():
            interests = self._buckets[bucket]
            del interests[interest]
            if not interests:
                del self._buckets[bucket]

    def publish(self, entries: Sequence[Entry]) -> None:
        """Tell everybody who wants them of these events, in order."""
        by_id = self._by_id
        for entry in entries:
            event = entry.event
            listeners = by_id.get((event.tenant, event.job_id))
            if listeners:
                for listener in tuple(listeners):
                    listener.matched(entry)
            if self._buckets:
                for interest in self._candidates(event):
                    if interest.accepts(event):
                        for listener in tuple(interest.listeners):
                            listener.matched(entry)

    def note(self, note: ProgressNote) -> None:
        """Tell everybody who may want it of progress: a note does not hold all that a filter may ask for."""
        for listener in tuple(self._by_id.get((note.tenant, note.job_id), ())):
            if listener.wants_progress:
                listener.progressed(note)
        for interest, listeners in self._noting.items():
            if interest.tenant == note.tenant and interest.accepts_lane(note.queue, note.type):
                for listener in tuple(listeners):
                    listener.progressed(note)

    def lose_place(self) -> None:
        """Tell everybody that events were skipped."""
        listeners = {listener for group in self._by_id.values() for listener in group}
        listeners.update(listener for interest in self._interests.values() for listener in interest.listeners)
        for listener in listeners:
            listener.lost()

    def _candidates(self, event: JobEvent) -> list[Interest]:
        tenant, buckets = event.tenant, self._buckets
        found: list[Interest] = []
        for place in (("all", tenant), ("type", tenant, event.type), ("queue", tenant, event.queue)):
            interests = buckets.get(place)
            if interests:
                found += interests
        if event.batch_id:
            found += buckets.get(("batch", tenant, event.batch_id), ())
        for key, value in event.labels.items() if event.labels else ():
            found += buckets.get(("label", tenant, key, value), ())
        return found
