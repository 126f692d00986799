"""A backup that is opened is a new life of its store: nothing that the old one gave out is taken for another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from jobwire_server.domain.job import State
from jobwire_server.domain.outcome import Released, Succeeded
from jobwire_server.store.base import Lease, Report, ReportCode, Submitted
from jobwire_server.store.sqlite.copying import back_up
from jobwire_server.store.sqlite.visiting import read_status
from tests.helpers.factories import new_job
from tests.helpers.stores import REMOTE, RESULT, US, StoreRig

pytestmark = pytest.mark.asyncio


def _back_up(rig: StoreRig, name: str = "backup.db") -> Path:
    assert rig.path is not None
    target = rig.path.with_name(name)
    back_up(rig.path, target, overwrite=False, clock=rig.clock, progress=lambda _done, _total: None)
    return target


async def _open_copy(rig: StoreRig, backup: Path, name: str) -> StoreRig:
    """Open a copy of the backup as a server would that finds it under this name."""
    rig.clock.advance(1)
    path = backup.with_name(name)
    path.write_bytes(backup.read_bytes())  # noqa: ASYNC240 - as `cp` would
    life = StoreRig(path)
    life.clock = rig.clock
    await life.open()
    return life


async def _report_all(rig: StoreRig, leases: Sequence[Lease]) -> set[ReportCode]:
    answers = await rig.store.report([Report(lease.key, lease.fence, Succeeded(RESULT)) for lease in leases])
    return {answer.code for answer in answers}


async def test_a_backup_that_is_opened_draws_a_new_epoch_once(file_rig: StoreRig) -> None:
    rig = file_rig
    await rig.add(job_id="a")
    before = await rig.store.position()
    life = await _open_copy(rig, _back_up(rig), "life.db")

    first = await life.store.position()
    await life.reopen()

    assert first.epoch != before.epoch
    assert first.revision == before.revision
    assert (await life.store.position()).epoch == first.epoch, "the second opening is no restore"
    assert await life.state("a") is State.PENDING
    [line] = [line for line in life.logged() if line["event"] == "store.restored"]
    assert (line["previous_epoch"], line["epoch"]) == (before.epoch, first.epoch)
    await life.close()


async def test_the_store_that_was_backed_up_stays_what_it_was(file_rig: StoreRig) -> None:
    rig = file_rig
    await rig.add(job_id="a")
    before = rig.dump()
    _back_up(rig)
    assert rig.dump() == before


async def test_what_was_leased_when_the_backup_was_made_is_handed_back_before_the_first_lease(
    file_rig: StoreRig,
) -> None:
    rig = file_rig
    await rig.add(job_id="ours")
    await rig.lease_one(owner=US)
    await rig.add(job_id="remote")
    held = await rig.lease_one(owner=REMOTE, lease_s=3600)
    life = await _open_copy(rig, _back_up(rig), "life.db")

    recovered = await life.store.recover(instance_id="new", limit=10)

    assert recovered.returned == 2
    assert await _report_all(life, [held]) == {ReportCode.LEASE_LOST}
    assert await life.state("remote") is State.PENDING
    await life.close()


async def test_a_crash_between_the_new_life_and_its_recovery_leaves_no_old_lease_standing(file_rig: StoreRig) -> None:
    rig = file_rig
    await rig.add(job_id="remote")
    held = await rig.lease_one(owner=REMOTE, lease_s=3600)
    life = await _open_copy(rig, _back_up(rig), "life.db")
    epoch = (await life.store.position()).epoch

    await life.crash()
    await life.store.recover(instance_id="new", limit=10)

    assert (await life.store.position()).epoch == epoch
    assert await _report_all(life, [held]) == {ReportCode.LEASE_LOST}
    await life.close()


async def test_a_late_report_of_the_old_life_never_meets_a_lease_of_the_new_one(file_rig: StoreRig) -> None:
    """Both lives lease the same job as often, and create a job."""
    rig = file_rig
    await rig.add(job_id="old")
    backup = _back_up(rig)
    worked_on = [await _leased_three_times(rig)]
    await rig.add(job_id="after-the-backup")
    worked_on.append([await rig.lease_one(owner=REMOTE)])

    life = await _open_copy(rig, backup, "life.db")
    mine = await _leased_three_times(life)
    await life.add(job_id="new")
    newest = await life.lease_one(owner=REMOTE)

    late = [lease for leases in worked_on for lease in leases]
    assert newest.key not in {lease.key for lease in late}
    assert await _report_all(life, late) == {ReportCode.LEASE_LOST}
    assert await _report_all(life, [mine[-1], newest]) == {ReportCode.RECORDED}
    await life.close()


async def test_revisions_of_a_new_life_are_above_all_that_anybody_has_seen(file_rig: StoreRig) -> None:
    """A watcher of one job knows its revision and no epoch: what happens now must not look older than that."""
    rig = file_rig
    await rig.add(job_id="watched")
    before = await rig.store.position()
    backup = _back_up(rig)
    for _ in range(50):
        await rig.add()
    seen = (await rig.store.position()).revision

    life = await _open_copy(rig, backup, "life.db")
    assert (await life.store.position()).revision == before.revision, "nothing has happened yet"
    await life.store.cancel("default", "watched")
    await life.add(job_id="new")
    await life.reopen()
    await life.add(job_id="newer")

    [_, cancelled] = await life.events("watched")
    [created] = await life.events("new")
    [later] = await life.events("newer")
    assert seen < cancelled.revision < created.revision < later.revision < 2**53
    assert [event.revision for event in await life.events(after=before.revision)] == [
        cancelled.revision, created.revision, later.revision,
    ]  # fmt: skip
    await life.close()


async def test_two_lives_from_one_backup_do_not_meet_either(file_rig: StoreRig) -> None:
    rig = file_rig
    await rig.add(job_id="a")
    backup = _back_up(rig)
    first = await _open_copy(rig, backup, "first.db")
    late = await _leased_three_times(first)

    second = await _open_copy(rig, backup, "second.db")
    mine = await _leased_three_times(second)

    assert {lease.fence for lease in late}.isdisjoint(lease.fence for lease in mine)
    assert min(lease.fence for lease in mine) > max(lease.fence for lease in late)
    assert await _report_all(second, late) == {ReportCode.LEASE_LOST}
    await first.close()
    await second.close()


async def test_fences_of_a_new_life_rise_one_by_one(file_rig: StoreRig) -> None:
    rig = file_rig
    await rig.add(job_id="a")
    life = await _open_copy(rig, _back_up(rig), "life.db")

    first, second, third = (lease.fence for lease in await _leased_three_times(life))

    assert (second - first, third - second) == (1, 1)
    assert first < 2**53, "languages whose numbers are doubles must tell fences apart"
    await life.close()


async def test_a_repeated_submit_finds_its_job_in_the_new_life(file_rig: StoreRig) -> None:
    rig = file_rig
    receipt = await rig.submit(new_job(request_id="once", fingerprint=b"f"))
    life = await _open_copy(rig, _back_up(rig), "life.db")

    again = await life.submit(new_job(request_id="once", fingerprint=b"f"))

    [before], [after] = receipt.answers, again.answers
    assert isinstance(before, Submitted)
    assert isinstance(after, Submitted)
    assert (after.job_id, after.created) == (before.job_id, False)
    await life.close()


async def test_a_backup_of_a_backup_is_dated_by_what_is_in_it(file_rig: StoreRig) -> None:
    rig = file_rig
    backup = _back_up(rig)
    made = read_status(backup).backup_us
    rig.clock.advance(60)
    again = backup.with_name("again.db")
    back_up(backup, again, overwrite=False, clock=rig.clock, progress=lambda _done, _total: None)
    assert read_status(again).backup_us == made == rig.clock.wall_us() - 60_000_000


async def _leased_three_times(rig: StoreRig) -> list[Lease]:
    """Lease the only job that waits, give it back, twice, and keep it the third time."""
    leases = []
    for turn in range(3):
        lease = await rig.lease_one(owner=REMOTE)
        leases.append(lease)
        if turn < 2:
            assert (await rig.report(lease, Released())).code is ReportCode.RECORDED
    return leases
