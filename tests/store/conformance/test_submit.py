"""Clauses of `Store.submit`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobwire_server.domain.errors import JobIdTaken, JobwireError, QueueFull, TooManyRequests
from jobwire_server.domain.job import Content, RetryPolicy, State
from jobwire_server.store.base import Lane, Submission, Submitted
from tests.helpers.factories import new_job
from tests.helpers.stores import SECOND_US, StoreRig

pytestmark = pytest.mark.asyncio


async def test_a_plain_job_is_pending_and_reads_back_as_it_was_submitted(rig: StoreRig) -> None:
    job = new_job(payload=Content(b"\x00\xff", "application/x", "gzip"))
    receipt = await rig.submit(job)
    [answer] = receipt.answers
    assert isinstance(answer, Submitted)
    assert (answer.job_id, answer.created, answer.state) == (job.job_id, True, State.PENDING)
    stored = await rig.job(job.job_id)
    assert stored.spec.payload == job.payload
    assert (stored.spec.type, stored.spec.queue, stored.spec.priority) == ("work", "default", 5)
    assert (stored.status.state, stored.status.attempt, stored.status.max_attempts) == (State.PENDING, 0, 20)
    assert (stored.create_time_us, stored.status.revision) == (receipt.time_us, answer.revision)
    assert stored.status.finish_time_us is stored.status.result is stored.status.last_error is None
    assert stored.attempts == ()


async def test_every_field_of_a_spec_comes_back(rig: StoreRig) -> None:
    policy = RetryPolicy(
        max_attempts=3,
        initial_backoff_us=1,
        backoff_multiplier=1.5,
        max_backoff_us=7,
        jitter=0.25,
        non_retryable_error_types=("ValueError", "Ошибка"),
    )
    fields: dict[str, Any] = {
        "type": "счёт 📨",
        "queue": "mail.eu-1",
        "priority": 9,
        "schedule_time_us": rig.clock.wall_us() + 1,
        "expire_time_us": rig.clock.wall_us() + 2,
        "attempt_timeout_us": 3,
        "retry_policy": policy,
        "labels": {"env": "prod", "ключ": "значение\n", 'quote"': "back\\slash"},
        "headers": {"traceparent": "00-ab-cd-01", "baggage": "ä=1"},
        "retention_us": 5,
    }
    stored = await rig.job(await rig.add(**fields))
    for name, value in fields.items():
        assert getattr(stored.spec, name) == value, name
    assert stored.status.max_attempts == 3


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 1 << 20])
async def test_a_payload_of_any_size_comes_back_byte_for_byte(rig: StoreRig, size: int) -> None:
    data = bytes(index * 7 % 256 for index in range(size))
    job_id = await rig.add(payload=Content(data, "a/b"))
    assert (await rig.job(job_id)).spec.payload == Content(data, "a/b")
    assert (await rig.lease_one()).payload == Content(data, "a/b")


async def test_text_stays_text_and_no_payload_stays_none(rig: StoreRig) -> None:
    text = await rig.add(payload=Content("Ада".encode(), is_text=True))
    empty = await rig.add(payload=Content(b""))
    none = await rig.add(payload=None)
    assert (await rig.job(text)).spec.payload == Content("Ада".encode(), is_text=True)
    assert (await rig.job(empty)).spec.payload == Content(b"")
    assert (await rig.job(none)).spec.payload is None
    assert [lease.payload for lease in await rig.lease(3)] == [
        Content("Ада".encode(), is_text=True),
        Content(b""),
        None,
    ]


@pytest.mark.parametrize(
    ("ahead_us", "state"),
    [(-SECOND_US, State.PENDING), (0, State.PENDING), (1, State.SCHEDULED), (3600 * SECOND_US, State.SCHEDULED)],
)
async def test_a_job_is_scheduled_only_while_its_time_lies_ahead(rig: StoreRig, ahead_us: int, state: State) -> None:
    due_us = rig.clock.wall_us() + ahead_us
    job = await rig.job(await rig.add(schedule_time_us=due_us))
    assert job.status.state is state
    assert job.status.next_attempt_time_us == (due_us if state is State.SCHEDULED else None)


async def test_answers_stand_in_the_order_of_the_jobs_and_revisions_rise(rig: StoreRig) -> None:
    jobs = [new_job() for _ in range(50)]
    receipt = await rig.submit(*jobs)
    created = [answer for answer in receipt.answers if isinstance(answer, Submitted)]
    assert [answer.job_id for answer in created] == [job.job_id for job in jobs]
    revisions = [answer.revision for answer in created]
    assert revisions == sorted(set(revisions))
    assert receipt.position.revision >= revisions[-1]


async def test_whatever_follows_a_submit_has_a_greater_revision_than_its_position(rig: StoreRig) -> None:
    receipt = await rig.submit(new_job())
    await rig.lease_one()
    [event] = await rig.events(after=receipt.position.revision)
    assert event.state is State.PROCESSING
    assert (await rig.store.position()).revision == event.revision


async def test_the_store_stamps_its_own_time(rig: StoreRig) -> None:
    first = await rig.submit(new_job())
    rig.clock.advance(2.5)
    second = await rig.submit(new_job())
    assert second.time_us - first.time_us == 2_500_000


async def test_an_atomic_batch_is_created_under_its_batch_id(rig: StoreRig) -> None:
    jobs = [new_job(), new_job()]
    receipt = await rig.submit(*jobs, atomic=True, batch_id="b-1")
    assert receipt.batch_id == "b-1"
    assert [(await rig.job(job.job_id)).batch_id for job in jobs] == ["b-1", "b-1"]


async def test_a_chosen_id_that_is_taken_is_refused(rig: StoreRig) -> None:
    await rig.add(job_id="mine", id_chosen=True)
    before = rig.dump()
    [answer] = (await rig.submit(new_job(job_id="mine", id_chosen=True))).answers
    assert isinstance(answer, JobIdTaken)
    assert rig.dump() == before


async def test_an_id_that_the_server_made_for_another_job_is_taken_too(rig: StoreRig) -> None:
    await rig.add(job_id="made-by-server")
    [answer] = (await rig.submit(new_job(job_id="made-by-server", id_chosen=True))).answers
    assert isinstance(answer, JobIdTaken)


async def test_a_chosen_id_can_be_taken_in_each_tenant(rig: StoreRig) -> None:
    for tenant in ("red", "blue"):
        await rig.add(job_id="mine", id_chosen=True, tenant=tenant)
    assert (await rig.job("mine", tenant="red")).key != (await rig.job("mine", tenant="blue")).key


async def test_one_refusal_stands_in_its_place_and_the_others_are_created(rig: StoreRig) -> None:
    await rig.add(job_id="mine", id_chosen=True)
    good, bad, other = new_job(), new_job(job_id="mine", id_chosen=True), new_job()
    receipt = await rig.submit(good, bad, other)
    assert [type(answer) for answer in receipt.answers] == [Submitted, JobIdTaken, Submitted]
    assert await rig.store.get("default", [good.job_id, other.job_id], full=False) != [None, None]


async def test_the_same_chosen_id_twice_in_one_submission_is_taken_the_second_time(rig: StoreRig) -> None:
    twice = [new_job(job_id="mine", id_chosen=True, type=kind) for kind in ("first", "second")]
    receipt = await rig.submit(*twice)
    assert [type(answer) for answer in receipt.answers] == [Submitted, JobIdTaken]
    assert (await rig.job("mine")).spec.type == "first"


@pytest.mark.parametrize("where", ["in the store", "in the batch itself"])
async def test_one_refusal_refuses_an_atomic_batch_whole_and_leaves_no_trace(rig: StoreRig, where: str) -> None:
    jobs = [new_job(labels={"a": "b"}), new_job(job_id="mine", id_chosen=True), new_job(payload=Content(bytes(5000)))]
    if where == "in the store":
        await rig.add(job_id="mine", id_chosen=True)
    else:
        jobs.append(new_job(job_id="mine", id_chosen=True))
    before = rig.dump()
    with pytest.raises(JobIdTaken):
        await rig.submit(*jobs, atomic=True, request_id="k", fingerprint=b"f", batch_id="b")
    assert rig.dump() == before
    assert await rig.add(job_id="another", id_chosen=True) == "another"


async def test_beyond_the_depth_the_queue_is_full_until_a_job_ends(rig: StoreRig) -> None:
    await rig.configure(max_depth=2)
    first = await rig.add()
    await rig.add(schedule_time_us=rig.clock.wall_us() + SECOND_US)
    [answer] = (await rig.submit(new_job())).answers
    assert isinstance(answer, QueueFull)
    assert answer.retry_after_us
    await rig.store.cancel("default", first)
    await rig.add()


async def test_a_batch_that_does_not_fit_whole_is_refused_whole(rig: StoreRig) -> None:
    await rig.configure(max_depth=2)
    await rig.add()
    with pytest.raises(QueueFull):
        await rig.submit(new_job(), new_job(), atomic=True)
    receipt = await rig.submit(new_job(), new_job())
    assert [type(answer) for answer in receipt.answers] == [Submitted, QueueFull]
    assert (await rig.store.counts()).by_state == {State.PENDING: 2}


async def test_the_depth_is_known_again_after_a_restart(durable_rig: StoreRig) -> None:
    rig = durable_rig
    await rig.configure(max_depth=2)
    await rig.job_in(State.COMPLETED)
    await rig.add()
    await rig.add()
    await rig.reopen()
    assert isinstance((await rig.submit(new_job())).answers[0], QueueFull)


async def test_concurrent_submits_all_get_their_own_answer(rig: StoreRig) -> None:
    jobs = [new_job(labels={"n": str(n)}) for n in range(200)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(rig.submit(job)) for job in jobs]
    for job, task in zip(jobs, tasks, strict=True):
        [answer] = task.result().answers
        assert isinstance(answer, Submitted)
        assert answer.job_id == job.job_id
        assert (await rig.job(job.job_id)).spec.labels == job.labels
    assert len({task.result().answers[0].revision for task in tasks}) == 200  # type: ignore[union-attr]


async def test_one_bad_submission_among_good_ones_in_flight_takes_nobody_with_it(rig: StoreRig) -> None:
    await rig.add(job_id="mine", id_chosen=True)

    async def one(number: int) -> object:
        job = new_job(job_id="mine", id_chosen=True) if number % 5 == 0 else new_job()
        try:
            return (await rig.submit(job, atomic=number % 2 == 0)).answers[0]
        except JobwireError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(50)]
    kinds = [type(task.result()) for task in tasks]
    assert kinds == [JobIdTaken if number % 5 == 0 else Submitted for number in range(50)]


async def test_an_intent_that_fails_unexpectedly_takes_nobody_with_it(rig: StoreRig) -> None:
    # Validation never lets such a priority through; the store must survive the one that does all the same.
    good = [new_job() for _ in range(10)]
    async with asyncio.TaskGroup() as group:
        bad = group.create_task(_outcome(rig, new_job(priority=99)))
        tasks = [group.create_task(rig.submit(job)) for job in good]
    assert isinstance(bad.result(), Exception)
    assert all(isinstance(task.result().answers[0], Submitted) for task in tasks)
    assert (await rig.store.counts()).by_state == {State.PENDING: 10}


async def _outcome(rig: StoreRig, *jobs: Any) -> object:
    try:
        return await rig.submit(*jobs)
    except Exception as error:  # noqa: BLE001 - whichever it is
        return error


async def test_more_than_may_wait_in_front_of_the_store_is_refused_at_once(rig: StoreRig) -> None:
    await rig.configure(max_queued_bytes=300_000)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_outcome(rig, new_job(payload=Content(bytes(100_000))))) for _ in range(10)]
    refused = [task.result() for task in tasks if isinstance(task.result(), TooManyRequests)]
    assert 0 < len(refused) < 10
    assert (await rig.store.counts()).by_state == {State.PENDING: 10 - len(refused)}
    await rig.add()


async def test_a_caller_that_goes_away_leaves_its_job_whole(rig: StoreRig) -> None:
    job = new_job()
    task = asyncio.create_task(rig.store.submit(Submission("default", [job])))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await rig.add()  # commits after it, in order
    [stored] = await rig.store.get("default", [job.job_id], full=True)
    assert stored is not None
    assert stored.spec.payload == job.payload


async def test_a_notice_names_the_lane_and_the_revision(rig: StoreRig) -> None:
    receipt = await rig.submit(new_job(queue="mail", type="send"), new_job(queue="mail", type="count"))
    await rig.store.position()
    [notice] = rig.notices
    assert notice.pending == {Lane("mail", "send"), Lane("mail", "count")}
    assert notice.revision == receipt.position.revision
    assert notice.due_in_us is None


async def test_a_notice_of_scheduled_jobs_says_when_the_first_is_due(rig: StoreRig) -> None:
    now_us = rig.clock.wall_us()
    await rig.submit(*(new_job(schedule_time_us=now_us + seconds * SECOND_US) for seconds in (9, 5, 7)))
    assert (rig.notices[-1].pending, rig.notices[-1].due_in_us) == (frozenset(), 5 * SECOND_US)
