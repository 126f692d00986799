"""Assertions on what was submitted: they find what fits, and show what does not."""

from __future__ import annotations

from datetime import date
from unittest import mock

import pytest

from jobwire import JobState
from jobwire.testing import Jobwire
from tests.testing import shop


def test_some_fields_of_the_payload_are_enough(jobwire: Jobwire) -> None:
    jobwire.client.submit("email.send", {"to": "eve@example.org", "subject": "hi"})
    wanted = jobwire.client.submit("email.send", {"to": "ada@example.org", "subject": "hi"}, queue="mail", priority=7)

    found = jobwire.assert_submitted("email.send", to="ada@example.org")

    assert (found.job_id, found.queue, found.priority, found.state) == (wanted.id, "mail", 7, JobState.PENDING)
    assert found.payload == {"to": "ada@example.org", "subject": "hi"}
    jobwire.assert_submitted("email.send")
    jobwire.refute_submitted("email.send", to="bob@example.org")
    jobwire.refute_submitted("sms.send")


def test_arguments_given_by_place_are_found_by_their_names(jobwire: Jobwire) -> None:
    jobwire.client.submit("email.send", ["ada@example.org", "hi"])
    jobwire.client.submit("order.ship", 7)

    assert jobwire.assert_submitted(shop.send_email, subject="hi").payload == {"to": "ada@example.org", "subject": "hi"}
    jobwire.assert_submitted(shop.ship, order=7)


def test_a_whole_payload_must_be_equal(jobwire: Jobwire) -> None:
    jobwire.client.submit("echo", ["a", 1])
    jobwire.assert_submitted("echo", ["a", 1])
    jobwire.refute_submitted("echo", ["a"])
    with pytest.raises(TypeError, match="as one value"):
        jobwire.assert_submitted("echo", "a", 1)


def test_what_is_expected_is_compared_as_it_travels(jobwire: Jobwire) -> None:
    jobwire.client.submit("echo", {"day": date(2026, 1, 2), "of": {"ids": (1, 2)}})
    jobwire.assert_submitted("echo", day=date(2026, 1, 2), of={"ids": [1, 2]})
    jobwire.assert_submitted("echo", day=mock.ANY)
    jobwire.refute_submitted("echo", day=date(2026, 1, 3))


def test_a_job_that_ran_already_was_submitted_all_the_same(jobwire: Jobwire) -> None:
    jobwire.client.submit("email.send", ["ada"])
    jobwire.drain()
    assert jobwire.assert_submitted("email.send", to="ada").state is JobState.COMPLETED


def test_they_are_listed_oldest_first(jobwire: Jobwire) -> None:
    for name in ("a", "b", "c"):
        jobwire.client.submit("email.send", [name])
    jobwire.client.submit("echo")
    assert [each.payload["to"] for each in jobwire.submitted("email.send")] == ["a", "b", "c"]
    assert [each.type for each in jobwire.submitted()] == ["email.send"] * 3 + ["echo"]


def test_the_message_shows_the_difference_to_each_job_of_the_type(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("email.send", {"to": "eve@example.org", "subject": "hi"}, queue="mail")
    jobwire.client.submit("echo")

    with pytest.raises(AssertionError) as failure:
        jobwire.assert_submitted("email.send", to="ada@example.org")

    assert str(failure.value) == "\n".join([
        "No job of type 'email.send' was submitted with to='ada@example.org'.",
        "Of this type there is 1:",
        f"  {job.id}, queue mail, PENDING (- expected, + submitted)",
        "      {",
        '        "subject": "hi",',
        '    -   "to": "ada@example.org"',
        '    +   "to": "eve@example.org"',
        "      }",
        "Of other types: echo (1)",
    ])  # fmt: skip


def test_the_message_says_when_there_is_nothing_at_all(jobwire: Jobwire) -> None:
    with pytest.raises(AssertionError, match="Nothing was submitted at all"):
        jobwire.assert_submitted("email.send")


def test_what_should_not_be_there_is_shown(jobwire: Jobwire) -> None:
    job = jobwire.client.submit("sms.send", {"to": "ada"})
    with pytest.raises(AssertionError) as failure:
        jobwire.refute_submitted("sms.send")
    assert f"{job.id}, queue default, PENDING, payload {{'to': 'ada'}}" in str(failure.value)
