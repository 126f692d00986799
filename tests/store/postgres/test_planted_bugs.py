"""Bugs that others had, put in on purpose (promises B12, B13, B17, B25): what holds without them is seen to break.

B16, revisions from a sequence, stands beside what it breaks in `test_many_servers.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from jobwire_server.domain.errors import QueueFull, StoreUnavailable
from jobwire_server.store.base import Lane, Submission
from jobwire_server.store.postgres import store as postgres
from jobwire_server.store.postgres.transaction import PostgresTransaction, WriterState
from jobwire_server.store.postgres.writer import Writer
from jobwire_server.store.queries import load
from tests.helpers.factories import new_job
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import REMOTE, SECOND_US
from tests.store.postgres.conftest import Neighbour
from tests.store.postgres.test_many_servers import WAYS, Ear

pytestmark = pytest.mark.asyncio

BOTH = pytest.mark.parametrize("planted", [False, True], ids=["as it is", "planted"])


# --- B12: a claim whose inner query is run again and again ------------------------------------------------------------

_AGAIN_AND_AGAIN = """
WITH leased AS (
UPDATE job
SET
  state = %(state)s::smallint, attempt = attempt + %(attempt_step)s::integer, fence = fence + %(fence_step)s::integer,
  revision = %(base)s::bigint + key, sequence = sequence + 1, change_us = %(now)s::bigint, start_us = %(now)s::bigint,
  lease_expire_us = %(now)s::bigint + %(lease_us)s::bigint + 0 * %(grace_us)s::bigint,
  transport = %(transport)s::smallint, instance_id = %(instance_id)s::text, worker_id = %(worker_id)s::text
WHERE key = (
  SELECT inner_job.key
  FROM job AS inner_job
  WHERE inner_job.state = 2 AND (job.key > 0)
  ORDER BY inner_job.key = job.key DESC
  LIMIT jsonb_array_length(%(keys)s::jsonb)
)
RETURNING key
)
SELECT json_agg(json_build_array(key))::text FROM leased
"""
"""Without MATERIALIZED a planner may do this: it asks for the next jobs once for every row that it looks at."""


@BOTH
async def test_no_claim_leases_more_than_it_was_asked_for(
    postgres_rig: PostgresRig, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    rig = postgres_rig
    await rig.submit(*(new_job() for _ in range(20)))
    if planted:
        await rig.close()
        monkeypatch.setattr(postgres, "load", lambda folder: {**load(folder), "lease_jobs": _AGAIN_AND_AGAIN})
        await rig.open()
        with pytest.raises(AssertionError, match="20 jobs were leased where 1 had been chosen"):
            await rig.lease(1)
        assert rig.sql("SELECT count(*) FROM job WHERE state = 3") == [(0,)], "nothing of it was committed"
        return
    assert len(await rig.lease(1)) == 1
    assert rig.sql("SELECT count(*) FROM job WHERE state = 3") == [(1,)]


# --- B13: leases by the clock of a server -----------------------------------------------------------------------------


@BOTH
async def test_no_lease_ends_by_the_clock_of_a_server(
    postgres_rig: PostgresRig, neighbour: Neighbour, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    rig = postgres_rig
    await rig.add()
    await rig.lease(owner=REMOTE, lease_s=60)
    wrong = await neighbour()
    rig.clock.jump_wall(3600)
    if planted:
        begin = WriterState.begin

        def by_own_clock(state: WriterState, connection: Any) -> PostgresTransaction:
            transaction = begin(state, connection)
            transaction.now_us = rig.clock.wall_us()
            return transaction

        monkeypatch.setattr(WriterState, "begin", by_own_clock)
    assert (await wrong.expire_leases(limit=10)).changed == int(planted)


# --- B17: NOTIFY as the only wake-up ----------------------------------------------------------------------------------


@BOTH
async def test_a_commit_of_which_nobody_was_notified_is_found_all_the_same(
    postgres_rig: PostgresRig, neighbour: Neighbour, planted: bool
) -> None:
    silent = await neighbour(notify=False)
    listener = await neighbour(**WAYS["notify"] if planted else WAYS["notify"] | {"poll_us": SECOND_US // 50})
    ear = Ear(listener)
    await (await neighbour(**WAYS["notify"])).submit(Submission("default", [new_job(queue="near")]))
    await ear.until(lambda notice: Lane("near", "work") in notice.pending)
    await silent.submit(Submission("default", [new_job(queue="far")]))
    try:
        async with asyncio.timeout(2):  # a hundred times as long as it takes to look
            await ear.until(lambda notice: Lane("far", "work") in notice.pending)
    except TimeoutError:
        assert planted
    else:
        assert not planted


# --- B25: what a transaction did is believed before it was committed --------------------------------------------------


@BOTH
async def test_what_was_rolled_back_is_not_remembered(
    postgres_rig: PostgresRig, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    rig = postgres_rig
    await rig.configure(max_depth=3)
    await rig.add()
    await rig.close()
    cuts = iter([True] * 4 + [False] * 100)

    def cut(name: str) -> None:
        if name == "group.before_commit" and next(cuts):
            rig.cut()

    rig.failpoint = cut
    if planted:
        _believe_too_early(monkeypatch)
    await rig.open()
    for _ in range(4):
        with pytest.raises(StoreUnavailable):
            await rig.submit(new_job())
    taken = [not isinstance(answer, Exception) for answer in [await _answer(rig) for _ in range(3)]]
    assert (taken == [True, True, False]) is not planted, taken


def _believe_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer takes what a transaction has done for true when it asks for the COMMIT."""
    commit: Callable[[Writer], None] = Writer._send_commit
    begin = WriterState.begin
    opened: list[PostgresTransaction] = []

    def remember(state: WriterState, connection: Any) -> PostgresTransaction:
        opened.append(begin(state, connection))
        return opened[-1]

    def send(writer: Writer) -> None:
        state = writer._state
        if state._depth is not None:
            state._depth = state._depth[0] + opened[-1].depth_change, state._depth[1]
        commit(writer)

    monkeypatch.setattr(WriterState, "begin", remember)
    monkeypatch.setattr(Writer, "_send_commit", send)


async def _answer(rig: PostgresRig) -> object:
    receipt = await rig.store.submit(Submission("default", [new_job()]))
    answer = receipt.answers[0]
    assert not isinstance(answer, Exception) or isinstance(answer, QueueFull)
    return answer
