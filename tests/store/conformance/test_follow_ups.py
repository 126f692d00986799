"""Clauses of `Store.report` on follow-ups: a success and what it creates are one."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.domain.errors import JobIdTaken, QueueFull, RequestIdReused
from jobwire_server.domain.job import Content, NewJob, State
from jobwire_server.domain.outcome import Failed, Succeeded
from jobwire_server.store.base import EventKind, Lane, Lease, Report, ReportAnswer, ReportCode
from tests.helpers.factories import new_job
from tests.helpers.stores import ERROR, RESULT, SECOND_US, StoreRig

pytestmark = pytest.mark.asyncio


async def _lease(rig: StoreRig, **fields: object) -> Lease:
    await rig.add(**fields)
    return await rig.lease_one()


def _then(*jobs: NewJob) -> Succeeded:
    return Succeeded(RESULT, jobs)


async def test_follow_ups_are_created_with_the_success_in_one_commit(rig: StoreRig) -> None:
    lease = await _lease(rig)
    notices = len(rig.notices)
    answer = await rig.report(lease, _then(new_job(job_id="one", type="next"), new_job(job_id="two", queue="q")))
    assert answer == ReportAnswer(ReportCode.RECORDED, State.COMPLETED)
    assert [await rig.state(job_id) for job_id in (lease.job_id, "one", "two")] == [
        State.COMPLETED,
        State.PENDING,
        State.PENDING,
    ]
    [notice] = rig.notices[notices:]
    assert notice.pending == {Lane("default", "next"), Lane("q", "work")}


async def test_follow_ups_belong_to_the_tenant_of_their_job(rig: StoreRig) -> None:
    await rig.add(tenant="acme")
    await rig.report(await rig.lease_one(), _then(new_job(job_id="next")))
    assert await rig.state("next", tenant="acme") is State.PENDING
    assert await rig.store.get("default", ["next"], full=False) == [None]


async def test_a_follow_up_is_a_job_like_any_other(rig: StoreRig) -> None:
    lease = await _lease(rig)
    due_us = rig.clock.wall_us() + 60 * SECOND_US
    job = new_job(job_id="later", labels={"k": "v"}, payload=Content(bytes(5000)), schedule_time_us=due_us)
    await rig.report(lease, _then(job))
    assert rig.notices[-1].due_in_us == 60 * SECOND_US
    found = await rig.job("later")
    assert (found.status.state, found.spec.labels, found.spec.payload) == (State.SCHEDULED, {"k": "v"}, job.payload)
    assert [event.kind for event in await rig.events("later")] == [EventKind.CREATED]


async def test_a_refused_follow_up_refuses_the_report_and_changes_not_one_byte(rig: StoreRig) -> None:
    await rig.add(job_id="taken", id_chosen=True, type="other")
    lease = await _lease(rig)
    before = rig.dump()
    answer = await rig.report(lease, _then(new_job(), new_job(job_id="taken", id_chosen=True)))
    assert (answer.code, answer.state) == (ReportCode.REFUSED, State.PROCESSING)
    assert isinstance(answer.refusal, JobIdTaken)
    assert rig.dump() == before
    assert (await rig.extend(lease)).valid


async def test_the_lease_of_a_refused_report_can_be_reported_again(rig: StoreRig) -> None:
    await rig.add(job_id="taken", id_chosen=True, type="other")
    lease = await _lease(rig)
    await rig.report(lease, _then(new_job(job_id="taken", id_chosen=True)))
    assert (await rig.report(lease, _then(new_job()))).code is ReportCode.RECORDED


async def test_a_refused_report_takes_nobody_with_it(rig: StoreRig) -> None:
    await rig.add(job_id="taken", id_chosen=True, type="other")
    await rig.submit(*(new_job() for _ in range(5)))
    leases = await rig.lease(5)
    outcomes = [
        Succeeded(),
        _then(new_job(job_id="a"), new_job(job_id="taken", id_chosen=True)),
        _then(new_job(job_id="b")),
        Failed(ERROR),
        _then(new_job(job_id="taken", id_chosen=True), new_job(job_id="c")),
    ]
    answers = await rig.store.report(
        [Report(lease.key, lease.fence, outcome) for lease, outcome in zip(leases, outcomes, strict=True)]
    )
    recorded, refused = ReportCode.RECORDED, ReportCode.REFUSED
    assert [answer.code for answer in answers] == [recorded, refused, recorded, recorded, refused]
    assert [job and job.job_id for job in await rig.store.get("default", ["a", "b", "c"], full=False)] == [
        None,
        "b",
        None,
    ]


async def test_reports_in_flight_together_are_refused_each_on_its_own(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(8)))
    leases = await rig.lease(8)
    same = new_job(job_id="once", id_chosen=True)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(rig.report(lease, _then(same))) for lease in leases]
    codes = [task.result().code for task in tasks]
    assert sorted(codes) == [ReportCode.RECORDED] + [ReportCode.REFUSED] * 7
    states = [await rig.state(lease.job_id) for lease in leases]
    assert states.count(State.PROCESSING) == 7


async def test_of_two_reports_that_want_the_same_id_the_first_gets_it(rig: StoreRig) -> None:
    await rig.submit(new_job(), new_job())
    first, second = await rig.lease(2)
    outcome = _then(new_job(job_id="once", id_chosen=True))
    answers = await rig.store.report([Report(one.key, one.fence, outcome) for one in (first, second)])
    assert [answer.code for answer in answers] == [ReportCode.RECORDED, ReportCode.REFUSED]


async def test_a_report_behind_a_refused_one_of_the_same_lease_counts(rig: StoreRig) -> None:
    await rig.add(job_id="taken", id_chosen=True, type="other")
    lease = await _lease(rig)
    reports = [
        Report(lease.key, lease.fence, outcome)
        for outcome in (_then(new_job(job_id="taken", id_chosen=True)), Succeeded(), Failed(ERROR))
    ]
    answers = await rig.store.report(reports)
    codes = [answer.code for answer in answers]
    assert codes == [ReportCode.REFUSED, ReportCode.RECORDED, ReportCode.LEASE_LOST]


async def test_a_stale_report_creates_nothing(rig: StoreRig) -> None:
    lease = await _lease(rig)
    await rig.store.cancel("default", lease.job_id, force=True)
    before = rig.dump()
    assert (await rig.report(lease, _then(new_job()))).code is ReportCode.LEASE_LOST
    assert rig.dump() == before


async def test_the_same_report_again_creates_nothing_more(rig: StoreRig) -> None:
    lease = await _lease(rig)
    outcome = _then(new_job())
    await rig.report(lease, outcome)
    before = rig.dump()
    assert (await rig.report(lease, outcome)).code is ReportCode.DUPLICATE
    assert rig.dump() == before


async def test_a_follow_up_that_its_key_has_created_before_is_not_created_again(rig: StoreRig) -> None:
    await rig.add(job_id="first", type="other", request_id="k", fingerprint=b"f")
    lease = await _lease(rig)
    again = new_job(job_id="second", request_id="k", fingerprint=b"f")
    assert (await rig.report(lease, _then(again, again, new_job(job_id="third")))).code is ReportCode.RECORDED
    found = await rig.store.get("default", ["first", "second", "third"], full=False)
    assert [job and job.job_id for job in found] == ["first", None, "third"]


async def test_the_key_of_a_follow_up_is_remembered(rig: StoreRig) -> None:
    lease = await _lease(rig)
    await rig.report(lease, _then(new_job(job_id="first", request_id="k", fingerprint=b"f")))
    receipt = await rig.submit(new_job(request_id="k", fingerprint=b"f"))
    assert [(answer.job_id, answer.created) for answer in receipt.answers] == [("first", False)]


async def test_a_key_that_was_used_with_other_content_refuses_the_report(rig: StoreRig) -> None:
    await rig.add(type="other", request_id="k", fingerprint=b"f")
    lease = await _lease(rig)
    answer = await rig.report(lease, _then(new_job(request_id="k", fingerprint=b"g")))
    assert isinstance(answer.refusal, RequestIdReused)
    two = _then(new_job(request_id="n", fingerprint=b"f"), new_job(request_id="n", fingerprint=b"g"))
    assert isinstance((await rig.report(lease, two)).refusal, RequestIdReused)
    assert (await rig.submit(new_job(request_id="n", fingerprint=b"g"))).answers[0].created


async def test_a_success_makes_room_for_one_follow_up_in_a_full_service(rig: StoreRig) -> None:
    await rig.configure(max_depth=2)
    await rig.submit(new_job(), new_job())
    one, other = await rig.lease(2)
    answer = await rig.report(one, _then(new_job(), new_job()))
    assert (answer.code, type(answer.refusal)) == (ReportCode.REFUSED, QueueFull)
    assert (await rig.report(one, _then(new_job()))).code is ReportCode.RECORDED
    with pytest.raises(QueueFull):
        raise (await rig.submit(new_job())).answers[0]
    assert (await rig.report(other, Succeeded())).code is ReportCode.RECORDED
    assert await rig.add()


async def test_a_refused_report_keeps_its_place_in_the_depth(rig: StoreRig) -> None:
    await rig.configure(max_depth=2)
    await rig.submit(new_job(), new_job())
    one, other = await rig.lease(2)
    for lease in (one, other):
        assert (await rig.report(lease, _then(new_job(), new_job()))).code is ReportCode.REFUSED
    [refusal] = (await rig.submit(new_job())).answers
    assert isinstance(refusal, QueueFull)


async def test_one_report_whose_follow_up_fails_unexpectedly_takes_nobody_with_it(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(3)))
    bad, *good = await rig.lease(3)
    async with asyncio.TaskGroup() as group:
        failing = group.create_task(_failure(rig, bad, _then(new_job(priority=99))))
        tasks = [group.create_task(rig.report(lease, _then(new_job()))) for lease in good]
    assert isinstance(failing.result(), Exception)
    assert {task.result().code for task in tasks} == {ReportCode.RECORDED}
    assert await rig.state(bad.job_id) is State.PROCESSING


async def test_a_success_and_its_follow_ups_survive_a_kill_together(durable_rig: StoreRig) -> None:
    rig = durable_rig
    lease = await _lease(rig)
    await rig.report(lease, _then(new_job(job_id="next")))
    await rig.crash()
    assert (await rig.state(lease.job_id), await rig.state("next")) == (State.COMPLETED, State.PENDING)


async def _failure(rig: StoreRig, lease: Lease, outcome: Succeeded) -> object:
    try:
        return await rig.report(lease, outcome)
    except Exception as error:  # noqa: BLE001 - whichever it is
        return error
