"""What is in flight together shares a commit; what is alone waits for nobody."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.store.base import CommitNotice
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio


async def test_submits_of_one_turn_of_the_loop_share_one_commit(file_rig: StoreRig) -> None:
    notices: list[CommitNotice] = []
    file_rig.store.subscribe(notices.append)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(64):
            tasks.create_task(file_rig.add())

    assert len(notices) == 1, "64 callers, one sync of the disk"


async def test_what_arrives_while_a_commit_syncs_shares_the_next_one(file_rig: StoreRig) -> None:
    notices: list[CommitNotice] = []
    file_rig.store.subscribe(notices.append)

    async def caller(calls: int) -> None:
        for _ in range(calls):
            await file_rig.add()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(16):
            tasks.create_task(caller(10))

    assert len(notices) <= 20, "160 submits by 16 callers take about 10 commits, never one each"


async def test_a_lease_finds_what_is_submitted_in_the_same_commit_and_leaves_nothing_to_come_for(
    file_rig: StoreRig,
) -> None:
    notices: list[CommitNotice] = []
    file_rig.store.subscribe(notices.append)

    async with asyncio.TaskGroup() as tasks:
        leasing = tasks.create_task(file_rig.lease(limit=2))
        tasks.create_task(file_rig.add())

    assert len(leasing.result()) == 1, "though it asked before the job was submitted"
    assert [notice.pending for notice in notices] == [frozenset()]


async def test_a_lease_that_does_not_take_all_leaves_word_of_the_rest(file_rig: StoreRig) -> None:
    notices: list[CommitNotice] = []
    file_rig.store.subscribe(notices.append)

    async with asyncio.TaskGroup() as tasks:
        leasing = tasks.create_task(file_rig.lease(limit=2))
        for _ in range(3):
            tasks.create_task(file_rig.add())

    assert len(leasing.result()) == 2
    assert [len(notice.pending) for notice in notices] == [1]


async def test_a_caller_alone_is_answered_though_nobody_joins_it(file_rig: StoreRig) -> None:
    notices: list[CommitNotice] = []
    file_rig.store.subscribe(notices.append)

    for _ in range(3):
        await file_rig.add()

    assert len(notices) == 3
