"""How many jobs wait in the worker beyond its slots: as many as end soon."""

from __future__ import annotations

import asyncio

import pytest

from jobwire.app import App
from jobwire.worker.prefetch import MOST, Prefetch
from jobwire.worker.runtime import RuntimeSettings
from jobwire.worker.transport import Release
from tests.helpers.clock import ManualClock
from tests.worker.support import Gate, settled, working


def at_pace(per_second: float, seconds: float = 1.0, prefetch: Prefetch | None = None, start: float = 0.0) -> Prefetch:
    """A prefetch that saw jobs end at this pace, one by one."""
    prefetch = prefetch or Prefetch(None)
    for number in range(int(per_second * seconds) + 1):
        prefetch.note_ended(1, start + number / per_second)
    return prefetch


@pytest.mark.parametrize(
    ("per_second", "size"),
    [(0.25, 0), (5, 0), (16, 1), (100, 10), (2000, 200), (50_000, MOST)],
)
def test_what_may_wait_is_what_ends_within_a_tenth_of_a_second(per_second: float, size: int) -> None:
    assert at_pace(per_second, seconds=20 if per_second < 20 else 1).size == pytest.approx(size, rel=0.25, abs=0.5)


def test_it_follows_the_pace_down_as_well_as_up() -> None:
    prefetch = at_pace(2000)
    at_pace(20, 2.0, prefetch, start=1.0)
    assert prefetch.size <= 2


def test_a_pace_that_hardly_changes_is_not_worth_a_word() -> None:
    prefetch = at_pace(1000)
    before = prefetch.size
    told = [prefetch.note_ended(55, 1.0 + 0.05 * turn) for turn in range(1, 20)]
    assert not any(told[1:])
    assert prefetch.size == before


def test_outcomes_that_are_acknowledged_in_lumps_do_not_shrink_it() -> None:
    prefetch = at_pace(2000)
    before, lumps = prefetch.size, [160, 20, 60, 160, 10, 70]
    told = [prefetch.note_ended(lump, 1.0 + 0.05 * turn) for turn, lump in enumerate(lumps * 3, 1)]
    assert sum(told) <= 1
    assert prefetch.size >= before


def test_a_burst_that_ends_in_one_moment_is_no_pace() -> None:
    prefetch = Prefetch(None)
    assert not prefetch.note_ended(1000, 5.0)
    assert prefetch.note_ended(5, 5.25)
    assert prefetch.size == 2


def test_it_stalls_when_nothing_ends_for_a_second() -> None:
    prefetch = at_pace(1000, 1.0)
    assert not prefetch.has_stalled(1.9)
    assert prefetch.has_stalled(2.1)
    assert prefetch.size == 0
    assert not prefetch.has_stalled(9.0)


def test_a_fixed_number_never_moves() -> None:
    prefetch = at_pace(10_000, prefetch=Prefetch(7))
    assert prefetch.size == 7
    assert not prefetch.has_stalled(100.0)
    assert prefetch.size == 7


@pytest.mark.asyncio
async def test_quick_jobs_are_fetched_ahead_and_given_back_when_a_slow_one_stands_in_their_way() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    app.job("slow")(gate.wait)

    @app.job("quick")
    async def quick() -> None:
        pass

    with gate:
        async with working(app, slots=1, clock=clock) as worker:
            assert worker.server.windows == [1]
            for _ in range(200):
                clock.advance(0.001)
                await worker.server.outcome(worker.server.offer("quick"))
            await worker.server.until(lambda: worker.server.windows[-1] > 50)
            worker.server.offer("slow")
            await gate.arrived()
            waiting = worker.server.offer_many("quick", 30)
            assert set(waiting) < worker.server.leased
            await settled()
            clock.advance(1)
            for token in waiting:
                released = await worker.server.outcome(token)
                assert isinstance(released, Release)
                assert "waited too long" in released.reason
            await worker.server.until(lambda: worker.server.windows[-1] == 1)


@pytest.mark.asyncio
async def test_a_fixed_prefetch_is_kept_however_long_it_waits() -> None:
    app, gate, clock = App("test"), Gate(), ManualClock()
    app.job("slow")(gate.wait)
    with gate:
        async with working(app, slots=1, clock=clock, settings=RuntimeSettings(prefetch=2)) as worker:
            tokens = worker.server.offer_many("slow", 3)
            await gate.arrived()
            for _ in range(3):
                clock.advance(1)
                await settled()
            await asyncio.sleep(0)
            assert worker.server.leased == set(tokens)
            assert worker.server.outcomes == {}
