"""SubmitJob and BatchSubmitJobs, seen from outside."""

from __future__ import annotations

import asyncio
import sys

import pytest

from jobwire.v1 import job_pb2 as jpb
from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.domain.job import SECOND_US
from jobwire_server.domain.limits import Limits
from tests.rpc.rig import Code, RpcRig, refused, request_of

pytestmark = pytest.mark.asyncio


def batch_of(*requests: pb.SubmitJobRequest, **fields: object) -> pb.BatchSubmitJobsRequest:
    return pb.BatchSubmitJobsRequest(requests=requests, **fields)  # type: ignore[arg-type]


async def test_a_submitted_job_is_answered_with_its_defaults_and_is_in_the_store(rig: RpcRig) -> None:
    response = await rig.api.SubmitJob(request_of(payload=jpb.Payload(text='{"a":1}')))

    assert response.created
    job = response.job
    assert (job.spec.queue, job.spec.priority, job.spec.retry_policy.max_attempts) == ("default", 5, 20)
    assert not job.spec.HasField("payload")
    assert job.status.state == jpb.JOB_STATE_PENDING
    stored = await rig.get(job.job_id)
    assert stored.spec.payload.text == '{"a":1}'


async def test_the_answer_to_a_submit_is_what_a_read_gives(rig: RpcRig) -> None:
    ahead_us = rig.stores.clock.wall_us() + 3600 * SECOND_US
    request = request_of(queue="mail", priority=0, labels={"a": "b"}, headers={"traceparent": "x"})
    request.spec.schedule_time.FromMicroseconds(ahead_us)
    request.spec.expire_time.FromMicroseconds(ahead_us + SECOND_US)
    request.spec.attempt_timeout.FromSeconds(30)
    request.spec.retention.FromSeconds(60)
    request.spec.retry_policy.max_attempts = 3
    request.spec.retry_policy.non_retryable_error_types.append("ValueError")

    job = (await rig.api.SubmitJob(request)).job

    assert job.status.state == jpb.JOB_STATE_SCHEDULED
    assert job == await rig.get(job.job_id, view=jpb.JOB_VIEW_BASIC)


async def test_the_same_request_id_finds_the_first_job_again(rig: RpcRig) -> None:
    first = await rig.api.SubmitJob(request_of(request_id="key-1"))
    second = await rig.api.SubmitJob(request_of(request_id="key-1"))

    assert (first.created, second.created) == (True, False)
    assert second.job == first.job


async def test_the_layout_of_the_bytes_does_not_change_what_a_request_id_means(rig: RpcRig) -> None:
    """Other languages write maps in any order."""

    def laid_down(*labels: tuple[str, str]) -> bytes:
        parts = [jpb.JobSpec(labels={key: value}).SerializeToString() for key, value in labels]
        spec = jpb.JobSpec(type="work").SerializeToString() + b"".join(parts)
        return b"\x0a" + bytes([len(spec)]) + spec + pb.SubmitJobRequest(request_id="key-1").SerializeToString()

    forward, backward = laid_down(("a", "1"), ("b", "2")), laid_down(("b", "2"), ("a", "1"))
    call = rig.channel.unary_unary("/jobwire.v1.JobService/SubmitJob")

    assert forward != backward
    first, second = [pb.SubmitJobResponse.FromString(await call(raw)) for raw in (forward, backward)]
    assert first.job.job_id == second.job.job_id


async def test_a_request_id_means_the_same_after_a_restart() -> None:
    """Maps are laid out differently in each process."""
    program = (
        "from jobwire.v1 import job_service_pb2 as pb; from jobwire_server.rpc.convert.submit import fingerprint_of;"
        "spec = {'type': 'a', 'labels': {str(n): 'x' for n in range(30)}};"
        "print(fingerprint_of(pb.SubmitJobRequest(spec=spec)).hex())"
    )

    async def in_a_new_process() -> str:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    assert len({await in_a_new_process() for _ in range(3)}) == 1


async def test_a_request_id_with_other_content_is_refused(rig: RpcRig) -> None:
    await rig.api.SubmitJob(request_of(request_id="key-1"))

    refusal = await refused(rig.api.SubmitJob(request_of(request_id="key-1", priority=9)))

    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert refusal.facts["request_id"] == "key-1"


async def test_a_chosen_id_is_taken_once(rig: RpcRig) -> None:
    await rig.submit(job_id="order-42")

    refusal = await refused(rig.api.SubmitJob(request_of(job_id="order-42")))

    assert (refusal.code, refusal.reason) == (Code.ALREADY_EXISTS, "JOB_ID_TAKEN")


async def test_validate_only_says_what_would_be_and_stores_nothing(rig: RpcRig) -> None:
    before = rig.stores.dump()

    response = await rig.api.SubmitJob(request_of(validate_only=True))
    named = await rig.api.SubmitJob(request_of(validate_only=True, job_id="mine"))

    assert not response.created
    assert (response.job.job_id, named.job.job_id) == ("", "mine")
    assert response.job.status.state == jpb.JOB_STATE_PENDING
    assert rig.stores.dump() == before
    assert (await refused(rig.api.SubmitJob(request_of(validate_only=True, type="")))).reason == "FIELD_INVALID"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"type": ""}, "spec.type"),
        ({"queue": "No Capitals"}, "spec.queue"),
        ({"priority": 10}, "spec.priority"),
        ({"priority": -1}, "spec.priority"),
        ({"labels": {"": "x"}}, "spec.labels['']"),
        ({"retry_policy": jpb.RetryPolicy(backoff_multiplier=float("nan"))}, "spec.retry_policy.backoff_multiplier"),
        ({"retry_policy": jpb.RetryPolicy(jitter=1.5)}, "spec.retry_policy.jitter"),
        ({"retry_policy": jpb.RetryPolicy(max_attempts=-1)}, "spec.retry_policy.max_attempts"),
        ({"retention": {"seconds": -1}}, "spec.retention"),
        ({"attempt_timeout": {"seconds": 1, "nanos": -1}}, "spec.attempt_timeout"),
        ({"schedule_time": {"nanos": -1}}, "spec.schedule_time"),
        ({"schedule_time": {"seconds": 2**62}}, "spec.schedule_time"),
        ({"expire_time": {"nanos": 1_000_000_000}}, "spec.expire_time"),
        ({"job_id": "no spaces"}, "job_id"),
        ({"request_id": "x" * 129}, "request_id"),
    ],
)
async def test_a_bad_field_is_named_and_leaves_no_trace(rig: RpcRig, spec: dict[str, object], field: str) -> None:
    before = rig.stores.dump()

    refusal = await refused(rig.api.SubmitJob(request_of(**spec)))

    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert field in refusal.fields
    assert rig.stores.dump() == before


async def test_a_payload_over_the_limit_is_told_with_limit_and_size(rig: RpcRig) -> None:
    limit = Limits().payload_bytes
    await rig.submit(payload=jpb.Payload(data=b"x" * limit))

    refusal = await refused(rig.api.SubmitJob(request_of(payload=jpb.Payload(data=b"x" * (limit + 1)))))

    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE")
    assert (refusal.facts["limit"], refusal.facts["actual"]) == (str(limit), str(limit + 1))


@pytest.mark.parametrize("text", ["", "plain", "ü and \x00 and 𝄞"])
async def test_both_arms_of_a_payload_come_back_as_they_went(rig: RpcRig, text: str) -> None:
    for payload in (jpb.Payload(text=text), jpb.Payload(data=text.encode(), content_encoding="gzip")):
        job = await rig.submit(payload=payload)
        assert (await rig.get(job.job_id)).spec.payload == payload


async def test_a_full_service_says_when_to_come_back() -> None:
    async with RpcRig(max_depth=1) as rig:
        await rig.submit()

        refusal = await refused(rig.api.SubmitJob(request_of()))

        assert (refusal.code, refusal.reason) == (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert refusal.retry_seconds > 0
        assert refusal.details["QuotaFailure"].violations


# --- batches ------------------------------------------------------------------------------------------------------


async def test_a_batch_is_answered_in_order_with_its_group_and_a_cursor(rig: RpcRig) -> None:
    response = await rig.api.BatchSubmitJobs(batch_of(*[request_of(job_id=f"j{n}") for n in range(1000)]))

    assert [result.job_id for result in response.results] == [f"j{n}" for n in range(1000)]
    assert all(result.created and result.state == jpb.JOB_STATE_PENDING for result in response.results)
    job = await rig.get("j999")
    assert job.batch_id == response.batch_id != ""
    assert response.cursor.revision >= job.status.revision


async def test_a_batch_that_is_repeated_finds_itself(rig: RpcRig) -> None:
    batch = batch_of(request_of(), request_of(), request_id="once", batch_id="group-1")
    first = await rig.api.BatchSubmitJobs(batch)
    again = await rig.api.BatchSubmitJobs(batch)

    assert first.batch_id == again.batch_id == "group-1"
    assert [(r.job_id, r.created) for r in again.results] == [(r.job_id, False) for r in first.results]


async def test_one_bad_element_refuses_the_whole_batch_and_is_named(rig: RpcRig) -> None:
    before = rig.stores.dump()
    requests = [request_of() for _ in range(20)]
    requests[17].spec.queue = "NOT OK"
    requests[3].spec.schedule_time.nanos = -5

    refusal = await refused(rig.api.BatchSubmitJobs(batch_of(*requests)))

    assert refusal.fields == ["requests[3].spec.schedule_time", "requests[17].spec.queue"]
    assert rig.stores.dump() == before


@pytest.mark.parametrize(
    ("batch", "field"),
    [
        (batch_of(), "requests"),
        (batch_of(request_of(request_id="inner")), "requests.request_id"),
        (batch_of(request_of(validate_only=True)), "requests[0].validate_only"),
        (batch_of(request_of(), independent=True, request_id="outer"), "request_id"),
        (batch_of(request_of(), independent=True, batch_id="group"), "batch_id"),
        (batch_of(request_of(), batch_id="not a group"), "batch_id"),
    ],
)
async def test_what_a_batch_may_not_hold_is_named(rig: RpcRig, batch: pb.BatchSubmitJobsRequest, field: str) -> None:
    refusal = await refused(rig.api.BatchSubmitJobs(batch))

    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
    assert refusal.fields == [field]


async def test_a_batch_over_the_limit_is_refused(rig: RpcRig) -> None:
    refusal = await refused(rig.api.BatchSubmitJobs(batch_of(*[request_of()] * 1001)))

    assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "BATCH_TOO_LARGE")
    assert (refusal.facts["limit"], refusal.facts["actual"]) == ("1000", "1001")


async def test_a_too_large_element_refuses_the_batch_and_is_named(rig: RpcRig) -> None:
    large = jpb.Payload(data=b"x" * (Limits().payload_bytes + 1))

    refusal = await refused(rig.api.BatchSubmitJobs(batch_of(request_of(), request_of(payload=large))))

    assert refusal.reason == "PAYLOAD_TOO_LARGE"
    assert refusal.facts["field"] == "requests[1].spec.payload"


async def test_a_taken_id_refuses_the_whole_batch(rig: RpcRig) -> None:
    await rig.submit(job_id="taken")
    before = rig.stores.dump()

    refusal = await refused(rig.api.BatchSubmitJobs(batch_of(request_of(), request_of(job_id="taken"))))

    assert refusal.reason == "JOB_ID_TAKEN"
    assert rig.stores.dump() == before


async def test_independent_elements_stand_alone(rig: RpcRig) -> None:
    await rig.submit(job_id="taken")
    first = await rig.submit(request_id="seen")

    response = await rig.api.BatchSubmitJobs(
        batch_of(
            request_of(job_id="mine"),
            request_of(queue="NOT OK"),
            request_of(job_id="taken"),
            request_of(request_id="seen"),
            request_of(validate_only=True),
            request_of(request_id="seen", priority=1),
            independent=True,
        )
    )

    good, bad_field, taken, seen, validating, reused = response.results
    assert (good.job_id, good.created) == ("mine", True)
    assert (bad_field.error.reason, bad_field.error.field) == ("FIELD_INVALID", "spec.queue")
    assert taken.error.reason == "JOB_ID_TAKEN"
    assert (seen.job_id, seen.created) == (first.job_id, False)
    assert (validating.error.reason, validating.error.field) == ("FIELD_INVALID", "validate_only")
    assert reused.error.reason == "REQUEST_ID_REUSED"
    assert response.batch_id == ""
    assert response.cursor.revision > 0


async def test_a_batch_of_nothing_but_refusals_is_answered(rig: RpcRig) -> None:
    response = await rig.api.BatchSubmitJobs(batch_of(request_of(type=""), independent=True))

    assert [result.error.reason for result in response.results] == ["FIELD_INVALID"]
