"""Deadlines, tries and errors of the sync client, with fake time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from jobwire import errors
from jobwire.models import Job, JobFilter, JobState, RetryPolicy
from jobwire.settings import Settings
from jobwire.v1 import admin_service_pb2, job_pb2
from jobwire.v1 import job_service_pb2 as pb
from tests.client.stage import START, Stage

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def submitted(job_id: str = "j1", *, created: bool = True) -> pb.SubmitJobResponse:
    status = job_pb2.JobStatus(state=job_pb2.JOB_STATE_PENDING, revision=1)
    return pb.SubmitJobResponse(job=job_pb2.Job(job_id=job_id, status=status), created=created)


def test_a_submit_becomes_a_handle(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.submit("email.send", {"to": "ada@example.org"}))

    request = stage.answer("SubmitJob", submitted("j1"))

    assert request.spec.type == "email.send"
    assert request.spec.payload.text == '{"to":"ada@example.org"}'
    assert request.spec.payload.content_type == "application/json"
    handle = call.result()
    assert (handle.id, handle.state, handle.created) == ("j1", JobState.PENDING, True)


def test_every_option_of_a_submit_reaches_the_request(stage: Stage) -> None:
    stage.call(
        lambda: stage.client.submit(
            "t", queue="mail", key="order-42/mail", job_id="mine", delay="10m", priority=0, labels={"customer": "42"},
            headers={"traceparent": "00-1"}, timeout="30s", max_attempts=3, expires="1h", retention=60,
            retry=RetryPolicy(initial_backoff=timedelta(seconds=1), jitter=0.0, non_retryable_error_types=("E",)),
        )
    )  # fmt: skip

    request = stage.answer("SubmitJob", submitted())

    spec = request.spec
    assert (request.request_id, request.job_id, spec.queue) == ("order-42/mail", "mine", "mail")
    assert spec.HasField("priority")
    assert spec.priority == 0
    assert spec.schedule_time.ToDatetime(UTC) == START + timedelta(minutes=10)
    assert spec.expire_time.ToDatetime(UTC) == START + timedelta(hours=1)
    assert spec.attempt_timeout.ToTimedelta() == timedelta(seconds=30)
    assert spec.retention.ToTimedelta() == timedelta(minutes=1)
    assert (spec.retry_policy.max_attempts, spec.retry_policy.initial_backoff.seconds) == (3, 1)
    assert spec.retry_policy.HasField("jitter")
    assert list(spec.retry_policy.non_retryable_error_types) == ["E"]
    assert (spec.labels["customer"], spec.headers["traceparent"]) == ("42", "00-1")


def test_what_is_left_out_is_left_to_the_server(stage: Stage) -> None:
    stage.call(lambda: stage.client.submit("t"))

    request = stage.answer("SubmitJob", submitted())

    assert request == pb.SubmitJobRequest(spec=job_pb2.JobSpec(type="t"), request_id="id-1")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"delay": "soon"}, "delay"),
        ({"delay": "1s", "at": START}, "either"),
        ({"at": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"max_attempts": 0}, "max_attempts"),
        ({"labels": {"n": 1}}, "wrong type"),
        ({"priority": "high"}, "wrong type"),
        ({"deadline": 0}, "deadline"),
        ({"prio": 3}, "prio"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_sent(stage: Stage, options: dict, word: str) -> None:
    with pytest.raises(errors.ArgumentInvalid, match=word):
        stage.client.submit("t", **options)

    assert stage.deadlines == []


def test_a_request_too_big_for_any_server_is_refused_before_it_is_sent(stage: Stage) -> None:
    with pytest.raises(errors.PayloadTooLarge) as caught:
        stage.client.submit("t", b"x" * (4 * 2**20))

    assert caught.value.facts["limit"] == str(4 * 2**20)
    assert stage.deadlines == []


def test_every_call_has_the_deadline_of_the_client(stage: Stage) -> None:
    call = stage.call(stage.client.server_info)

    stage.answer("GetServerInfo", admin_service_pb2.GetServerInfoResponse())

    call.result()
    assert stage.deadlines == [10.0]


def test_a_call_may_have_a_deadline_of_its_own(stage: Stage) -> None:
    stage.call(lambda: stage.client.get("j1", deadline="2s"))

    stage.answer("GetJob", pb.GetJobResponse())

    assert stage.deadlines == [2.0]


def test_a_deadline_that_passes_is_named_with_its_address(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.get("j1"))

    stage.refuse("GetJob", grpc.StatusCode.DEADLINE_EXCEEDED, message="Deadline Exceeded")

    with pytest.raises(errors.CallTimeout, match=r"127\.0\.0\.1:7780 did not answer GetJob within 10 s"):
        call.result()
    assert stage.clock.pauses == []


def test_an_unavailable_server_is_tried_again_with_the_same_key_and_what_is_left_of_the_deadline(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.submit("t"))

    first = stage.refuse("SubmitJob", UNAVAILABLE, message="Socket closed")
    second = stage.refuse("SubmitJob", UNAVAILABLE, "STORE_UNAVAILABLE")
    third = stage.answer("SubmitJob", submitted())

    assert call.result().id == "j1"
    assert first.request_id == "id-1"
    assert first == second == third
    assert stage.clock.pauses == [0.1, 0.2]
    assert stage.deadlines == pytest.approx([10.0, 9.9, 9.7])


def test_pauses_are_jittered(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(chance=0.0)
    call = stage.call(lambda: stage.client.submit("t"))

    stage.refuse("SubmitJob", UNAVAILABLE)
    stage.answer("SubmitJob", submitted())

    call.result()
    assert stage.clock.pauses == [0.05]


def test_tries_end_before_the_deadline_does(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.submit("t", deadline="1s"))

    for _ in range(4):
        stage.refuse("SubmitJob", UNAVAILABLE, message="Connection refused")

    with pytest.raises(errors.ServerUnreachable):
        call.result()
    assert stage.clock.pauses == [0.1, 0.2, 0.4]
    assert stage.clock.elapsed < 1.0


def test_the_number_of_tries_can_be_bounded(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Settings(tries=2))
    call = stage.call(lambda: stage.client.submit("t"))

    stage.refuse("SubmitJob", UNAVAILABLE)
    stage.refuse("SubmitJob", UNAVAILABLE)

    with pytest.raises(errors.Unavailable):
        call.result()


def test_the_servers_advice_when_to_try_again_is_followed(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.submit("t"))

    stage.refuse("SubmitJob", UNAVAILABLE, "NOT_READY", retry_after_seconds=3)
    stage.answer("SubmitJob", submitted())

    call.result()
    assert stage.clock.pauses == [3.0]


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name not in ("OK", "UNAVAILABLE")])
def test_nothing_but_unavailable_is_tried_again(stage: Stage, code: grpc.StatusCode) -> None:
    call = stage.call(lambda: stage.client.submit("t"))

    stage.refuse("SubmitJob", code, "SOMETHING_NEW")

    with pytest.raises(errors.JobwireError) as caught:
        call.result()
    assert (caught.value.code, caught.value.grpc_code) == ("SOMETHING_NEW", code.name)
    assert stage.clock.pauses == []


def test_a_retry_of_a_job_that_may_have_happened_is_not_repeated(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.retry("j1"))

    stage.refuse("RetryJob", UNAVAILABLE, message="Socket closed")

    with pytest.raises(errors.ServerUnreachable):
        call.result()


@pytest.mark.parametrize(
    "refusal", [("", "failed to connect to all addresses; last error: Connection refused"), ("DRAINING", "No.")]
)
def test_a_retry_of_a_job_that_surely_did_not_happen_is_repeated(stage: Stage, refusal: tuple[str, str]) -> None:
    call = stage.call(lambda: stage.client.retry("j1"))

    reason, message = refusal
    stage.refuse("RetryJob", UNAVAILABLE, reason, message)
    stage.answer("RetryJob", pb.RetryJobResponse(job=job_pb2.Job(job_id="j1")))

    assert call.result().job_id == "j1"


GRPC_CODES = {reason: error.status for reason, error in errors.CATALOGUE.items() if reason not in errors.LOCAL_REASONS}


@pytest.mark.parametrize("reason", sorted(GRPC_CODES))
def test_every_reason_of_the_catalogue_arrives_as_its_class_with_its_facts(
    make_stage: Callable[..., Stage], reason: str
) -> None:
    stage = make_stage(Settings(tries=1))
    call = stage.call(lambda: stage.client.cancel("j1"))

    code = grpc.StatusCode[GRPC_CODES[reason]]
    stage.refuse(
        "CancelJob", code, reason, "A sentence of the server.", facts={"state": "FAILED"},
        violations=[("spec.queue", "is bad")], retry_after_seconds=5,
    )  # fmt: skip

    with pytest.raises(errors.CATALOGUE[reason]) as caught:
        call.result()
    error = caught.value
    assert (error.code, error.grpc_code, str(error)) == (reason, code.name, "A sentence of the server.")
    assert error.facts == {"state": "FAILED"}
    assert error.violations == (("spec.queue", "is bad"),)
    assert error.retry_after == timedelta(seconds=5)


def test_details_of_a_foreign_domain_are_not_taken_for_ours(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.get("j1"))

    stage.refuse("GetJob", grpc.StatusCode.PERMISSION_DENIED, "JOB_NOT_FOUND", domain="proxy.example")

    with pytest.raises(errors.PermissionDenied) as caught:
        call.result()
    assert caught.value.code == "PERMISSION_DENIED"


def test_garbage_in_place_of_details_is_survived(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.get("j1"))

    _, answering = stage.take("GetJob")
    answering.terminate(
        None, (("grpc-status-details-bin", b"\xff\xff"),), grpc.StatusCode.UNIMPLEMENTED, "Method not found!"
    )

    with pytest.raises(errors.Unsupported, match="does not know the call GetJob"):
        call.result()


def test_a_job_is_read_with_all_it_holds(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.get("j1"))
    message = job_pb2.Job(job_id="j1", batch_id="b")
    message.spec.type, message.spec.queue = "t", "q"
    message.spec.labels["a"] = "b"
    message.spec.payload.text, message.spec.payload.content_type = "1", "application/json"
    message.status.state, message.status.revision = job_pb2.JOB_STATE_FAILED, 7
    message.status.last_error.type = "ValueError"
    message.status.finish_time.FromDatetime(START)
    attempt = message.attempts.add(number=1, worker_id="w")
    attempt.error.type = "ValueError"

    request = stage.answer("GetJob", pb.GetJobResponse(job=message))

    job: Job = call.result()
    assert request.view == job_pb2.JOB_VIEW_FULL
    assert (job.state, job.status.revision, job.status.finish_time) == (JobState.FAILED, 7, START)
    assert (job.spec.labels, job.spec.payload.data if job.spec.payload else None) == ({"a": "b"}, b"1")
    assert job.attempts[0].error is not None
    assert job.attempts[0].error.type == "ValueError"


def test_a_state_that_this_version_does_not_know_is_unknown_and_not_terminal(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.get("j1"))

    stage.answer("GetJob", pb.GetJobResponse(job=job_pb2.Job(status=job_pb2.JobStatus(state=77))))  # type: ignore[arg-type]

    assert call.result().state is JobState.UNKNOWN
    assert not call.result().state.is_terminal


def test_listing_fetches_pages_as_they_are_needed(stage: Stage) -> None:
    jobs = stage.client.jobs(JobFilter(queues=("mail",), states=(JobState.FAILED,)), page_size=2)

    first = stage.call(lambda: next(jobs))
    request = stage.answer("ListJobs", pb.ListJobsResponse(jobs=[job_pb2.Job(job_id="a")], next_page_token="more"))
    assert first.result().job_id == "a"
    rest = stage.call(lambda: [job.job_id for job in jobs])
    empty = stage.answer("ListJobs", pb.ListJobsResponse(next_page_token="still more"))
    stage.answer("ListJobs", pb.ListJobsResponse(jobs=[job_pb2.Job(job_id="b")]))

    assert rest.result() == ["b"]
    assert (list(request.filter.queues), list(request.filter.states)) == (["mail"], [job_pb2.JOB_STATE_FAILED])
    assert (request.page_size, request.page_token, empty.page_token) == (2, "", "more")
    assert empty.filter == request.filter


def test_a_closed_client_says_so(stage: Stage) -> None:
    stage.client.close()

    with pytest.raises(errors.ClientClosed):
        stage.client.get("j1")


def test_a_call_that_the_server_cancels_as_it_stops_is_tried_again(stage: Stage) -> None:
    call = stage.call(lambda: stage.client.submit("t"))

    first = stage.refuse("SubmitJob", grpc.StatusCode.CANCELLED, message="CANCELLED")
    second = stage.answer("SubmitJob", submitted())

    assert call.result().id == "j1"
    assert first == second


def test_a_call_that_is_cancelled_on_the_way_has_lost_its_connection(make_stage: Callable[..., Stage]) -> None:
    stage = make_stage(Settings(tries=1))
    call = stage.call(lambda: stage.client.get("j1"))

    stage.refuse("GetJob", grpc.StatusCode.CANCELLED, message="CANCELLED")

    with pytest.raises(errors.ServerUnreachable, match="connection lost"):
        call.result()
