"""Everything that only reads, written once for all drivers; a driver brings the connection and the statements."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar

from jobwire_server.domain.errors import RevisionCompacted
from jobwire_server.domain.job import Attempt, Content, Job, State
from jobwire_server.store.base import JobEvent, JobPage, Lane, Lease, LeaseEnd, ListQuery, Position, StoreCounts
from jobwire_server.store.listing import Dialect, create_bounds, list_statement
from jobwire_server.store.rows import (
    CONTENT_COLUMNS,
    JOB_COLUMNS,
    content_of,
    decode_error,
    event_of,
    job_of,
    state_of,
)
from jobwire_server.store.verbs.claims import read_leases


class Reader(ABC):
    """One reading connection; used by one thread at a time. Every read is short: an old snapshot keeps dead rows."""

    dialect: ClassVar[Dialect]

    def __init__(self, queries: Mapping[str, str]) -> None:
        self._queries = queries
        self._columns = f"{JOB_COLUMNS}, {CONTENT_COLUMNS}"

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    @property
    def usable(self) -> bool:
        """False when the connection is lost, and another one is needed."""
        return True

    @abstractmethod
    def _snapshot(self) -> AbstractContextManager[None]:
        """All reads in here see the same."""

    @abstractmethod
    def _now_us(self) -> int:
        """The store's time."""

    @abstractmethod
    def _iterate(self, statement: str, values: Sequence[object] | Mapping[str, object]) -> Iterable[tuple[Any, ...]]:
        """Run a statement; its rows come as they are asked for."""

    def position(self) -> Position:
        """See `Store.position`."""
        with self._snapshot():
            return self._position()

    def get(self, tenant: str, job_ids: Sequence[str], full: bool) -> list[Job | None]:
        """See `Store.get`."""
        columns = self._columns if full else JOB_COLUMNS
        listed = ", ".join(f"job.{column.strip()}" for column in columns.split(","))
        dialect = self.dialect
        table = dialect.identity
        source = (
            f"{dialect.each_text} {dialect.join} {table} ON {table}.tenant = {dialect.mark} AND {table}.id = r.value"
            f"{dialect.its_job()}"
        )
        statement = f"SELECT {listed} FROM {source}"  # noqa: S608
        found: dict[str, Job] = {}
        with self._snapshot():
            for row in self._rows(statement, (json.dumps(list(job_ids)), tenant)):
                job = self._job(row, full=full)
                found[job.job_id] = job
        return [found.get(job_id) for job_id in job_ids]

    def list_jobs(self, tenant: str, query: ListQuery) -> JobPage:
        """See `Store.list_jobs`."""
        with self._snapshot():
            position = self._position()
            low, high = create_bounds(self.row, query.filter, query.before_key)
            columns = self._columns if query.full else JOB_COLUMNS
            statement, values = list_statement(self.dialect, tenant, query, columns, low=low, high=high)
            jobs: list[Job] = []
            size = 0
            for row in self._iterate(statement, values):
                job = self._job(row, full=query.full)
                size += _content_size(job)
                if jobs and (len(jobs) == query.limit or size > query.max_bytes):
                    return JobPage(jobs, jobs[-1].key, position)
                jobs.append(job)
            return JobPage(jobs, None, position)

    def events(self, after: int, limit: int, tenant: str | None, job_ids: Sequence[str]) -> list[JobEvent]:
        """See `Store.events`."""
        with self._snapshot():
            if job_ids:
                return self._events_of(tenant or "", job_ids, after, limit)
            position = self._position()
            if after < position.compacted:
                raise RevisionCompacted(
                    f"Events up to revision {position.compacted} are gone; the cursor stands at {after}: "
                    "open the watch again with send_initial_state and without a cursor.",
                    compacted_revision=position.compacted,
                    current_revision=position.revision,
                    epoch=position.epoch,
                )
            name = "read_events" if tenant is None else "read_tenant_events"
            values = {"after": after, "limit": limit}
            if tenant is not None:
                return [event_of(row) for row in self._rows(self._queries[name], values | {"tenant": tenant})]
            return [event_of(row) for row in self._rows(self._queries[name], values)]

    def held_by(self, instance_id: str, limit: int) -> list[Lease]:
        """See `Store.held_by`."""
        with self._snapshot():
            now_us = self._now_us()
            found = self.row("held_leases", instance_id=instance_id, now=now_us, limit=limit)
            return read_leases(self.row, json.loads(found[0]) if found else (), now_us)

    def lease_ends(self, leases: Sequence[tuple[int, int]]) -> list[LeaseEnd | None]:
        """See `Store.lease_ends`."""
        ends: list[LeaseEnd | None] = [None] * len(leases)
        with self._snapshot():
            now_us = self._now_us()
            found = self.row("lease_ends", rows=json.dumps(leases), now=now_us)
        for index, lease_expire_us in json.loads(found[0]) if found else ():
            ends[index] = LeaseEnd(lease_expire_us, lease_expire_us - now_us)
        return ends

    def pending_lanes(self, types: Sequence[str] | None, queues: Sequence[str] | None) -> list[Lane]:
        """See `Store.pending_lanes`."""
        wanted = None if types is None else sorted(set(types))
        if wanted == []:
            return []
        with self._snapshot():
            found = self._pending_queues() if queues is None else dict.fromkeys(queues)
            return [Lane(queue, kind) for queue in found for kind in self._pending_types(queue, wanted)]

    def _pending_queues(self) -> Iterator[str]:
        found = self.row("next_queue", queue="")
        while found is not None:
            yield found[0]
            found = self.row("next_queue", queue=found[0])

    def _pending_types(self, queue: str, wanted: Sequence[str] | None) -> Iterator[str]:
        """Leap from each type that is there to the next that is wanted (in order), and back."""
        row = self.row("next_type", queue=queue, type=wanted[0] if wanted else "")
        while row is not None:
            found: str = row[0]
            if wanted is None:
                yield found
                row = self.row("later_type", queue=queue, type=found)
                continue
            place = bisect_left(wanted, found)
            if place < len(wanted) and wanted[place] == found:
                yield found
                place += 1
            if place == len(wanted):
                return
            row = self.row("next_type", queue=queue, type=wanted[place])

    def counts(self) -> StoreCounts:
        """See `Store.counts`."""
        with self._snapshot():
            by_state: dict[State, int] = {}
            for number, count in self._rows(self._queries["count_states"], {}):
                state = state_of(number)
                by_state[state] = by_state.get(state, 0) + count
            leased = self._rows(self._queries["count_leased"], {"now": self._now_us()})[0][0]
            return StoreCounts(by_state, leased)

    def _rows(self, statement: str, values: Sequence[object] | Mapping[str, object]) -> list[tuple[Any, ...]]:
        return list(self._iterate(statement, values))

    def row(self, name: str, /, **values: object) -> tuple[Any, ...] | None:
        """Run a statement and return its first row, None when there is none."""
        return next(iter(self._iterate(self._queries[name], values)), None)

    def _position(self) -> Position:
        return Position(*self._rows(self._queries["read_position"], {})[0])

    def _job(self, row: tuple[Any, ...], *, full: bool) -> Job:
        if not full:
            return job_of(row, payload=None, result=None)
        plain, (p_form, p_type, p_enc, p_size, p_data, r_form, r_type, r_enc, r_size, r_data) = row[:-10], row[-10:]
        key = row[0]
        payload = content_of(p_form, p_type, p_enc, self._data(2 * key, p_form, p_size, p_data))
        result = content_of(r_form, r_type, r_enc, self._data(2 * key + 1, r_form, r_size, r_data))
        job = job_of(plain, payload=payload, result=result)
        return replace(job, attempts=self._attempts(job))

    def _data(self, content_id: int, form: int | None, size: int, inline: bytes | None) -> bytes:
        if form is None or inline is not None or size == 0:
            return inline or b""
        rows = self._rows(self._queries["read_content"], {"id": content_id})
        return bytes(rows[0][0])

    def _attempts(self, job: Job) -> tuple[Attempt, ...]:
        """The attempts that ended badly, and the running or successful one, newest last."""
        rows = self._rows(self._queries["read_attempts"], {"key": job.key})
        attempts = [
            Attempt(
                number=number, worker_id=worker, start_time_us=start, finish_time_us=finish, error=decode_error(error)
            )
            for number, worker, start, finish, error in rows
        ]
        status = job.status
        if status.state in (State.PROCESSING, State.COMPLETED) and status.start_time_us is not None:
            attempts.append(
                Attempt(
                    number=status.attempt,
                    worker_id=status.worker_id,
                    start_time_us=status.start_time_us,
                    finish_time_us=status.finish_time_us,
                )
            )
        return tuple(attempts)

    def _events_of(self, tenant: str, job_ids: Sequence[str], after: int, limit: int) -> list[JobEvent]:
        """Events of some jobs in revision order, also of jobs that are gone."""
        values = {"tenant": tenant, "ids": json.dumps(list(job_ids)), "after": after, "limit": limit}
        return [event_of(row) for row in self._rows(self._queries["read_job_events"], values)]


def _content_size(job: Job) -> int:
    size = 0
    for content in (job.spec.payload, job.status.result):
        if isinstance(content, Content):
            size += len(content.data)
    return size
