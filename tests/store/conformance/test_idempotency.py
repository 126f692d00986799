"""Clauses of `Store.submit` about request keys and chosen ids."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.domain.errors import JobIdTaken, JobNotFound, RequestIdReused
from jobwire_server.domain.job import State
from jobwire_server.store.base import Submitted
from tests.helpers.factories import new_job
from tests.helpers.stores import StoreRig

pytestmark = pytest.mark.asyncio
DAY = 86_400


def _keyed(request_id: str = "k", fingerprint: bytes = b"same", **fields: object) -> object:
    return new_job(request_id=request_id, fingerprint=fingerprint, **fields)


async def _submit_one(rig: StoreRig, *arguments: str, tenant: str = "default", **fields: object) -> object:
    return (await rig.submit(_keyed(*arguments, **fields), tenant=tenant)).answers[0]  # type: ignore[arg-type]


async def test_the_same_key_and_content_finds_the_first_job_and_changes_nothing(rig: StoreRig) -> None:
    first = await _submit_one(rig)
    assert isinstance(first, Submitted)
    before = rig.dump()
    again = await _submit_one(rig)
    assert again == first._replace(created=False)
    assert rig.dump() == before


async def test_the_found_job_is_shown_as_it_is_now(rig: StoreRig) -> None:
    first = await _submit_one(rig)
    assert isinstance(first, Submitted)
    await rig.store.cancel("default", first.job_id)
    again = await _submit_one(rig)
    assert isinstance(again, Submitted)
    assert (again.job_id, again.state, again.created) == (first.job_id, State.CANCELLED, False)
    assert again.revision > first.revision


async def test_the_same_key_with_other_content_is_refused_and_leaves_no_trace(rig: StoreRig) -> None:
    await _submit_one(rig)
    before = rig.dump()
    assert isinstance(await _submit_one(rig, fingerprint=b"other"), RequestIdReused)
    with pytest.raises(RequestIdReused):
        await rig.submit(new_job(), atomic=True, request_id="k", fingerprint=b"other")
    assert rig.dump() == before


async def test_a_key_belongs_to_its_tenant(rig: StoreRig) -> None:
    red = await _submit_one(rig, tenant="red")
    blue = await _submit_one(rig, tenant="blue", fingerprint=b"other")
    assert isinstance(red, Submitted)
    assert isinstance(blue, Submitted)
    assert red.created
    assert blue.created
    assert red.job_id != blue.job_id


async def test_without_a_key_the_same_content_makes_two_jobs(rig: StoreRig) -> None:
    assert await rig.add(fingerprint=b"same") != await rig.add(fingerprint=b"same")


async def test_many_callers_with_one_key_at_once_make_one_job(rig: StoreRig) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_submit_one(rig)) for _ in range(30)]
    answers = [task.result() for task in tasks]
    assert all(isinstance(answer, Submitted) for answer in answers)
    assert sum(answer.created for answer in answers) == 1  # type: ignore[attr-defined]
    assert len({answer.job_id for answer in answers}) == 1  # type: ignore[attr-defined]
    assert (await rig.store.counts()).by_state == {State.PENDING: 1}


async def test_one_key_twice_in_one_submission_makes_one_job(rig: StoreRig) -> None:
    receipt = await rig.submit(_keyed(), _keyed(), _keyed(fingerprint=b"other"))  # type: ignore[arg-type]
    first, second, third = receipt.answers
    assert isinstance(first, Submitted)
    assert second == first._replace(created=False)
    assert isinstance(third, RequestIdReused)


async def test_a_batch_is_found_again_whole_in_order_and_with_its_first_batch_id(rig: StoreRig) -> None:
    jobs = [new_job() for _ in range(5)]
    first = await rig.submit(*jobs, atomic=True, request_id="k", fingerprint=b"f", batch_id="b-1")
    before = rig.dump()
    others = [new_job() for _ in range(5)]
    again = await rig.submit(*others, atomic=True, request_id="k", fingerprint=b"f", batch_id="b-2")
    assert again.batch_id == "b-1"
    assert [answer.job_id for answer in again.answers] == [job.job_id for job in jobs]  # type: ignore[union-attr]
    assert not any(answer.created for answer in again.answers)  # type: ignore[union-attr]
    assert [answer.job_id for answer in first.answers] == [job.job_id for job in jobs]  # type: ignore[union-attr]
    assert rig.dump() == before


async def test_many_callers_with_one_batch_key_at_once_make_one_batch(rig: StoreRig) -> None:
    async def once() -> list[str]:
        jobs = [new_job() for _ in range(3)]
        receipt = await rig.submit(*jobs, atomic=True, request_id="k", fingerprint=b"f", batch_id="b")
        return [answer.job_id for answer in receipt.answers]  # type: ignore[union-attr]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(once()) for _ in range(20)]
    assert len({tuple(task.result()) for task in tasks}) == 1
    assert (await rig.store.counts()).by_state == {State.PENDING: 3}


async def test_a_refused_submission_does_not_use_up_its_key(rig: StoreRig) -> None:
    await rig.add(job_id="mine", id_chosen=True)
    assert isinstance(await _submit_one(rig, job_id="mine", id_chosen=True), JobIdTaken)
    with pytest.raises(JobIdTaken):
        await rig.submit(
            new_job(job_id="mine", id_chosen=True), atomic=True, request_id="batch", fingerprint=b"f", batch_id="b"
        )
    assert (await _submit_one(rig, fingerprint=b"other")).created  # type: ignore[attr-defined]
    await rig.submit(new_job(), atomic=True, request_id="batch", fingerprint=b"other", batch_id="b")


async def test_a_repeated_request_finds_its_job_even_though_its_chosen_id_is_taken_by_it(rig: StoreRig) -> None:
    first = await _submit_one(rig, job_id="mine", id_chosen=True)
    again = await _submit_one(rig, job_id="mine", id_chosen=True)
    assert isinstance(first, Submitted)
    assert again == first._replace(created=False)


async def test_a_key_outlives_its_day_as_long_as_its_job_lives(rig: StoreRig) -> None:
    first = await _submit_one(rig)
    assert isinstance(first, Submitted)
    rig.clock.advance(3 * DAY)
    await rig.store.purge(limit=1000)
    assert await _submit_one(rig) == first._replace(created=False)


async def test_a_key_is_kept_for_its_day_though_its_job_is_gone_and_makes_no_second_job(rig: StoreRig) -> None:
    first = await _submit_one(rig)
    assert isinstance(first, Submitted)
    await rig.store.cancel("default", first.job_id)
    await rig.store.delete("default", first.job_id)
    rig.clock.advance(DAY - 1)
    await rig.store.purge(limit=1000)
    assert isinstance(await _submit_one(rig), JobNotFound)
    assert isinstance(await _submit_one(rig, fingerprint=b"other"), RequestIdReused)


async def test_a_key_may_be_used_again_when_its_day_is_over_and_its_job_is_gone(rig: StoreRig) -> None:
    first = await _submit_one(rig)
    assert isinstance(first, Submitted)
    await rig.store.cancel("default", first.job_id)
    await rig.store.delete("default", first.job_id)
    rig.clock.advance(DAY + 1)
    await rig.store.purge(limit=1000)
    again = await _submit_one(rig, fingerprint=b"other")
    assert isinstance(again, Submitted)
    assert again.created


async def test_a_chosen_id_is_remembered_after_its_job_is_deleted_and_free_after_thirty_days(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.CANCELLED, job_id="mine", id_chosen=True)
    await rig.store.delete("default", job_id)
    assert isinstance((await rig.submit(new_job(job_id="mine", id_chosen=True))).answers[0], JobIdTaken)
    rig.clock.advance(30 * DAY - 1)
    await rig.store.purge(limit=1000)
    assert isinstance((await rig.submit(new_job(job_id="mine", id_chosen=True))).answers[0], JobIdTaken)
    rig.clock.advance(2)
    await rig.store.purge(limit=1000)
    await rig.add(job_id="mine", id_chosen=True)


async def test_an_id_that_the_server_made_leaves_no_tombstone(rig: StoreRig) -> None:
    job_id = await rig.job_in(State.CANCELLED)
    await rig.store.delete("default", job_id)
    assert rig.sql("SELECT * FROM tombstone") == []


async def test_keys_survive_a_crash(durable_rig: StoreRig) -> None:
    rig = durable_rig
    first = await _submit_one(rig)
    assert isinstance(first, Submitted)
    await rig.submit(new_job(), new_job(), atomic=True, request_id="batch", fingerprint=b"f", batch_id="b")
    await rig.crash()
    assert await _submit_one(rig) == first._replace(created=False)
    again = await rig.submit(new_job(), new_job(), atomic=True, request_id="batch", fingerprint=b"f")
    assert [answer.created for answer in again.answers] == [False, False]  # type: ignore[union-attr]
    assert (await rig.store.counts()).by_state == {State.PENDING: 3}
