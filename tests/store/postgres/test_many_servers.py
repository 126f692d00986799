"""Any number of servers on one database, each equal to the others: what one does all know, and none undoes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Succeeded
from jobwire_server.store.base import (
    CommitNotice,
    JobEvent,
    Lane,
    LeaseRequest,
    LeaseUpdate,
    Owner,
    ProgressNote,
    Report,
    ReportCode,
    Submission,
)
from jobwire_server.store.postgres.store import PostgresStore
from tests.helpers.factories import new_job
from tests.helpers.postgres_rig import PostgresRig
from tests.helpers.stores import REMOTE, SECOND_US, US, WORK
from tests.store.postgres.conftest import Neighbour

pytestmark = pytest.mark.asyncio

PATIENCE = 20.0
NEXT = "incarnation-9"
PRESENT = {"presence_us": 60 * SECOND_US}


# --- recovery beside the living -------------------------------------------------------------------------------------


async def test_a_second_server_that_starts_takes_nothing_from_the_first(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    rig = postgres_rig
    first = await neighbour(**PRESENT)
    await first.recover(instance_id=US.instance_id, limit=100)
    await rig.submit(*(new_job() for _ in range(100)))
    assert len(await first.lease(LeaseRequest(US, [WORK], 100, 30 * SECOND_US))) == 100

    second = await neighbour(**PRESENT)
    assert (await second.recover(instance_id=NEXT, limit=1000)).returned == 0
    assert (await second.counts()).by_state == {State.PROCESSING: 100}


async def test_a_process_of_the_pool_of_a_server_that_is_there_keeps_its_leases(postgres_rig: PostgresRig) -> None:
    rig = postgres_rig
    rig.tamper(f"INSERT INTO server VALUES ('first', {rig.clock.time_us + 60 * SECOND_US})")
    await rig.add()
    await rig.lease(lease_s=3600, owner=Owner.in_pool("pool-first", "first", "process-1"))

    assert (await rig.store.recover(instance_id=NEXT, limit=10)).returned == 0
    rig.clock.advance(61)
    assert (await rig.store.recover(instance_id=NEXT, limit=10)).returned == 1


async def test_what_a_dead_server_ran_goes_back_when_it_has_been_silent_for_long(postgres_rig: PostgresRig) -> None:
    rig = postgres_rig
    rig.tamper(f"INSERT INTO server VALUES ('{US.instance_id}', {rig.clock.time_us + 60 * SECOND_US})")
    await rig.add()
    await rig.lease(lease_s=3600)

    rig.clock.advance(59)
    assert (await rig.store.recover(instance_id=NEXT, limit=10)).returned == 0
    rig.clock.advance(2)
    assert (await rig.store.recover(instance_id=NEXT, limit=10)).returned == 1


async def test_what_a_server_ran_that_was_stopped_goes_back_at_once(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    rig = postgres_rig
    first = await neighbour(**PRESENT)
    await first.recover(instance_id=US.instance_id, limit=100)
    await rig.add()
    await first.lease(LeaseRequest(US, [WORK], 1, 3600 * SECOND_US))
    await first.close()
    assert (await rig.store.recover(instance_id=NEXT, limit=10)).returned == 1


async def test_servers_that_are_gone_are_forgotten(postgres_rig: PostgresRig, neighbour: Neighbour) -> None:
    rig = postgres_rig
    for number in range(5):
        rig.tamper(f"INSERT INTO server VALUES ('boot-{number}', {rig.clock.time_us + 60 * SECOND_US})")
    rig.clock.advance(61)
    await (await neighbour(**PRESENT)).recover(instance_id="boot-9", limit=1)
    assert rig.sql("SELECT instance_id FROM server") == [("boot-9",)]


# --- one truth --------------------------------------------------------------------------------------------------------


async def test_a_worker_may_report_to_any_server(postgres_rig: PostgresRig, neighbour: Neighbour) -> None:
    job_id = await postgres_rig.add()
    lease = await postgres_rig.lease_one(owner=REMOTE)
    [answer] = await (await neighbour()).report([Report(lease.key, lease.fence, Succeeded())])
    assert answer.code is ReportCode.RECORDED
    assert await postgres_rig.state(job_id) is State.COMPLETED


async def test_a_request_that_reaches_two_servers_at_once_makes_one_job(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    other = await neighbour()
    for number in range(20):
        submission = Submission("default", [new_job(request_id=f"k{number}", fingerprint=b"f")])
        receipts = await _together(postgres_rig.store.submit(submission), other.submit(submission))
        assert sorted(receipt.answers[0].created for receipt in receipts) == [False, True]


async def test_servers_that_ask_for_jobs_together_get_each_job_once_and_never_more_than_they_asked_for(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    await postgres_rig.submit(*(new_job() for _ in range(120)))
    stores = [postgres_rig.store, await neighbour(), await neighbour()]

    async def work(store: Any, worker: str) -> list[int]:
        keys: list[int] = []
        owner = REMOTE._replace(instance_id=worker)
        while leases := await store.lease(LeaseRequest(owner, [WORK], 7, 60 * SECOND_US)):
            assert len(leases) <= 7
            keys += [lease.key for lease in leases]
        return keys

    taken = await _together(*(work(store, f"worker-{number}") for number, store in enumerate(stores)))
    keys = [key for keys in taken for key in keys]
    assert len(keys) == len(set(keys)) == 120


async def test_the_bound_of_unfinished_jobs_holds_over_all_servers(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    stores = [await neighbour(max_depth=10), await neighbour(max_depth=10)]
    made = 0
    for number in range(16):
        receipt = await stores[number % 2].submit(Submission("default", [new_job()]))
        made += not isinstance(receipt.answers[0], Exception)
    assert made == 10
    lease = await postgres_rig.lease_one()
    await postgres_rig.report(lease, Succeeded())
    receipts = [await store.submit(Submission("default", [new_job()])) for store in stores]
    assert [isinstance(receipt.answers[0], Exception) for receipt in receipts] == [False, True]


async def test_a_server_whose_own_clock_is_an_hour_wrong_changes_nothing(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    rig = postgres_rig
    rig.clock.jump_wall(3600)
    wrong = await neighbour()
    receipt = await wrong.submit(Submission("default", [new_job()]))
    assert receipt.time_us == rig.clock.time_us
    await rig.lease(owner=REMOTE, lease_s=30)
    assert (await wrong.expire_leases(limit=10)).changed == 0
    rig.clock.advance(30)
    assert (await wrong.expire_leases(limit=10)).changed == 1


async def test_a_row_that_somebody_holds_by_hand_is_passed_over_and_stops_nobody(postgres_rig: PostgresRig) -> None:
    rig = postgres_rig
    held, free = await rig.add(priority=9), await rig.add()
    due = await rig.add(schedule_time_us=rig.clock.time_us + SECOND_US, type="later")
    rig.clock.advance(1)
    with psycopg.connect(rig.url) as by_hand:
        by_hand.execute("SELECT 1 FROM jobwire.job WHERE id = ANY(%s) FOR UPDATE", ([held, due],))
        assert [lease.job_id for lease in await rig.lease(2)] == [free]
        assert (await rig.store.promote_due(limit=10)).changed == 0
    assert [lease.job_id for lease in await rig.lease(2)] == [held]
    assert (await rig.store.promote_due(limit=10)).changed == 1


# --- the order of events ----------------------------------------------------------------------------------------------


async def _watched_while_written(rig: PostgresRig, stores: list[PostgresStore]) -> tuple[list[int], list[int]]:
    """Let all servers write at once; return the revisions that a watcher saw go by, and those that are in the log."""
    seen: list[JobEvent] = []
    done = asyncio.Event()

    async def write(store: PostgresStore) -> None:
        for number in range(25):
            await store.submit(Submission("default", [new_job() for _ in range(1 + number % 7)]))

    async def watch() -> None:
        reader = stores[0]
        last = False
        while not last:
            last = done.is_set()
            cursor = seen[-1].revision if seen else 0
            seen.extend(await reader.events(after=cursor, limit=50))

    async def write_all() -> None:
        await _together(*(write(store) for store in stores))
        done.set()

    await _together(watch(), write_all())
    while more := await stores[0].events(after=seen[-1].revision, limit=1000):
        seen.extend(more)
    log = [revision for (revision,) in rig.sql("SELECT revision FROM event ORDER BY revision")]
    return [event.revision for event in seen], log


async def test_a_watcher_misses_nothing_and_sees_nothing_twice_while_servers_commit_side_by_side(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    seen, log = await _watched_while_written(postgres_rig, [await neighbour() for _ in range(3)])
    assert seen == log
    assert len(log) == 3 * sum(1 + number % 7 for number in range(25))


async def test_revisions_from_a_sequence_would_be_found_out(postgres_rig: PostgresRig, neighbour: Neighbour) -> None:
    """The planted bug (promises B16): each transaction takes a stretch of a sequence, and commits when it commits."""
    rig = postgres_rig
    rig.tamper("CREATE SEQUENCE stretch INCREMENT 1000 MINVALUE 1000")
    rig.tamper(
        "CREATE OR REPLACE FUNCTION jobwire.enter_write(lock_ms integer, statement_ms integer, idle_ms integer) "
        "RETURNS TABLE (epoch text, revision bigint, compacted bigint, now_us bigint) LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM jobwire.enter(statement_ms, idle_ms); "
        "RETURN QUERY SELECT m.epoch, nextval('jobwire.stretch'), m.compacted, jobwire.now_us() FROM jobwire.meta m; "
        "END $$"
    )
    stores = [await neighbour() for _ in range(3)]
    for _ in range(20):
        seen, log = await _watched_while_written(rig, stores)
        if seen != log:
            return
    pytest.fail("a watcher missed nothing, though revisions became visible out of order")


# --- what servers tell each other -------------------------------------------------------------------------------------


class Ear:
    """What the listeners of a store are told."""

    def __init__(self, store: PostgresStore) -> None:
        self._notices: list[CommitNotice] = []
        self._came = asyncio.Event()
        store.subscribe(self._hear)

    def _hear(self, notice: CommitNotice) -> None:
        self._notices.append(notice)
        self._came.set()

    async def until(self, wanted: Callable[[CommitNotice], bool]) -> CommitNotice:
        """Wait for a notice like this."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for notice in self._notices:
                    if wanted(notice):
                        return notice
                self._came.clear()
                await self._came.wait()


# Told by NOTIFY, with a poll that would take an hour; or by the poll alone.
WAYS = {"notify": {"poll_us": 3600 * SECOND_US}, "poll": {"notify": False, "poll_us": 20_000}}


@pytest.mark.parametrize("way", WAYS)
async def test_what_one_server_commits_the_others_are_told(
    postgres_rig: PostgresRig, neighbour: Neighbour, way: str
) -> None:
    rig = postgres_rig
    writer, listener = await neighbour(**WAYS[way]), await neighbour(**WAYS[way])
    ear = Ear(listener)

    receipt = await writer.submit(Submission("default", [new_job(queue="far")]))
    notice = await ear.until(lambda notice: Lane("far", "work") in notice.pending)
    assert notice.revision >= receipt.answers[0].revision

    await writer.submit(Submission("default", [new_job(schedule_time_us=rig.clock.time_us + 5 * SECOND_US)]))
    assert (await ear.until(lambda notice: notice.due_in_us is not None)).due_in_us == 5 * SECOND_US


async def test_a_server_whose_session_fails_while_it_reads_what_others_committed_reads_it_again(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    rig = postgres_rig
    listener, silent = await neighbour(**WAYS["notify"]), await neighbour(notify=False)
    ear, lost = Ear(listener), asyncio.Event()
    listener.on_reach(lambda reached: None if reached else lost.set())
    await silent.submit(Submission("default", [new_job(queue="far")]))
    rig.tamper("ALTER TABLE event RENAME COLUMN cancel_us TO unreadable")
    rig.tamper("NOTIFY jobwire")
    async with asyncio.timeout(PATIENCE):
        await lost.wait()
    rig.tamper("ALTER TABLE event RENAME COLUMN unreadable TO cancel_us")
    await ear.until(lambda notice: Lane("far", "work") in notice.pending)


@pytest.mark.parametrize("force", [False, True])
async def test_a_cancel_reaches_the_server_that_holds_the_worker(
    postgres_rig: PostgresRig, neighbour: Neighbour, force: bool
) -> None:
    rig = postgres_rig
    other, holder = await neighbour(**WAYS["notify"]), await neighbour(**WAYS["notify"])
    ear = Ear(holder)
    await rig.add()
    [lease] = await holder.lease(LeaseRequest(REMOTE, [WORK], 1, 30 * SECOND_US))
    await other.cancel("default", lease.job_id, force=force)
    await ear.until(lambda notice: (lease.key, lease.fence) in notice.cancelled)


@pytest.mark.parametrize("way", WAYS)
async def test_progress_reaches_every_server_but_the_one_that_heard_of_it(
    postgres_rig: PostgresRig, neighbour: Neighbour, way: str
) -> None:
    rig = postgres_rig
    hearing, other = await neighbour(**WAYS[way]), await neighbour(**WAYS[way])
    told: asyncio.Queue[tuple[str, ProgressNote]] = asyncio.Queue()
    hearing.subscribe_progress(lambda note: told.put_nowait(("hearing", note)))
    other.subscribe_progress(lambda note: told.put_nowait(("other", note)))
    await rig.add(queue="far", type="work")
    lease = await rig.lease_one(lanes=[Lane("far", "work")], owner=REMOTE)

    async def say(store: PostgresStore, percent: float, message: str | None) -> None:
        await store.extend([LeaseUpdate(lease.key, lease.fence, 60 * SECOND_US, percent, message)])

    async with asyncio.timeout(PATIENCE):
        await say(hearing, 30.0, "a third")
        note = ProgressNote("default", lease.key, lease.job_id, "far", "work", 1, 30.0, "a third")
        assert await told.get() == ("other", note)
        await say(other, 60.0, None)
        assert await told.get() == ("hearing", note._replace(percent=60.0))
    assert told.empty()


async def test_no_commit_goes_untold_whoever_made_it(postgres_rig: PostgresRig, neighbour: Neighbour) -> None:
    alone = await neighbour(**WAYS["poll"])
    ear = Ear(alone)
    for _ in range(30):
        await alone.submit(Submission("default", [new_job()]))
    other = await neighbour(**WAYS["poll"])
    receipt = await other.submit(Submission("default", [new_job(queue="other")]))
    await ear.until(lambda notice: Lane("other", "work") in notice.pending)
    revisions = [notice.revision for notice in ear._notices]
    assert revisions == list(range(1, receipt.answers[0].revision + 1)), "each once"


async def test_tables_that_the_database_takes_for_empty_are_counted_when_jobs_have_come(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    rig = postgres_rig
    rig.tamper("ANALYZE job, event")
    await neighbour(**WAYS["poll"])
    await rig.submit(*(new_job() for _ in range(2_000)))
    async with asyncio.timeout(PATIENCE):
        while rig.sql("SELECT reltuples FROM pg_class WHERE relname = 'job'")[0][0] < 2_000:
            await rig.store.position()


# --- a server that stops in the middle --------------------------------------------------------------------------------


async def test_a_server_that_freezes_in_the_middle_of_a_transaction_holds_up_the_others_for_a_moment_only(
    postgres_rig: PostgresRig, neighbour: Neighbour
) -> None:
    rig = postgres_rig
    frozen, thawed = threading.Event(), threading.Event()

    def freeze(name: str) -> None:
        if name == "group.before_commit" and not frozen.is_set():
            frozen.set()
            thawed.wait(PATIENCE)

    other = await neighbour()
    rig.failpoint = freeze
    freezing = await neighbour(idle_timeout_us=SECOND_US // 5)
    loop = asyncio.get_running_loop()

    async def submit_when_it_is_frozen() -> None:
        await loop.run_in_executor(None, frozen.wait, PATIENCE)
        await other.submit(Submission("default", [new_job()]))
        thawed.set()

    receipt, _ = await _together(freezing.submit(Submission("default", [new_job()])), submit_when_it_is_frozen())
    assert receipt.answers[0].created
    assert (await rig.store.counts()).by_state == {State.PENDING: 2}


async def _together(*verbs: Awaitable[Any]) -> list[Any]:
    async def answer(verb: Awaitable[Any]) -> Any:
        return await verb

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(verb)) for verb in verbs]
    return [task.result() for task in tasks]
