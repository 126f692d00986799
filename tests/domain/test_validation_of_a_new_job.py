"""What a submitted job may hold: each field at, below and beyond its bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwire_server.domain.errors import FieldInvalid, PayloadTooLarge
from jobwire_server.domain.job import DAY_US, Content, NewJob, RetryPolicy
from jobwire_server.domain.limits import DEFAULT_LIMITS, MAX_TIME_US, MIN_TIME_US, Limits
from jobwire_server.domain.rules import MAX_VIOLATIONS
from jobwire_server.domain.validation import check_new_job, check_size, payload_too_large, refuse_new_job
from tests.helpers.factories import new_job

MAX_DURATION_US = 3650 * DAY_US


def _content(**fields: Any) -> Content:
    return Content(b"{}", **fields)


def _policy(**fields: Any) -> RetryPolicy:
    return RetryPolicy(**fields)


ACCEPTED: dict[str, dict[str, Any]] = {
    "the plainest job": {},
    "a chosen id of one character": {"job_id": "a", "id_chosen": True},
    "a chosen id of 64 characters": {"job_id": "aZ0._-" + "x" * 58, "id_chosen": True},
    "an id that the server made is not looked at": {"job_id": "", "id_chosen": False},
    "a request_id of 128 characters": {"request_id": "k" * 128},
    "a request_id in any script": {"request_id": "заказ 7"},
    "a queue of 128 characters": {"queue": "9" + "a" * 127},
    "a queue with every sign": {"queue": "a._-z"},
    "a type of 200 characters": {"type": "t" * 200},
    "a type in any script": {"type": "счёт/отправить 📨"},
    "a type with a no-break space": {"type": "a\u00a0b"},
    "priority 0": {"priority": 0},
    "priority 9": {"priority": 9},
    "no payload": {"payload": None},
    "a payload without a media type": {"payload": Content(b"")},
    "a media type of 255 characters": {"payload": _content(content_type="t" * 255)},
    "an encoding of 64 characters": {"payload": _content(content_encoding="z" * 64)},
    "the first instant": {"schedule_time_us": MIN_TIME_US},
    "the last instant": {"schedule_time_us": MAX_TIME_US},
    "an expiry": {"expire_time_us": 0},
    "an expiry just after the schedule": {"schedule_time_us": 5, "expire_time_us": 6},
    "the shortest timeout": {"attempt_timeout_us": 1},
    "the longest timeout": {"attempt_timeout_us": MAX_DURATION_US},
    "the shortest retention": {"retention_us": 1},
    "the longest retention": {"retention_us": MAX_DURATION_US},
    "the default policy": {"retry_policy": _policy()},
    "max_attempts 0 means the default": {"retry_policy": _policy(max_attempts=0)},
    "1000 attempts": {"retry_policy": _policy(max_attempts=1000)},
    "no backoff": {"retry_policy": _policy(initial_backoff_us=0, max_backoff_us=0, jitter=0.0)},
    "a multiplier of one": {"retry_policy": _policy(backoff_multiplier=1.0)},
    "a huge multiplier": {"retry_policy": _policy(backoff_multiplier=1e308)},
    "the longest backoffs": {
        "retry_policy": _policy(initial_backoff_us=MAX_DURATION_US, max_backoff_us=MAX_DURATION_US, jitter=1.0)
    },
    "100 error types": {"retry_policy": _policy(non_retryable_error_types=("E" * 200,) * 100)},
    "32 labels at their bounds": {"labels": {f"{n:063}": "v" * 255 for n in range(32)}},
    "a label without value": {"labels": {"k": ""}},
    "a label value of several lines": {"labels": {"k": "a\nb"}},
    "empty maps": {"labels": {}, "headers": {}},
    "32 headers": {"headers": {f"h{n}": "v" for n in range(32)}},
    "headers of 8 KiB": {"headers": {"h": "v" * 8191}},
}

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "an empty chosen id": ("job_id", {"job_id": "", "id_chosen": True}),
    "a chosen id of 65 characters": ("job_id", {"job_id": "a" * 65, "id_chosen": True}),
    "a chosen id with a slash": ("job_id", {"job_id": "a/b", "id_chosen": True}),
    "a chosen id that ends a line": ("job_id", {"job_id": "a\n", "id_chosen": True}),
    "a chosen id of other letters": ("job_id", {"job_id": "ä", "id_chosen": True}),
    "a request_id of 129 characters": ("request_id", {"request_id": "k" * 129}),
    "a request_id with a NUL": ("request_id", {"request_id": "k\x00"}),
    "an empty queue": ("spec.queue", {"queue": ""}),
    "a queue of 129 characters": ("spec.queue", {"queue": "a" * 129}),
    "a queue in capitals": ("spec.queue", {"queue": "Mail"}),
    "a queue that begins with a sign": ("spec.queue", {"queue": ".mail"}),
    "a queue that ends a line": ("spec.queue", {"queue": "mail\n"}),
    "no type": ("spec.type", {"type": ""}),
    "a type of 201 characters": ("spec.type", {"type": "t" * 201}),
    "a type with a NUL": ("spec.type", {"type": "a\x00b"}),
    "a type with an escape": ("spec.type", {"type": "\x1b[31m"}),
    "a type with half a character": ("spec.type", {"type": "\ud800"}),
    "priority -1": ("spec.priority", {"priority": -1}),
    "priority 10": ("spec.priority", {"priority": 10}),
    "a media type of 256 characters": ("spec.payload.content_type", {"payload": _content(content_type="t" * 256)}),
    "a media type of other letters": ("spec.payload.content_type", {"payload": _content(content_type="tëxt")}),
    "a media type with a line end": ("spec.payload.content_type", {"payload": _content(content_type="a\r\nb")}),
    "an encoding of 65 characters": ("spec.payload.content_encoding", {"payload": _content(content_encoding="z" * 65)}),
    "an encoding with a NUL": ("spec.payload.content_encoding", {"payload": _content(content_encoding="\x00")}),
    "a schedule before the year 1": ("spec.schedule_time", {"schedule_time_us": MIN_TIME_US - 1}),
    "a schedule after the year 9999": ("spec.schedule_time", {"schedule_time_us": MAX_TIME_US + 1}),
    "an expiry after the year 9999": ("spec.expire_time", {"expire_time_us": MAX_TIME_US + 1}),
    "an expiry at the schedule": ("spec.expire_time", {"schedule_time_us": 5, "expire_time_us": 5}),
    "a timeout of nothing": ("spec.attempt_timeout", {"attempt_timeout_us": 0}),
    "a timeout too long": ("spec.attempt_timeout", {"attempt_timeout_us": MAX_DURATION_US + 1}),
    "a retention of nothing": ("spec.retention", {"retention_us": 0}),
    "a retention too long": ("spec.retention", {"retention_us": MAX_DURATION_US + 1}),
    "fewer than no attempts": ("spec.retry_policy.max_attempts", {"retry_policy": _policy(max_attempts=-1)}),
    "1001 attempts": ("spec.retry_policy.max_attempts", {"retry_policy": _policy(max_attempts=1001)}),
    "a negative backoff": ("spec.retry_policy.initial_backoff", {"retry_policy": _policy(initial_backoff_us=-1)}),
    "a backoff too long": (
        "spec.retry_policy.initial_backoff",
        {"retry_policy": _policy(initial_backoff_us=MAX_DURATION_US + 1)},
    ),
    "a negative cap": ("spec.retry_policy.max_backoff", {"retry_policy": _policy(max_backoff_us=-1)}),
    "a cap too high": ("spec.retry_policy.max_backoff", {"retry_policy": _policy(max_backoff_us=MAX_DURATION_US + 1)}),
    "a shrinking backoff": ("spec.retry_policy.backoff_multiplier", {"retry_policy": _policy(backoff_multiplier=0.5)}),
    "an endless multiplier": (
        "spec.retry_policy.backoff_multiplier",
        {"retry_policy": _policy(backoff_multiplier=float("inf"))},
    ),
    "a multiplier that is no number": (
        "spec.retry_policy.backoff_multiplier",
        {"retry_policy": _policy(backoff_multiplier=float("nan"))},
    ),
    "jitter below 0": ("spec.retry_policy.jitter", {"retry_policy": _policy(jitter=-0.1)}),
    "jitter over 1": ("spec.retry_policy.jitter", {"retry_policy": _policy(jitter=1.1)}),
    "jitter that is no number": ("spec.retry_policy.jitter", {"retry_policy": _policy(jitter=float("nan"))}),
    "101 error types": (
        "spec.retry_policy.non_retryable_error_types",
        {"retry_policy": _policy(non_retryable_error_types=("E",) * 101)},
    ),
    "an error type of 201 characters": (
        "spec.retry_policy.non_retryable_error_types",
        {"retry_policy": _policy(non_retryable_error_types=("E", "E" * 201))},
    ),
    "an empty error type": (
        "spec.retry_policy.non_retryable_error_types",
        {"retry_policy": _policy(non_retryable_error_types=("",))},
    ),
    "33 labels": ("spec.labels", {"labels": {str(n): "v" for n in range(33)}}),
    "a label without name": ("spec.labels['']", {"labels": {"": "v"}}),
    "a label name of 64 characters": (f"spec.labels['{'k' * 64}']", {"labels": {"k" * 64: "v"}}),
    "a label value of 256 characters": ("spec.labels['k']", {"labels": {"k": "v" * 256}}),
    "a label value with a NUL": ("spec.labels['k']", {"labels": {"k": "\x00"}}),
    "33 headers": ("spec.headers", {"headers": {str(n): "v" for n in range(33)}}),
    "a header without name": ("spec.headers['']", {"headers": {"": "v"}}),
    "a header value with a NUL": ("spec.headers['h']", {"headers": {"h": "\x00"}}),
    "a header value with half a character": ("spec.headers['h']", {"headers": {"h": "\udfff"}}),
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(fields: dict[str, Any]) -> None:
    assert refuse_new_job(new_job(**fields), "") is None


@pytest.mark.parametrize(("field", "fields"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_exactly_the_path_of_the_field_and_a_sentence(field: str, fields: dict[str, Any]) -> None:
    violations = check_new_job(new_job(**fields), "")
    assert [violation.field for violation in violations] == [field]
    assert len(violations[0].description) > 10
    assert isinstance(refuse_new_job(new_job(**fields), ""), FieldInvalid)


@pytest.mark.parametrize(("field", "fields"), REFUSED.values(), ids=REFUSED.keys())
def test_an_element_of_a_batch_is_named_in_front_of_the_field(field: str, fields: dict[str, Any]) -> None:
    [violation] = check_new_job(new_job(**fields), "requests[17]")
    assert violation.field == f"requests[17].{field}"


def test_a_payload_at_its_limit_is_accepted_and_one_byte_more_is_too_large() -> None:
    limit = DEFAULT_LIMITS.payload_bytes
    assert limit == 1 << 20
    assert refuse_new_job(new_job(payload=Content(bytes(limit))), "") is None
    error = refuse_new_job(new_job(payload=Content(bytes(limit + 1))), "requests[3]")
    assert isinstance(error, PayloadTooLarge)
    assert error.facts == {"field": "requests[3].spec.payload", "limit": str(limit), "actual": str(limit + 1)}
    assert str(limit) in error.message


def test_headers_are_measured_together_in_utf8_bytes() -> None:
    assert check_size(new_job(headers={"h": "ä" * 4095}), "") is None
    error = check_size(new_job(headers={"h": "ä" * 4095, "xy": ""}), "")
    assert isinstance(error, PayloadTooLarge)
    assert error.facts == {"field": "spec.headers", "limit": "8192", "actual": "8193"}


def test_half_a_character_in_a_header_does_not_stop_the_measuring() -> None:
    assert check_size(new_job(headers={"h": "\ud800" * 2730}), "") is None
    assert check_size(new_job(headers={"h": "\ud800" * 2731}), "") is not None


def test_a_result_too_large_has_the_same_error_as_a_payload() -> None:
    error = payload_too_large("result", 1 << 21)
    assert (error.reason, error.facts["field"], error.facts["actual"]) == ("PAYLOAD_TOO_LARGE", "result", "2097152")


def test_what_is_too_large_is_said_before_what_is_wrong() -> None:
    job = new_job(payload=Content(bytes((1 << 20) + 1)), queue="")
    assert isinstance(refuse_new_job(job, ""), PayloadTooLarge)


def test_all_violations_of_a_job_are_found_at_once() -> None:
    job = new_job(queue="", type="", priority=10, retention_us=0, labels={"": "v"}, headers={"": "v"})
    assert [violation.field for violation in check_new_job(job, "")] == [
        *("spec.queue", "spec.type", "spec.priority", "spec.retention"),
        *("spec.labels['']", "spec.headers['']"),
    ]


def test_at_most_twenty_violations_are_collected() -> None:
    job = new_job(queue="", labels={f"\x00{n}": "" for n in range(32)})
    assert len(check_new_job(job, "")) == MAX_VIOLATIONS == 20


def test_a_bad_key_is_shown_escaped_and_cut() -> None:
    [violation] = check_new_job(new_job(labels={"\x1b" + "k" * 500: "v"}), "")
    assert violation.field == f"spec.labels['\\x1b{'k' * 63}']"


def test_limits_are_those_that_the_server_was_given() -> None:
    narrow = Limits(payload_bytes=1, type_chars=2, labels=1)
    assert refuse_new_job(new_job(type="ab", payload=None), "", narrow) is None
    assert check_new_job(new_job(type="abc", payload=None), "", narrow)[0].description.endswith(
        "1 to 2 characters without control characters"
    )
    assert isinstance(refuse_new_job(new_job(payload=Content(b"ab")), "", narrow), PayloadTooLarge)
    assert check_new_job(new_job(type="ab", labels={"a": "", "b": ""}), "", narrow)


_texts = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(["", "default", "a\n", "x" * 201])


def _jobs(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[NewJob]:
    return st.fixed_dictionaries(fields).map(lambda drawn: new_job(**drawn))


@given(
    _jobs(
        job_id=_texts,
        id_chosen=st.booleans(),
        type=_texts,
        queue=_texts,
        priority=st.integers(-2, 12),
        payload=st.none() | st.builds(Content, st.just(b""), _texts, _texts, st.booleans()),
        request_id=_texts,
    )
)
def test_the_short_way_accepts_nothing_that_the_tables_refuse(job: NewJob) -> None:
    # Labels send a job the long way, through every row of its tables.
    assert check_new_job(job, "") == check_new_job(job._replace(labels={"a": "b"}), "")


_pairs = st.dictionaries(_texts, _texts, max_size=3)


@given(_jobs(type=_texts, queue=_texts, labels=_pairs, headers=_pairs, request_id=_texts))
def test_what_is_accepted_can_be_stored(job: NewJob) -> None:
    if check_new_job(job, ""):
        return
    pairs = [*(job.labels or {}).items(), *(job.headers or {}).items()]
    for text in (job.type, job.queue, job.request_id, *(part for pair in pairs for part in pair)):
        assert "\x00" not in text
        text.encode()  # raises on half a character
