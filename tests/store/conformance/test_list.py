"""Clauses of `Store.list_jobs`."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from jobwire_server.domain.job import Content, Job, NewJob, State
from jobwire_server.store.base import JobFilter, JobPage, ListQuery
from tests.helpers.factories import new_job
from tests.helpers.stores import SECOND_US, StoreRig

pytestmark = pytest.mark.asyncio

QUEUES, TYPES, LABELS = ("a", "b"), ("x", "y"), ("0", "1")


async def _page(rig: StoreRig, limit: int = 1000, *, tenant: str = "default", **query: Any) -> JobPage:
    conditions = {name: query.pop(name) for name in list(query) if name in JobFilter.__dataclass_fields__}
    return await rig.store.list_jobs(tenant, ListQuery(JobFilter(**conditions), limit, **query))


async def _ids(rig: StoreRig, **query: Any) -> list[str]:
    return [job.job_id for job in (await _page(rig, **query)).jobs]


@pytest_asyncio.fixture
async def crowd(rig: StoreRig) -> list[NewJob]:
    """Jobs of every queue, type and label, some cancelled, a second apart, oldest first."""
    jobs = []
    for number in range(32):
        job = new_job(
            queue=QUEUES[number % 2],
            type=TYPES[number // 2 % 2],
            labels={"even": LABELS[number // 4 % 2], "third": str(number % 3)},
        )
        await rig.submit(job, atomic=True, batch_id=f"b{number // 8}")
        if number % 5 == 0:
            await rig.store.cancel("default", job.job_id)
        rig.clock.advance(1)
        jobs.append(job)
    return jobs


async def test_newest_first(rig: StoreRig, crowd: list[NewJob]) -> None:
    assert await _ids(rig) == [job.job_id for job in reversed(crowd)]


@pytest.mark.parametrize("limit", [1, 3, 31, 32, 33])
async def test_pages_follow_each_other_without_gap_or_repeat(rig: StoreRig, crowd: list[NewJob], limit: int) -> None:
    seen: list[str] = []
    before: int | None = None
    while True:
        page = await _page(rig, limit, before_key=before)
        assert len(page.jobs) <= limit
        seen += [job.job_id for job in page.jobs]
        before = page.next_key
        if before is None:
            break
        await rig.add()  # what is created meanwhile stands on no later page
    assert seen == [job.job_id for job in reversed(crowd)]


async def test_a_page_goes_on_though_the_job_it_ended_with_is_gone(rig: StoreRig) -> None:
    ids = [await rig.job_in(State.CANCELLED) for _ in range(5)]
    page = await _page(rig, 2)
    await rig.store.delete("default", page.jobs[-1].job_id)
    rest = await _page(rig, 10, before_key=page.next_key)
    assert [job.job_id for job in rest.jobs] == ids[2::-1]


def _matches(job: Job, wanted: JobFilter) -> bool:
    return (
        (not wanted.queues or job.spec.queue in wanted.queues)
        and (not wanted.types or job.spec.type in wanted.types)
        and (not wanted.states or job.status.state in wanted.states)
        and all(job.spec.labels.get(name) == value for name, value in wanted.labels.items())
        and (not wanted.batch_id or job.batch_id == wanted.batch_id)
        and (wanted.create_time_min_us is None or job.create_time_us >= wanted.create_time_min_us)
        and (wanted.create_time_max_us is None or job.create_time_us < wanted.create_time_max_us)
    )


def _filters(jobs: list[Job]) -> st.SearchStrategy[JobFilter]:
    times = st.none() | st.sampled_from([job.create_time_us + shift for job in jobs for shift in (-1, 0, 1)])
    return st.builds(
        JobFilter,
        queues=st.lists(st.sampled_from([*QUEUES, "none"]), max_size=3).map(tuple),
        types=st.lists(st.sampled_from([*TYPES, "none"]), max_size=3).map(tuple),
        states=st.lists(st.sampled_from([State.PENDING, State.CANCELLED, State.FAILED]), max_size=3).map(tuple),
        labels=st.dictionaries(
            st.sampled_from(["even", "third", "none"]), st.sampled_from(["0", "1", "2"]), max_size=2
        ),
        batch_id=st.sampled_from(["", "b0", "b3", "none"]),
        create_time_min_us=times,
        create_time_max_us=times,
    )


async def test_any_filter_finds_exactly_the_jobs_that_match_it(rig: StoreRig, crowd: list[NewJob]) -> None:
    jobs = list((await _page(rig)).jobs)
    wishes: list[tuple[JobFilter, int]] = []

    @settings(max_examples=150, database=None)
    @given(_filters(jobs), st.integers(1, 10))
    def collect(wanted: JobFilter, limit: int) -> None:
        wishes.append((wanted, limit))

    collect()
    for wanted, limit in wishes:
        expected = [job.job_id for job in jobs if _matches(job, wanted)]
        found: list[str] = []
        before: int | None = None
        while True:
            page = await rig.store.list_jobs("default", ListQuery(wanted, limit, before))
            assert len(page.jobs) <= limit
            found += [job.job_id for job in page.jobs]
            before = page.next_key
            if before is None:
                break
        assert found == expected, wanted


@pytest.mark.parametrize(
    "conditions",
    [
        {"queues": ("a", "a")},
        {"types": ("x", "x")},
        {"states": (State.CANCELLED, State.CANCELLED)},
    ],
)
async def test_a_value_that_is_named_twice_counts_once(
    rig: StoreRig, crowd: list[NewJob], conditions: dict[str, Any]
) -> None:
    once = {name: values[:1] for name, values in conditions.items()}
    assert await _ids(rig, **conditions) == await _ids(rig, **once)


async def test_an_empty_page_ends_the_list(rig: StoreRig) -> None:
    page = await _page(rig, queues=("nowhere",))
    assert (list(page.jobs), page.next_key) == ([], None)


async def test_other_tenants_are_not_listed_under_any_condition(rig: StoreRig) -> None:
    await rig.submit(new_job(labels={"k": "v"}), tenant="red", atomic=True, batch_id="b")
    for conditions in (
        {},
        {"queues": ("default",)},
        {"types": ("work",)},
        {"states": (State.PENDING,)},
        {"labels": {"k": "v"}},
        {"batch_id": "b"},
    ):
        assert await _ids(rig, **conditions) == []
        assert len(await _ids(rig, tenant="red", **conditions)) == 1


async def test_a_basic_page_has_no_content_and_a_full_one_all_of_it(rig: StoreRig) -> None:
    await rig.add(payload=Content(bytes(5000)))
    assert (await _page(rig)).jobs[0].spec.payload is None
    assert (await _page(rig, full=True)).jobs[0].spec.payload == Content(bytes(5000))


async def test_a_full_page_ends_early_when_contents_grow_but_holds_one_job(rig: StoreRig) -> None:
    for size in (10, 700, 5000):
        await rig.add(payload=Content(bytes(size)))
    first = await _page(rig, full=True, max_bytes=1000)
    assert [len(job.spec.payload.data) for job in first.jobs if job.spec.payload] == [5000]
    second = await _page(rig, full=True, max_bytes=1000, before_key=first.next_key)
    assert [len(job.spec.payload.data) for job in second.jobs if job.spec.payload] == [700, 10]
    assert second.next_key is None


async def test_the_position_belongs_to_the_page(rig: StoreRig) -> None:
    await rig.add()
    rig.clock.advance(1)
    page = await _page(rig)
    assert page.position == await rig.store.position()
    await rig.store.cancel("default", page.jobs[0].job_id)
    [event] = await rig.events(after=page.position.revision)
    assert event.state is State.CANCELLED


async def test_creation_bounds_work_though_old_jobs_are_gone(rig: StoreRig) -> None:
    start_us = rig.clock.wall_us()
    ids = []
    for _ in range(10):
        ids.append(await rig.job_in(State.CANCELLED))
        rig.clock.advance(1)
    for job_id in ids[:4] + ids[6:8]:
        await rig.store.delete("default", job_id)
    found = await _ids(rig, create_time_min_us=start_us + 3 * SECOND_US, create_time_max_us=start_us + 9 * SECOND_US)
    assert found == [ids[8], ids[5], ids[4]]
