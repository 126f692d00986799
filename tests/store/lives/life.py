"""What every part of a random life shares: the store, the model beside it, and what holds after each step."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant

from jobwire_server.domain.errors import JobwireError, Refused
from jobwire_server.domain.job import SECOND_US, Content
from jobwire_server.store.base import EventKind, JobEvent, Lane, Lease, Owner, Transport
from tests.helpers.stores import StoreRig
from tests.store.model import Change, Model, ModelJob

T = TypeVar("T")

TENANTS = ("default", "red")
LANES = (Lane("a", "x"), Lane("a", "y"), Lane("b", "x"))
OWNERS = (
    Owner("pool", "boot-1", Transport.DIRECT),
    Owner("pool", "boot-2", Transport.DIRECT),
    Owner("remote", "elsewhere", Transport.STREAM),
    Owner("remote", "elsewhere", Transport.UNARY),
)
CHECKPOINT = Content(b"1", "c/p")
EVENTS_KEPT = 25
EVENT_AGE_S = 60
ROW = (
    "SELECT tenant, id, state, attempt, max_attempts, fence, losses, sequence, due_us, lease_expire_us, finish_us, "
    "cancel_us IS NOT NULL, checkpointed, instance_id, transport FROM job"
)

tenants = st.sampled_from(TENANTS)
picks = st.integers(0, 1000)
lanes = st.sampled_from(LANES)


class Life(RuleBasedStateMachine):
    """A store on a file, and the model that is led through the same verbs. The rules are in the other files."""

    leases: Bundle[Lease] = Bundle("leases")
    cursors: Bundle[int] = Bundle("cursors")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.rig = self.new_rig(
            event_retention_us=EVENT_AGE_S * SECOND_US,
            event_retention_count=EVENTS_KEPT,
            inline_content_bytes=8,
        )
        self.run(self.rig.open())
        self.model = Model(self.rig.clock.wall_us())
        self.log: list[JobEvent] = []
        self.floor = 0
        self.expected: list[Change] = []
        self.ids = itertools.count(1)

    def new_rig(self, **settings: Any) -> StoreRig:
        """The store that is driven."""
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="jobwire-model-", dir=memory if memory.is_dir() else None))
        return StoreRig(self.folder / "jobs.db", **settings)

    def remove_rig(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder)

    def run(self, verb: Coroutine[Any, Any, T]) -> T:
        """Wait for one verb."""
        return self.runner.run(verb)

    def refusal(self, verb: Coroutine[Any, Any, object]) -> type[JobwireError] | None:
        """Wait for one verb; return what it was refused with."""
        try:
            self.run(verb)
        except Refused as error:
            return type(error)
        return None

    def job(self, pick: int) -> ModelJob | None:
        """Any job of the model; None when there is none."""
        jobs = list(self.model.jobs.values())
        return jobs[pick % len(jobs)] if jobs else None

    def teardown(self) -> None:
        """Check the store once more from end to end."""
        try:
            self.run(self.rig.close())
            self.runner.close()
        finally:
            self.remove_rig()

    @initialize(target=cursors)
    def begin(self) -> int:
        """A watch from the very beginning."""
        return 0

    @property
    def newest(self) -> int:
        """The newest revision seen."""
        return self.log[-1].revision if self.log else 0

    @invariant()
    def the_table_holds_what_the_model_holds(self) -> None:
        """Every row, in everything that decides what may happen next."""
        rows = {row[:2]: row for row in self.rig.sql(ROW)}
        assert rows == {name: job.row() for name, job in self.model.jobs.items()}

    @invariant()
    def every_change_has_its_event_and_every_event_its_change(self) -> None:
        """The log grew by what the model did, job by job in order, with rising revisions."""
        self._read_log()
        assert sorted(self.expected) == sorted(self.model.changes)
        self.expected.clear()
        self.model.changes.clear()
        position = self.run(self.rig.store.position())
        assert (position.revision, position.compacted) == (self.newest, self.floor)

    def _read_log(self) -> None:
        for event in self.run(self.rig.store.events(after=max(self.newest, self.floor), limit=10_000)):
            assert event.revision > self.newest
            assert event.time_us == self.model.now_us
            assert (event.previous_state is None) == (event.kind is EventKind.CREATED)
            self.log.append(event)
            change = (event.sequence, event.previous_state, event.state, event.attempt, event.fence)
            self.expected.append(Change((event.tenant, event.job_id), *change))
