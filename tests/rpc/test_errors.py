"""How errors look on the wire: the table, the details, the budget, and what must never be seen."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest
from google.rpc import error_details_pb2, status_pb2

from jobwire.v1 import job_service_pb2 as pb
from jobwire_server.domain import errors
from jobwire_server.domain.errors import FieldInvalid, JobwireError, QueueFull, Refused, Unavailable, Violation
from jobwire_server.rpc.status import CODES, DETAILS_KEY, Refusal, internal_refusal, refusal_of
from jobwire_server.store.base import Store, Submission, SubmitReceipt
from tests.rpc.rig import Code, RpcRig, refused, request_of

SECRET = "dsn=postgres://user:password@host/db"


def all_errors() -> Iterator[type[JobwireError]]:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, JobwireError) and kind not in (JobwireError, Refused, Unavailable):
            yield kind


def an_error(kind: type[JobwireError], text: str = "A sentence.") -> JobwireError:
    return FieldInvalid([Violation("a", text)]) if kind is FieldInvalid else kind(text, job_id="job-1")


def wire_size(refusal: Refusal) -> int:
    """Bytes in the trailers: binary values travel as base64, the message percent-encoded."""
    size = 0
    for key, value in refusal.trailers:
        size += len(key) + (len(value) * 4 // 3 + 4 if isinstance(value, bytes) else len(value)) + 32
    encoded = sum(1 if " " <= char <= "~" and char != "%" else 3 * len(char.encode()) for char in refusal.message)
    return size + len("grpc-message") + encoded + len("grpc-status") + 2 + 64


@pytest.mark.parametrize("kind", list(all_errors()), ids=lambda kind: kind.__name__)
def test_every_error_of_the_domain_has_a_row_and_its_details(kind: type[JobwireError]) -> None:
    assert kind.reason in CODES
    refusal = refusal_of(an_error(kind))

    status = status_pb2.Status.FromString(dict(refusal.trailers)[DETAILS_KEY])  # type: ignore[arg-type]
    names = [part.TypeName().removeprefix("google.rpc.") for part in status.details]
    assert (status.code, status.message) == (refusal.code.value[0], refusal.message)
    assert names[0] == "ErrorInfo"
    assert ("RetryInfo" in names) == (refusal.code in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE))
    assert ("QuotaFailure" in names) == (refusal.code is Code.RESOURCE_EXHAUSTED)
    assert ("BadRequest" in names) == (kind is FieldInvalid)
    assert ("ResourceInfo" in names) == (refusal.code is Code.NOT_FOUND)


def test_no_row_is_without_an_error() -> None:
    assert set(CODES) == {kind.reason for kind in all_errors()} | {"INTERNAL"}


def test_an_error_without_a_row_is_told_as_a_bug() -> None:
    class Unheard(JobwireError):
        reason = "UNHEARD_OF"

    refusal = refusal_of(Unheard(SECRET))

    assert refusal.code is Code.INTERNAL
    assert SECRET not in repr(refusal)


@pytest.mark.parametrize("text", ["x" * 5000, "ä" * 5000, "𝄞" * 5000, "%" * 5000, "\n" * 5000])
def test_trailers_stay_below_four_kib_whatever_the_error_says(text: str) -> None:
    worst = [
        FieldInvalid([Violation(f"requests[{n}].{text}", text) for n in range(1000)]),
        QueueFull(text, **{f"fact_{n}": text for n in range(50)}),
        errors.JobNotFound(text, job_id=text),
    ]
    for error in worst:
        assert wire_size(refusal_of(error)) < 4096


def test_at_most_twenty_violations_are_told() -> None:
    refusal = refusal_of(FieldInvalid([Violation(f"requests[{n}].spec.queue", "bad") for n in range(1000)]))

    status = status_pb2.Status.FromString(dict(refusal.trailers)[DETAILS_KEY])  # type: ignore[arg-type]
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert len(bad.field_violations) == 20


def test_waiting_callers_are_told_to_slow_down_by_grpcs_own_key_too() -> None:
    refusal = refusal_of(errors.TooManyRequests("Slow down.", retry_after_us=250_000))

    assert dict(refusal.trailers)["grpc-retry-pushback-ms"] == "250"


def test_a_bug_is_told_by_its_id_alone() -> None:
    refusal = internal_refusal("0123456789ab", "call-1")

    assert refusal.code is Code.INTERNAL
    assert "0123456789ab" in refusal.message


# --- over the wire ------------------------------------------------------------------------------------------------


class Broken:
    """A store whose submit fails in a way that nobody foresaw."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def submit(self, submission: Submission) -> SubmitReceipt:
        raise RuntimeError(SECRET)


@pytest.mark.asyncio
async def test_an_unforeseen_exception_reaches_the_log_and_never_the_wire() -> None:
    async with RpcRig(around=Broken) as rig:  # type: ignore[arg-type,return-value]
        refusal = await refused(rig.api.SubmitJob(request_of()))

        assert (refusal.code, refusal.reason) == (Code.INTERNAL, "INTERNAL")
        [(event, fields)] = rig.log.errors
        assert (event, fields["error_id"]) == ("rpc.failed", refusal.facts["error_id"])
        assert SECRET in str(fields["exc_info"])
        assert SECRET not in refusal.message + repr(refusal.trailers)


@pytest.mark.asyncio
async def test_a_thousand_violations_arrive_every_time(rig: RpcRig) -> None:
    """Metadata between 8 and 16 KiB is dropped at random."""
    requests = [request_of(queue="NOT OK", type="") for _ in range(1000)]

    for _ in range(20):
        refusal = await refused(rig.api.BatchSubmitJobs(pb.BatchSubmitJobsRequest(requests=requests)))
        assert (refusal.code, refusal.reason) == (Code.INVALID_ARGUMENT, "FIELD_INVALID")
        assert refusal.trailer_bytes < 4096


@pytest.mark.asyncio
async def test_a_message_in_any_script_arrives_as_it_was_sent() -> None:
    async with RpcRig(around=Talking) as rig:  # type: ignore[arg-type,return-value]
        refusal = await refused(rig.api.SubmitJob(request_of()))

        assert refusal.message == Talking.TEXT


class Talking(Broken):
    """A store that refuses in many scripts."""

    TEXT = "Ä job 100% niño 日本語 \n\t 𝄞."

    async def submit(self, submission: Submission) -> SubmitReceipt:
        raise QueueFull(self.TEXT)


METHODS = [
    "SubmitJob", "BatchSubmitJobs", "GetJob", "BatchGetJobs", "ListJobs", "CancelJob", "RetryJob", "DeleteJob",
]  # fmt: skip
STREAMS = ["WatchJob", "WatchJobs"]


@pytest.mark.asyncio
@pytest.mark.parametrize("method", [*METHODS, *STREAMS])
async def test_bytes_that_are_no_message_are_refused_like_any_bad_request(rig: RpcRig, method: str) -> None:
    path = f"/jobwire.v1.JobService/{method}"
    call = rig.channel.unary_stream(path) if method in STREAMS else rig.channel.unary_unary(path)

    refusal = await refused(call(b"\xff\xff\xff"))

    assert (refusal.code, refusal.reason, refusal.fields) == (Code.INVALID_ARGUMENT, "FIELD_INVALID", ["request"])
    assert "DecodeError" not in refusal.message


@pytest.mark.asyncio
@pytest.mark.parametrize("method", METHODS)
async def test_a_call_with_no_time_left_does_nothing(rig: RpcRig, method: str) -> None:
    """Less than 5 ms on arrival: the server says so if the caller still listens."""
    before = rig.stores.dump()

    refusal = await refused(
        rig.channel.unary_unary(f"/jobwire.v1.JobService/{method}")(request_of().SerializeToString(), timeout=0.002)
    )

    assert refusal.code is Code.DEADLINE_EXCEEDED
    assert rig.stores.dump() == before


@pytest.mark.asyncio
async def test_a_server_that_starts_says_not_ready() -> None:
    async with RpcRig(serving=False) as rig:
        for call in (
            rig.api.SubmitJob(request_of()),
            rig.api.WatchJobs(pb.WatchJobsRequest()),
            rig.api.GetJob(pb.GetJobRequest(job_id="a", wait_revision=1)),
        ):
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (Code.UNAVAILABLE, "NOT_READY")
            assert refusal.retry_seconds > 0
        rig.server.set_serving(True)
        await rig.submit()


@pytest.mark.asyncio
async def test_a_server_that_drains_says_so_and_never_serves_again(rig: RpcRig) -> None:
    await rig.server.drain()
    rig.server.set_serving(True)

    for call in (rig.api.SubmitJob(request_of()), rig.api.WatchJob(pb.WatchJobRequest(job_id="a"))):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (Code.UNAVAILABLE, "DRAINING")


@pytest.mark.asyncio
async def test_a_store_that_is_away_is_unavailable(rig: RpcRig) -> None:
    await rig.stores.store.close()

    refusal = await refused(rig.api.SubmitJob(request_of()))

    assert (refusal.code, refusal.reason) == (Code.UNAVAILABLE, "STORE_UNAVAILABLE")
    rig.stores._store = None
    await asyncio.sleep(0)
