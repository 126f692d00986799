"""What clients and watchers ask: cancel, retry, delete, lists, the log."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from jobwire_server.domain.errors import (
    JobNotFound,
    JobNotTerminal,
    JobSucceeded,
    JobTerminal,
    RevisionCompacted,
)
from jobwire_server.domain.job import SECOND_US, TERMINAL_STATES, Job, State
from jobwire_server.store.base import JobFilter, ListQuery
from tests.store.lives.life import Life, picks, tenants
from tests.store.model import ModelJob


class Asking(Life):
    """What clients do."""

    @rule(pick=picks, force=st.booleans())
    def cancel(self, pick: int, force: bool) -> None:
        """Cancel any job, in whatever state."""
        job = self.job(pick)
        if job is None:
            assert self.refusal(self.rig.store.cancel("default", "nobody")) is JobNotFound
            return
        refused = self.refusal(self.rig.store.cancel(*job.name, force=force))
        if job.state in TERMINAL_STATES - {State.CANCELLED}:
            assert refused is JobTerminal
        else:
            assert refused is None
            self.model.cancel(job, force=force)

    @rule(pick=picks, additional=st.sampled_from([0, 1, 3]), delay_s=st.sampled_from([None, -1, 5]))
    def retry(self, pick: int, additional: int, delay_s: int | None) -> None:
        """Retry any job, in whatever state."""
        job = self.job(pick)
        if job is None:
            return
        at_us = None if delay_s is None else self.model.now_us + delay_s * SECOND_US
        refused = self.refusal(self.rig.store.retry(*job.name, additional_attempts=additional, schedule_time_us=at_us))
        if job.state is State.COMPLETED:
            assert refused is JobSucceeded
        elif job.state not in TERMINAL_STATES:
            assert refused is JobNotTerminal
        else:
            assert refused is None
            self.model.retry(job, additional, at_us)

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        """Delete any job, in whatever state."""
        job = self.job(pick)
        if job is None:
            assert self.run(self.rig.store.delete("default", "nobody")) is False
        elif job.state in TERMINAL_STATES:
            assert self.run(self.rig.store.delete(*job.name)) is True
            self.model.delete(job)
        else:
            assert self.refusal(self.rig.store.delete(*job.name)) is JobNotTerminal

    @rule(pick=picks)
    def reach_for_the_job_of_another_tenant(self, pick: int) -> None:
        """As if it were not there."""
        job = self.job(pick)
        if job is None or ("blue", job.name[1]) in self.model.jobs:
            return
        stranger = ("blue", job.name[1])
        assert self.run(self.rig.store.get("blue", [job.name[1]], full=True)) == [None]
        assert self.refusal(self.rig.store.cancel(*stranger, force=True)) is JobNotFound
        assert self.refusal(self.rig.store.retry(*stranger)) is JobNotFound
        assert self.run(self.rig.store.delete(*stranger)) is False

    @rule(target=Life.cursors, cursor=Life.cursors, limit=st.integers(1, 10))
    def read_the_log(self, cursor: int, limit: int) -> int:
        """A watcher reads a page and keeps its cursor; it misses nothing and sees nothing twice."""
        if cursor < self.floor:
            assert self.refusal(self.rig.store.events(after=cursor, limit=limit)) is RevisionCompacted
            return self.floor
        page = self.run(self.rig.store.events(after=cursor, limit=limit))
        assert page == [event for event in self.log if event.revision > cursor][:limit]
        return page[-1].revision if page else cursor

    @rule(cursor=Life.cursors, tenant=tenants, pick=picks, other=picks)
    def read_a_part_of_the_log(self, cursor: int, tenant: str, pick: int, other: int) -> None:
        """Of a tenant, and of some jobs."""
        after = max(cursor, self.floor)
        page = self.run(self.rig.store.events(after=after, limit=1000, tenant=tenant))
        assert page == [event for event in self.log if event.revision > after and event.tenant == tenant]

        jobs = [job for job in (self.job(pick), self.job(other)) if job and job.tenant == "default"]
        ids = sorted({job.name[1] for job in jobs})
        if ids:
            page = self.run(self.rig.store.events(after=0, limit=1000, tenant="default", job_ids=ids))
            assert page == [
                event
                for event in self.log
                if event.revision > self.floor and event.tenant == "default" and event.job_id in ids
            ]

    @rule(
        tenant=tenants,
        limit=st.integers(1, 5),
        wanted=st.builds(
            JobFilter,
            queues=st.sampled_from([(), ("a",), ("a", "b")]),
            types=st.sampled_from([(), ("x",), ("y", "x")]),
            states=st.lists(st.sampled_from(State), max_size=3).map(tuple),
            labels=st.sampled_from([{}, {"l": "0"}]),
        ),
    )
    def list_jobs(self, tenant: str, limit: int, wanted: JobFilter) -> None:
        """All pages of a list."""
        expected = [job for job in self.model.jobs.values() if job.tenant == tenant and _matches(job, wanted)]
        found: list[Job] = []
        before: int | None = None
        while True:
            page = self.run(self.rig.store.list_jobs(tenant, ListQuery(wanted, limit, before)))
            found += page.jobs
            before = page.next_key
            if before is None:
                break
        assert [job.key for job in found] == sorted((job.key for job in expected), reverse=True)
        assert page.position.revision == self.newest

    @rule(pick=picks)
    def look(self, pick: int) -> None:
        """One job in full; numbers and lanes."""
        self._count()
        job = self.job(pick)
        if job is None:
            return
        [seen] = self.run(self.rig.store.get(job.tenant, [job.name[1]], full=True))
        assert seen is not None
        status = seen.status
        assert (status.state, status.attempt, status.max_attempts) == (job.state, job.attempt, job.max_attempts)
        assert (seen.key, seen.fence, seen.create_time_us) == (job.key, job.fence, job.create_us)
        assert (status.last_error.type if status.last_error else None) == job.error
        assert status.result == job.result
        assert (seen.batch_id, seen.spec.labels, seen.spec.expire_time_us) == (job.batch_id, job.labels, job.expire_us)
        assert (status.next_attempt_time_us is not None) == (job.state in (State.SCHEDULED, State.RETRYING))

    def _count(self) -> None:
        counts = self.run(self.rig.store.counts())
        states = [job.state for job in self.model.jobs.values()]
        assert counts.by_state == {state: states.count(state) for state in set(states)}
        pending = {job.lane for job in self.model.jobs.values() if job.state is State.PENDING}
        assert set(self.run(self.rig.store.pending_lanes(["x", "y"]))) == pending
        assert set(self.run(self.rig.store.pending_lanes(None))) == pending
        in_a = {lane for lane in pending if lane.queue == "a"}
        assert set(self.run(self.rig.store.pending_lanes(None, ["a", "c"]))) == in_a


def _matches(job: ModelJob, wanted: JobFilter) -> bool:
    return (
        (not wanted.queues or job.lane.queue in wanted.queues)
        and (not wanted.types or job.lane.type in wanted.types)
        and (not wanted.states or job.state in wanted.states)
        and all(job.labels.get(name) == value for name, value in wanted.labels.items())
    )
