"""What happens by itself: recovery, sweeps, time, crashes."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import rule

from jobwire_server.domain.job import SECOND_US, State
from tests.store.lives.life import EVENT_AGE_S, EVENTS_KEPT, Life
from tests.store.model import ModelJob


class Sweeping(Life):
    """What nobody asks for."""

    @rule(instance_id=st.sampled_from(["boot-1", "boot-2", "boot-3"]), limit=st.sampled_from([1, 2, 100]))
    def recover(self, instance_id: str, limit: int) -> None:
        """A server starts under this name and recovers, batch by batch."""
        expected = self.model.recover(instance_id)
        totals = {State.PENDING: 0, State.FAILED: 0, State.CANCELLED: 0}
        for _ in range(len(expected) + 2):
            batch = self.run(self.rig.store.recover(instance_id=instance_id, limit=limit))
            totals[State.PENDING] += batch.returned
            totals[State.FAILED] += batch.failed
            totals[State.CANCELLED] += batch.cancelled
            if not batch.more:
                break
        else:
            raise AssertionError("recovery never ends")
        ends = [State.CANCELLED if job.state is State.EXPIRED else job.state for job in expected]
        assert totals == {state: ends.count(state) for state in totals}

    def sweep(self, name: str, limit: int, expected: Sequence[ModelJob]) -> None:
        """Repeat a bounded sweep until it says that nothing is left."""
        changed = 0
        for _ in range(len(expected) + 2):
            result = self.run(getattr(self.rig.store, name)(limit=limit))
            assert result.changed <= limit
            changed += result.changed
            if not result.more:
                break
        assert changed == len(expected)

    @rule(limit=st.sampled_from([1, 3, 100]))
    def expire_leases(self, limit: int) -> None:
        """End the leases that are over."""
        self.sweep("expire_leases", limit, self.model.expire_leases())

    @rule(limit=st.sampled_from([1, 3, 100]))
    def promote_due(self, limit: int) -> None:
        """Promote what is due."""
        self.sweep("promote_due", limit, self.model.promote_due())

    @rule(limit=st.sampled_from([1, 3, 100]))
    def expire_jobs(self, limit: int) -> None:
        """Expire what waited too long."""
        self.sweep("expire_jobs", limit, self.model.expire_jobs())

    @rule()
    def purge(self) -> None:
        """Remove what has outlived its retention, the log included."""
        self.run(self.rig.store.purge(limit=1000))
        self.model.purge()
        self._read_log()
        old_us = self.model.now_us - EVENT_AGE_S * SECOND_US
        gone = [one.revision for one in self.log if one.revision <= self.newest - EVENTS_KEPT and one.time_us < old_us]
        self.floor = max([self.floor, *gone])

    @rule(seconds=st.sampled_from([0.5, 1, 1, 3, 10, 15, 120, 86_400, 8 * 86_400, 31 * 86_400]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._read_log()
        self.rig.clock.advance(seconds)
        self.model.now_us += round(seconds * SECOND_US)

    @rule(seconds=st.sampled_from([-7200, -1, 1, 7200]))
    def jump_wall_clock(self, seconds: int) -> None:
        """Somebody sets the server's clock. A store in a file notices at its next start, and only forwards; one in a
        database never does."""
        self.rig.clock.jump_wall(seconds)

    def _restarted(self) -> None:
        newest_us = self.log[-1].time_us if self.log and self.log[-1].revision > self.floor else 0
        self.model.now_us = self.rig.time_after_restart(newest_us)

    @rule()
    def crash(self) -> None:
        """Killed at this instant, and started again."""
        self.run(self.rig.crash())
        self._restarted()

    @rule()
    def restart(self) -> None:
        """Stopped in order, and started again."""
        self.run(self.rig.reopen())
        self._restarted()
