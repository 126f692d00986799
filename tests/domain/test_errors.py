"""The tree of errors: one reason each, and sentences that say enough."""

from __future__ import annotations

import re

import pytest

from jobwire_server.domain import errors
from jobwire_server.domain.errors import FieldInvalid, JobwireError, PayloadTooLarge, Refused, Unavailable, Violation

# The published catalogue, as far as the server itself raises it.
REASONS = {
    "LEASE_TOKEN_MALFORMED",
    "PROTOCOL_VIOLATION",
    "WORKER_SILENT",
    *("FIELD_INVALID", "PAYLOAD_TOO_LARGE", "BATCH_TOO_LARGE", "PAGE_TOKEN_INVALID", "PAGE_TOKEN_MISMATCH"),
    *("REQUEST_ID_REUSED", "JOB_NOT_FOUND", "JOB_ID_TAKEN", "JOB_TERMINAL", "JOB_NOT_TERMINAL", "JOB_SUCCEEDED"),
    *("LEASE_LOST", "REVISION_COMPACTED", "REVISION_IN_FUTURE", "STORE_EPOCH_CHANGED", "QUEUE_FULL", "STORE_FULL"),
    *("TOO_MANY_STREAMS", "TOO_MANY_REQUESTS", "SLOW_CONSUMER", "DEADLINE_TOO_SHORT"),
    *("NOT_READY", "DRAINING", "STREAM_AGE", "STORE_UNAVAILABLE"),
}


def _leaves(cls: type[JobwireError]) -> list[type[JobwireError]]:
    """Those of the domain: a driver may divide them further, under the same reason."""
    children = [child for child in cls.__subclasses__() if child.__module__ == errors.__name__]
    return [leaf for child in children for leaf in _leaves(child)] or [cls]


def test_each_error_has_a_reason_of_its_own() -> None:
    reasons = [leaf.reason for leaf in _leaves(JobwireError)]
    assert len(reasons) == len(set(reasons))


def test_the_reasons_are_those_of_the_catalogue() -> None:
    assert {leaf.reason for leaf in _leaves(JobwireError)} == REASONS
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{1,62}[A-Z0-9]", reason) for reason in REASONS)


def test_an_error_is_either_a_definite_refusal_or_leaves_the_outcome_open() -> None:
    for leaf in _leaves(JobwireError):
        assert issubclass(leaf, Refused) != issubclass(leaf, Unavailable)


@pytest.mark.parametrize("leaf", _leaves(JobwireError), ids=lambda leaf: leaf.reason)
def test_each_error_says_what_it_means_in_its_docstring(leaf: type[JobwireError]) -> None:
    assert leaf.__doc__ is not None
    assert leaf.__doc__.endswith((".", ")."))


def test_the_module_names_every_error_in_its_tree() -> None:
    assert errors.__doc__ is not None
    for leaf in _leaves(JobwireError):
        assert re.search(rf"\b{leaf.__name__}\b", errors.__doc__)


def test_an_error_carries_its_sentence_its_facts_as_text_and_when_to_try_again() -> None:
    error = PayloadTooLarge("too large", retry_after_us=5, limit=10, actual=11)
    assert str(error) == error.message == "too large"
    assert error.facts == {"limit": "10", "actual": "11"}
    assert error.retry_after_us == 5
    assert PayloadTooLarge("x").retry_after_us is None


def test_an_invalid_field_is_named_in_the_message_and_all_of_them_in_the_violations() -> None:
    one, two = Violation("spec.type", "is required"), Violation("spec.queue", "is odd")
    assert str(FieldInvalid([one])) == "spec.type: is required"
    assert str(FieldInvalid([one, two])) == "spec.type: is required (and 1 more)"
    assert FieldInvalid([one, two]).violations == (one, two)
