"""Clauses of `Store.report`: outcomes through `lifecycle.decide`, and the fence."""

from __future__ import annotations

import asyncio

import pytest

from jobwire_server.domain.job import TERMINAL_STATES, Content, JobError, RetryPolicy, State
from jobwire_server.domain.outcome import Failed, Outcome, Released, Snoozed, Stopped, Succeeded
from jobwire_server.store.base import Lane, Report, ReportCode
from tests.helpers.factories import new_job
from tests.helpers.stores import ERROR, RESULT, SECOND_US, US, StoreRig

pytestmark = pytest.mark.asyncio

FATAL = JobError(type="Fatal", message="no", detail="stack\n  line", retryable=False)
LARGE = Content(bytes(range(256)) * 1024, "application/octet-stream", "zstd")

OUTCOMES: dict[str, tuple[Outcome, State]] = {
    "succeeded": (Succeeded(RESULT), State.COMPLETED),
    "succeeded without result": (Succeeded(), State.COMPLETED),
    "succeeded with a large result": (Succeeded(LARGE), State.COMPLETED),
    "failed": (Failed(ERROR), State.RETRYING),
    "failed for good": (Failed(FATAL), State.FAILED),
    "released": (Released(), State.PENDING),
    "snoozed": (Snoozed(30 * SECOND_US), State.SCHEDULED),
    "stopped": (Stopped("own wish"), State.CANCELLED),
}
each_outcome = pytest.mark.parametrize(("outcome", "state"), OUTCOMES.values(), ids=OUTCOMES.keys())


@each_outcome
async def test_an_outcome_is_recorded_and_leads_to_its_state(rig: StoreRig, outcome: Outcome, state: State) -> None:
    job_id = await rig.add()
    lease = await rig.lease_one()
    rig.clock.advance(2)
    assert (await rig.report(lease, outcome))[:2] == (ReportCode.RECORDED, state)
    status = (await rig.job(job_id)).status
    assert status.state is state
    assert status.lease_expire_time_us is None
    assert status.attempt == (0 if state in (State.PENDING, State.SCHEDULED) else 1)
    assert status.finish_time_us == (rig.clock.wall_us() if state in TERMINAL_STATES else None)
    [event] = (await rig.events(job_id))[2:]
    assert (event.previous_state, event.state, event.revision) == (State.PROCESSING, state, status.revision)


@pytest.mark.parametrize("result", [None, Content(b""), RESULT, Content("Ада".encode(), is_text=True), LARGE])
async def test_a_result_comes_back_byte_for_byte(rig: StoreRig, result: Content | None) -> None:
    lease = await rig.run(Succeeded(result))
    assert (await rig.job(lease.job_id)).status.result == result
    assert (await rig.job(lease.job_id, full=False)).status.result is None


async def test_a_failure_waits_for_its_backoff_and_shows_its_error(rig: StoreRig) -> None:
    policy = RetryPolicy(initial_backoff_us=10 * SECOND_US, jitter=0.2)
    lease = await rig.run(Failed(ERROR), retry_policy=policy)
    status = (await rig.job(lease.job_id)).status
    # The rig's chance is 0.5, so half of the jitter of 0.2 is taken away.
    assert status.next_attempt_time_us == rig.clock.wall_us() + 9 * SECOND_US
    assert status.last_error == ERROR
    assert rig.notices[-1].due_in_us == 9 * SECOND_US


async def test_the_attempts_that_failed_are_listed_oldest_first(rig: StoreRig) -> None:
    job_id = await rig.add()
    for number in range(1, 4):
        lease = await rig.lease_one(owner=US._replace(worker_id=f"worker-{number}"))
        rig.clock.advance(1)
        await rig.report(lease, Failed(JobError(type=f"E{number}"), retry_delay_us=0))
        await rig.store.promote_due(limit=10)
    attempts = (await rig.job(job_id)).attempts
    assert [(one.number, one.worker_id, one.error and one.error.type) for one in attempts] == [
        (number, f"worker-{number}", f"E{number}") for number in (1, 2, 3)
    ]
    assert all(one.finish_time_us == one.start_time_us + SECOND_US for one in attempts)


async def test_remembered_attempts_are_bounded(rig: StoreRig) -> None:
    await rig.configure(kept_attempts=3)
    job_id = await rig.add(retry_policy=RetryPolicy(max_attempts=100))
    for _ in range(10):
        await rig.report(await rig.lease_one(), Failed(ERROR, retry_delay_us=0))
        await rig.store.promote_due(limit=10)
    assert [one.number for one in (await rig.job(job_id)).attempts] == [8, 9, 10]


async def test_a_success_after_failures_keeps_the_last_error_and_lists_every_attempt(rig: StoreRig) -> None:
    job_id = await rig.add()
    await rig.report(await rig.lease_one(), Failed(ERROR, retry_delay_us=0))
    await rig.store.promote_due(limit=1)
    await rig.report(await rig.lease_one(), Succeeded(RESULT))
    job = await rig.job(job_id)
    assert (job.status.state, job.status.last_error, job.status.result) == (State.COMPLETED, ERROR, RESULT)
    assert [(one.number, one.error) for one in job.attempts] == [(1, ERROR), (2, None)]
    assert job.attempts[1].finish_time_us == job.status.finish_time_us


async def test_the_last_attempt_that_fails_makes_the_job_failed(rig: StoreRig) -> None:
    job_id = await rig.add(retry_policy=RetryPolicy(max_attempts=2))
    assert (await rig.report(await rig.lease_one(), Failed(ERROR, retry_delay_us=0))).state is State.RETRYING
    await rig.store.promote_due(limit=1)
    assert (await rig.report(await rig.lease_one(), Failed(ERROR))).state is State.FAILED
    assert (await rig.job(job_id)).status.attempt == 2


async def test_a_report_says_when_the_job_will_run_again(rig: StoreRig) -> None:
    await rig.submit(*(new_job(retry_policy=RetryPolicy(initial_backoff_us=10 * SECOND_US)) for _ in range(6)))
    leases = await rig.lease(6)
    outcomes = [Failed(ERROR), Failed(ERROR, 3), Snoozed(5), Released(), Failed(FATAL), Succeeded()]
    reports = [Report(lease.key, lease.fence, outcome) for lease, outcome in zip(leases, outcomes, strict=True)]
    answers = await rig.store.report(reports)
    assert [answer.due_in_us for answer in answers] == [9 * SECOND_US, 3, 5, None, None, None]
    now_us = rig.clock.wall_us()
    statuses = [(await rig.job(lease.job_id)).status for lease in leases[:3]]
    assert [status.next_attempt_time_us for status in statuses] == [now_us + 9 * SECOND_US, now_us + 3, now_us + 5]
    again = await rig.store.report(reports)
    assert [answer.due_in_us for answer in again] == [None] * 6


@pytest.mark.parametrize("result", [Content(b""), RESULT, LARGE])
async def test_what_a_stopped_handler_has_done_so_far_is_the_jobs_result(rig: StoreRig, result: Content) -> None:
    lease = await rig.run(Stopped("asked to", result))
    job = await rig.job(lease.job_id)
    assert (job.status.state, job.status.result) == (State.CANCELLED, result)
    await rig.store.retry("default", lease.job_id)
    assert (await rig.job(lease.job_id)).status.result is None
    assert rig.sql("SELECT * FROM content") == []


async def test_a_late_stop_leaves_no_result(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.store.cancel("default", lease.job_id, force=True)
    before = rig.dump()
    assert (await rig.report(lease, Stopped("late", LARGE))).code is not ReportCode.RECORDED
    assert rig.dump() == before


async def test_a_release_gives_the_attempt_back_and_keeps_the_place_in_the_queue(rig: StoreRig) -> None:
    first = await rig.add()
    rig.clock.advance(1)
    await rig.add()
    lease = await rig.lease_one()
    await rig.report(lease, Released())
    again = await rig.lease_one()
    assert (again.job_id, again.attempt, again.fence) == (first, 1, 2)
    assert Lane("default", "work") in rig.notices[-2].pending


async def test_a_snooze_waits_as_long_as_asked_without_costing_an_attempt(rig: StoreRig) -> None:
    lease = await rig.run(Snoozed(30 * SECOND_US))
    status = (await rig.job(lease.job_id)).status
    assert (status.state, status.attempt) == (State.SCHEDULED, 0)
    assert status.next_attempt_time_us == rig.clock.wall_us() + 30 * SECOND_US


@pytest.mark.parametrize("outcome", [Failed(ERROR), Released(), Snoozed(1), Stopped()])
async def test_any_end_but_success_under_a_cancel_wish_cancels(rig: StoreRig, outcome: Outcome) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.store.cancel("default", lease.job_id)
    assert (await rig.report(lease, outcome))[:2] == (ReportCode.RECORDED, State.CANCELLED)


async def test_a_success_that_is_committed_first_wins_over_a_cancel_wish(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    await rig.store.cancel("default", lease.job_id)
    assert (await rig.report(lease, Succeeded(RESULT)))[:2] == (ReportCode.RECORDED, State.COMPLETED)


@pytest.mark.parametrize("outcome", [Failed(ERROR), Released(), Snoozed(1)])
async def test_an_attempt_that_ends_after_the_expiry_expires_its_job(rig: StoreRig, outcome: Outcome) -> None:
    await rig.add(expire_time_us=rig.clock.wall_us() + SECOND_US)
    lease = await rig.lease_one()
    rig.clock.advance(1)
    assert (await rig.report(lease, outcome))[:2] == (ReportCode.RECORDED, State.EXPIRED)


async def test_a_success_after_the_expiry_still_counts(rig: StoreRig) -> None:
    await rig.add(expire_time_us=rig.clock.wall_us() + SECOND_US)
    lease = await rig.lease_one()
    rig.clock.advance(1)
    assert (await rig.report(lease, Succeeded())).state is State.COMPLETED


@each_outcome
async def test_the_same_report_again_is_a_duplicate_and_changes_nothing(
    rig: StoreRig, outcome: Outcome, state: State
) -> None:
    lease = await rig.run(outcome)
    before = rig.dump()
    assert (await rig.report(lease, outcome))[:2] == (ReportCode.DUPLICATE, state)
    assert rig.dump() == before


@pytest.mark.parametrize("wish", ["cancelled", "expired"])
async def test_the_same_report_again_is_a_duplicate_also_when_nobody_wanted_the_job_any_more(
    rig: StoreRig, wish: str
) -> None:
    await rig.add(expire_time_us=rig.clock.wall_us() + SECOND_US)
    lease = await rig.lease_one()
    if wish == "cancelled":
        await rig.store.cancel("default", lease.job_id)
    rig.clock.advance(1)
    assert (await rig.report(lease, Failed(ERROR))).code is ReportCode.RECORDED
    assert (await rig.report(lease, Failed(ERROR))).code is ReportCode.DUPLICATE


@each_outcome
async def test_a_report_with_an_old_fence_changes_not_one_byte(rig: StoreRig, outcome: Outcome, state: State) -> None:
    await rig.add()
    old = await rig.lease_one()
    await rig.report(old, Released())
    await rig.lease_one()
    before = rig.dump()
    assert (await rig.report(old, outcome))[:2] == (ReportCode.LEASE_LOST, State.PROCESSING)
    assert rig.dump() == before


@each_outcome
async def test_a_report_with_a_fence_never_given_out_changes_not_one_byte(
    rig: StoreRig, outcome: Outcome, state: State
) -> None:
    await rig.add()
    lease = await rig.lease_one()
    before = rig.dump()
    for fence in (lease.fence - 1, lease.fence + 1, 1 << 40):
        assert (await rig.report(lease._replace(fence=fence), outcome)).code is ReportCode.LEASE_LOST
    assert rig.dump() == before


@pytest.mark.parametrize("how", ["lease lost", "forced cancel", "recovered", "another outcome"])
async def test_a_late_success_is_told_that_the_lease_is_lost(rig: StoreRig, how: str) -> None:
    await rig.add()
    lease = await rig.lease_one(lease_s=1)
    if how == "lease lost":
        rig.clock.advance(2)
        await rig.store.expire_leases(limit=10)
    elif how == "forced cancel":
        await rig.store.cancel("default", lease.job_id, force=True)
    elif how == "recovered":
        await rig.store.recover(instance_id="another", limit=10)
    else:
        await rig.report(lease, Failed(FATAL))
    before = rig.dump()
    answer = await rig.report(lease, Succeeded(RESULT))
    assert answer[:2] == (ReportCode.LEASE_LOST, await rig.state(lease.job_id))
    assert rig.dump() == before


async def test_a_late_failure_is_told_that_the_lease_is_lost_though_the_job_failed_as_well(rig: StoreRig) -> None:
    await rig.add(retry_policy=RetryPolicy(max_attempts=1))
    lease = await rig.lease_one(lease_s=1)
    rig.clock.advance(2)
    await rig.store.expire_leases(limit=1)
    assert (await rig.report(lease, Failed(ERROR)))[:2] == (ReportCode.LEASE_LOST, State.FAILED)


async def test_a_report_on_a_job_that_is_gone_has_no_state(rig: StoreRig) -> None:
    lease = await rig.run(Succeeded())
    await rig.store.delete("default", lease.job_id)
    assert (await rig.report(lease, Succeeded()))[:2] == (ReportCode.LEASE_LOST, None)


async def test_reports_are_judged_each_on_its_own_in_order(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(6)))
    leases = await rig.lease(6)
    await rig.store.cancel("default", leases[3].job_id, force=True)
    outcomes = [Succeeded(RESULT), Failed(ERROR), Released(), Succeeded(), Snoozed(5), Stopped()]
    reports = [Report(lease.key, lease.fence, outcome) for lease, outcome in zip(leases, outcomes, strict=True)]
    answers = await rig.store.report([*reports, reports[0], Report(10**9, 1, Succeeded())])
    recorded = ReportCode.RECORDED
    assert [answer[:2] for answer in answers] == [
        (recorded, State.COMPLETED),
        (recorded, State.RETRYING),
        (recorded, State.PENDING),
        (ReportCode.LEASE_LOST, State.CANCELLED),
        (recorded, State.SCHEDULED),
        (recorded, State.CANCELLED),
        (ReportCode.DUPLICATE, State.COMPLETED),
        (ReportCode.LEASE_LOST, None),
    ]


@pytest.mark.parametrize("result", [None, RESULT, LARGE])
async def test_successes_of_leases_that_are_lost_leave_nothing_behind_among_those_that_count(
    rig: StoreRig, result: Content | None
) -> None:
    await rig.submit(*(new_job() for _ in range(5)))
    leases = await rig.lease(5)
    for lost in (leases[0], leases[2], leases[4]):
        await rig.store.cancel("default", lost.job_id, force=True)
    answers = await rig.store.report([Report(lease.key, lease.fence, Succeeded(result)) for lease in leases])
    lost, recorded = (ReportCode.LEASE_LOST, State.CANCELLED), (ReportCode.RECORDED, State.COMPLETED)
    assert [answer[:2] for answer in answers] == [lost, recorded, lost, recorded, lost]
    assert [(await rig.job(lease.job_id)).status.result for lease in leases] == [None, result, None, result, None]
    assert (await rig.store.position()).revision == (await rig.events())[-1].revision == rig.notices[-1].revision


async def test_a_call_of_nothing_but_lost_leases_takes_no_revision(rig: StoreRig) -> None:
    lease = await rig.run(Succeeded())
    before, notices = rig.dump(), len(rig.notices)
    await rig.store.report([Report(lease.key, lease.fence + 1, Succeeded(LARGE)), Report(10**9, 1, Succeeded())])
    assert (rig.dump(), len(rig.notices)) == (before, notices)
    await rig.run(Succeeded())
    revisions = [event.revision for event in await rig.events()]
    assert revisions == list(range(1, 7))


async def test_of_two_different_outcomes_in_one_call_the_first_counts(rig: StoreRig) -> None:
    await rig.add()
    lease = await rig.lease_one()
    answers = await rig.store.report(
        [Report(lease.key, lease.fence, Failed(FATAL)), Report(lease.key, lease.fence, Succeeded())]
    )
    assert [answer[:2] for answer in answers] == [
        (ReportCode.RECORDED, State.FAILED),
        (ReportCode.LEASE_LOST, State.FAILED),
    ]


async def test_of_two_reports_in_flight_together_exactly_one_is_recorded(rig: StoreRig) -> None:
    for _ in range(20):
        await rig.add()
        lease = await rig.lease_one()
        async with asyncio.TaskGroup() as group:
            one = group.create_task(rig.report(lease, Succeeded()))
            other = group.create_task(rig.report(lease, Failed(FATAL)))
        assert sorted((one.result().code, other.result().code)) == [ReportCode.RECORDED, ReportCode.LEASE_LOST]
        assert one.result().state is other.result().state is await rig.state(lease.job_id)


async def test_an_empty_report_is_answered_emptily(rig: StoreRig) -> None:
    assert await rig.store.report([]) == []


async def test_one_report_that_fails_unexpectedly_takes_nobody_with_it(rig: StoreRig) -> None:
    await rig.submit(*(new_job() for _ in range(5)))
    bad, *good = await rig.lease(5)
    broken = Succeeded(Content(b"x", object()))  # type: ignore[arg-type] - a caller with a bug
    async with asyncio.TaskGroup() as group:
        failing = group.create_task(_outcome(rig, Report(bad.key, bad.fence, broken)))
        tasks = [group.create_task(rig.report(lease, Succeeded())) for lease in good]
    assert isinstance(failing.result(), Exception)
    assert {task.result().code for task in tasks} == {ReportCode.RECORDED}
    assert await rig.state(bad.job_id) is State.PROCESSING


async def _outcome(rig: StoreRig, report: Report) -> object:
    try:
        return await rig.store.report([report])
    except Exception as error:  # noqa: BLE001 - whichever it is
        return error
