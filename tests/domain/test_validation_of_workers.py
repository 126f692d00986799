"""What a worker may say of itself, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from jobwire_server.domain.job import Content
from jobwire_server.domain.limits import DEFAULT_LIMITS as LIMITS
from jobwire_server.domain.validation import check_content
from jobwire_server.domain.worker_rules import QueueFields, WorkerFields, check_worker, lease_within

DEFAULT = QueueFields("default", 0, 0)


def worker(**fields: Any) -> WorkerFields:
    return WorkerFields(**{"worker_id": "w1", "queues": (DEFAULT,), "types": ("work",), **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"worker_id": "x" * 200, "instance_id": "y" * 64, "user_agent": "z" * 500},
        {"types": ()},
        {"types": ("größe",) * 1000},
        {"queues": (QueueFields("*", 1000, 10_000), DEFAULT)},
        {"max_in_flight": 10_000, "held": 10_000, "max_jobs": 100, "lease_us": 1, "wait_us": 10**12},
    ],
)
def test_what_is_within_the_bounds_is_accepted(fields: dict[str, Any]) -> None:
    assert check_worker(worker(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"worker_id": ""}, "worker_id"),
        ({"worker_id": "x" * 201}, "worker_id"),
        ({"worker_id": "a\nb"}, "worker_id"),
        ({"instance_id": ""}, "instance_id"),
        ({"instance_id": "ü"}, "instance_id"),
        ({"instance_id": "y" * 65}, "instance_id"),
        ({"queues": ()}, "queues"),
        ({"queues": tuple(QueueFields(f"q{n}", 0, 0) for n in range(101))}, "queues"),
        ({"queues": (DEFAULT, DEFAULT)}, "queues"),
        ({"queues": (QueueFields("No", 0, 0),)}, "queues[0].queue"),
        ({"queues": (DEFAULT, QueueFields("b", 1001, 0))}, "queues[1].weight"),
        ({"queues": (QueueFields("b", 1, -1),)}, "queues[0].max_in_flight"),
        ({"types": ("work",) * 1001}, "types"),
        ({"types": ("work", "")}, "types[1]"),
        ({"max_in_flight": -1}, "max_in_flight"),
        ({"max_in_flight": 10_001}, "max_in_flight"),
        ({"max_in_flight_bytes": -1}, "max_in_flight_bytes"),
        ({"lease_us": -1}, "lease_duration"),
        ({"held": 10_001}, "held_lease_tokens"),
        ({"user_agent": "z" * 501}, "user_agent"),
        ({"max_jobs": 101}, "max_jobs"),
        ({"wait_us": -1}, "wait_timeout"),
        ({"request_id": "x" * 129}, "request_id"),
    ],
)
def test_each_field_out_of_its_bounds_is_named_with_its_path(fields: dict[str, Any], field: str) -> None:
    assert [violation.field for violation in check_worker(worker(**fields), "hello")] == [f"hello.{field}"]


def test_a_wish_for_a_lease_is_held_to_the_range_and_no_wish_means_the_servers_own() -> None:
    own_us = 30_000_000
    assert lease_within(0, own_us) == own_us
    assert lease_within(1, own_us) == LIMITS.min_lease_us
    assert lease_within(10**12, own_us) == LIMITS.max_lease_us
    assert lease_within(5_000_000, own_us) == 5_000_000


def test_a_result_or_checkpoint_needs_a_media_type_and_an_encoding_that_can_be_stored() -> None:
    assert check_content(Content(b"x", "text/plain"), "result") == []
    assert check_content(Content(b"x", "text/plain", "gzip"), "result") == []
    violations = check_content(Content(b"x", "tex\nt", "x" * 65), "result")
    assert [violation.field for violation in violations] == ["result.content_type", "result.content_encoding"]
