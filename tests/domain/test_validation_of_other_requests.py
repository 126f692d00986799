"""What the other requests may hold."""

from __future__ import annotations

from typing import Any

import pytest

from jobwire_server.domain.errors import BatchTooLarge
from jobwire_server.domain.job import State
from jobwire_server.domain.limits import MAX_TIME_US, MIN_TIME_US
from jobwire_server.domain.validation import (
    BatchFields,
    ReadFields,
    check_batch,
    check_batch_size,
    check_cancel,
    check_filter,
    check_job_id,
    check_job_ids,
    check_page_size,
    check_read,
    check_retry,
    check_revision,
    unknown_states,
)
from jobwire_server.store.base import JobFilter

BATCH = BatchFields(size=3, request_id="", batch_id="", independent=False, element_request_ids=False)


def test_a_batch_of_one_to_a_thousand_is_accepted() -> None:
    for size in (1, 1000):
        assert check_batch(BATCH._replace(size=size)) == []
    assert check_batch(BATCH._replace(request_id="k", batch_id="b" * 64)) == []
    assert check_batch(BATCH._replace(independent=True, element_request_ids=True)) == []


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("requests", {"size": 0}),
        ("request_id", {"request_id": "k" * 129}),
        ("batch_id", {"batch_id": "b" * 65}),
        ("batch_id", {"batch_id": "b/c"}),
        ("request_id", {"independent": True, "request_id": "k"}),
        ("batch_id", {"independent": True, "batch_id": "b"}),
        ("requests.request_id", {"element_request_ids": True}),
    ],
)
def test_a_batch_that_contradicts_itself_is_refused(field: str, changes: dict[str, Any]) -> None:
    assert [violation.field for violation in check_batch(BATCH._replace(**changes))] == [field]


def test_a_batch_of_more_than_a_thousand_is_too_large() -> None:
    with pytest.raises(BatchTooLarge, match="1001 elements") as caught:
        check_batch(BATCH._replace(size=1001))
    assert caught.value.facts == {"field": "requests", "limit": "1000", "actual": "1001"}
    with pytest.raises(BatchTooLarge):
        check_batch_size("job_ids", 1001)


@pytest.mark.parametrize("job_id", ["", "a b", "a" * 65, "a\n", "é"])
def test_an_id_that_no_job_can_have_is_refused(job_id: str) -> None:
    assert check_job_id(job_id)[0].field == "job_id"
    assert check_job_ids(["ok", job_id])[0].field == "job_ids[1]"
    assert check_read(ReadFields(job_id))[0].field == "job_id"
    assert check_cancel(job_id, "")[0].field == "job_id"
    assert check_retry(job_id, 0, None)[0].field == "job_id"


def test_ids_that_a_job_can_have_are_accepted() -> None:
    assert check_job_id("a") == []
    assert check_job_ids(["A.b-c_9", "x" * 64]) == []


def test_an_empty_list_of_ids_is_refused_where_ids_are_required() -> None:
    assert check_job_ids([])[0].field == "job_ids"
    assert check_job_ids([], required=False) == []


def test_at_most_twenty_bad_ids_are_named() -> None:
    assert len(check_job_ids(["?"] * 1000)) == 20


@pytest.mark.parametrize(
    "read", [ReadFields("j"), ReadFields("j", 0), ReadFields("j", 7, 0), ReadFields("j", 7, 10**15)]
)
def test_a_read_with_or_without_a_wait_is_accepted(read: ReadFields) -> None:
    assert check_read(read) == []


@pytest.mark.parametrize(
    ("field", "read"),
    [
        ("wait_revision", ReadFields("j", -1)),
        ("wait_timeout", ReadFields("j", 1, -1)),
        ("wait_timeout", ReadFields("j", None, 1)),
    ],
)
def test_a_wait_without_sense_is_refused(field: str, read: ReadFields) -> None:
    assert [violation.field for violation in check_read(read)] == [field]


def test_a_revision_is_unset_or_not_negative() -> None:
    assert check_revision(None, "after_revision") == check_revision(0, "after_revision") == []
    assert check_revision(-1, "after.revision")[0].field == "after.revision"


def test_a_cancel_may_give_a_reason_of_1024_characters() -> None:
    assert check_cancel("j", "r" * 1024) == []
    assert check_cancel("j", "two\nlines") == []
    for reason in ("r" * 1025, "\x00", "\ud800"):
        assert [violation.field for violation in check_cancel("j", reason)] == ["reason"]


def test_a_retry_grants_0_to_1000_attempts_at_any_time_there_is() -> None:
    for attempts, time_us in ((0, None), (1000, MIN_TIME_US), (1, MAX_TIME_US)):
        assert check_retry("j", attempts, time_us) == []
    for attempts in (-1, 1001):
        assert check_retry("j", attempts, None)[0].field == "additional_attempts"
    for time_us in (MIN_TIME_US - 1, MAX_TIME_US + 1):
        assert check_retry("j", 0, time_us)[0].field == "schedule_time"


def test_a_page_size_is_not_negative() -> None:
    assert check_page_size(0) == check_page_size(2**31 - 1) == []
    assert check_page_size(-1)[0].field == "page_size"


@pytest.mark.parametrize(
    "wanted",
    [
        JobFilter(),
        JobFilter(queues=("q",) * 100, types=("t",) * 100, states=(State.PENDING,) * 100),
        JobFilter(labels={"k": "v"}, batch_id="b", create_time_min_us=MIN_TIME_US, create_time_max_us=MAX_TIME_US),
    ],
)
def test_a_filter_within_its_bounds_is_accepted(wanted: JobFilter) -> None:
    assert check_filter(wanted) == []


@pytest.mark.parametrize(
    ("field", "conditions"),
    [
        ("filter.queues", {"queues": ("q",) * 101}),
        ("filter.queues", {"queues": ("q", "Q")}),
        ("filter.types", {"types": ("t",) * 101}),
        ("filter.types", {"types": ("",)}),
        ("filter.states", {"states": (State.PENDING,) * 101}),
        ("filter.states", {"states": (0,)}),
        ("filter.labels", {"labels": {str(n): "" for n in range(33)}}),
        ("filter.labels['k']", {"labels": {"k": "\x00"}}),
        ("filter.batch_id", {"batch_id": "b c"}),
        ("filter.create_time_min", {"create_time_min_us": MIN_TIME_US - 1}),
        ("filter.create_time_max", {"create_time_max_us": MAX_TIME_US + 1}),
    ],
)
def test_a_filter_out_of_bounds_is_refused(field: str, conditions: dict[str, Any]) -> None:
    assert [violation.field for violation in check_filter(JobFilter(**conditions))] == [field]


def test_states_that_are_none_are_found() -> None:
    assert unknown_states([0, 1, 9, 10, -1]) == [0, 10, -1]
