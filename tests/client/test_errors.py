"""The tree of errors and its catalogue."""

from __future__ import annotations

import pickle
import re

import pytest

import jobwire_server.domain.errors as server_errors
from jobwire import _status, errors
from jobwire._status import Place
from jobwire.models import JobError, JobState, JobStatus

PLACE = Place("127.0.0.1:7780", "default", "GetJob", 10.0)


def reasons_of(base: type) -> set[str]:
    return {reason for cls in base.__subclasses__() for reason in ({cls.reason} | reasons_of(cls))}


def test_the_client_knows_the_reasons_of_the_server_and_no_others() -> None:
    assert set(errors.CATALOGUE) - errors.LOCAL_REASONS == reasons_of(server_errors.JobwireError)


def test_every_reason_has_one_class() -> None:
    assert all(error.reason == reason for reason, error in errors.CATALOGUE.items())
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+[A-Z0-9]", reason) for reason in errors.CATALOGUE)


def test_a_local_reason_that_comes_from_outside_is_not_taken_for_ours() -> None:
    assert errors.error_class("JOB_FAILED", "NOT_FOUND") is errors.NotFound


@pytest.mark.parametrize("error", errors.CATALOGUE.values(), ids=lambda error: error.reason)
def test_every_error_crosses_processes_whole(error: type[errors.JobwireError]) -> None:
    original = error("It failed.", errors.ErrorDetails(why="Because.", facts={"a": "b"}))

    copy = pickle.loads(pickle.dumps(original))

    assert type(copy) is error
    assert (str(copy), copy.code, copy.facts, copy.hint) == (
        "It failed. Because.",
        error.reason,
        {"a": "b"},
        original.hint,
    )


def test_a_failed_job_tells_its_error_and_attempts() -> None:
    status = JobStatus(state=JobState.FAILED, attempt=3, last_error=JobError(type="ValueError", message="no such user"))

    error = pickle.loads(pickle.dumps(errors.job_ended("j1", status)))

    assert isinstance(error, errors.JobFailed)
    assert str(error) == "Job j1 failed after 3 attempts: ValueError: no such user"
    assert (error.code, error.attempts, error.error, error.job_id) == ("JOB_FAILED", 3, status.last_error, "j1")


@pytest.mark.parametrize(
    ("state", "kind"), [(JobState.CANCELLED, errors.JobCancelled), (JobState.EXPIRED, errors.JobExpired)]
)
def test_other_ends_have_their_own_class(state: JobState, kind: type[errors.JobEnded]) -> None:
    assert type(errors.job_ended("j1", JobStatus(state=state, attempt=1))) is kind


def test_waiting_too_long_is_also_a_timeout_error() -> None:
    assert issubclass(errors.WaitTimeout, TimeoutError)
    assert issubclass(errors.CallTimeout, TimeoutError)


@pytest.mark.parametrize(
    ("text", "cause", "sent"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: connect: Connection refused (111)",
            "connection refused",
            "no",
        ),
        ("failed to connect to all addresses; last error: No such file or directory", "no such socket", "no"),
        ("DNS resolution failed for nowhere.invalid:7780: ...", "name not found", "no"),
        ("failed to connect to all addresses; last error: Ssl handshake failed: ...", "TLS handshake failed", "no"),
        ("Socket closed", "connection lost", "maybe"),
        ("ping timeout", "no answer to pings", "maybe"),
        ("something never heard of", "no answer", "maybe"),
    ],
)
def test_an_unreachable_server_is_explained(text: str, cause: str, sent: str) -> None:
    error = _status.error_from("UNAVAILABLE", text, (), PLACE)

    assert isinstance(error, errors.ServerUnreachable)
    assert error.message == f"Cannot reach the server at 127.0.0.1:7780 ({cause})."
    assert "Address came from: default." in str(error)
    assert (error.facts["cause"], error.facts["sent"]) == (cause, sent)
    assert "jobwire dev" in error.hint


def test_a_message_over_grpcs_limit_is_called_so() -> None:
    text = "CLIENT: Received message larger than max (9000000 vs. 8388608)"

    error = _status.error_from("RESOURCE_EXHAUSTED", text, (), PLACE)

    assert isinstance(error, errors.PayloadTooLarge)
    assert error.facts == {"limit": "8388608", "actual": "9000000"}
