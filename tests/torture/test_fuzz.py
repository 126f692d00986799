"""Every RPC refuses what makes no sense: with a documented status, without a trace in the store, and lives on.

Methods, messages and allowed status codes are read from the contract, so that a new RPC is tried without being asked.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apsw
import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from jobwire.v1 import admin_service_pb2, job_pb2, job_service_pb2, job_service_pb2_grpc, worker_service_pb2
from tests.helpers.processes import REPOSITORY, ServerProcess
from tests.torture.fuzz_inputs import Inputs

INPUTS: Final = 10_000
IN_FLIGHT: Final = 48
CALL_SECONDS: Final = 3.0
SERVICES: Final = (
    *(
        service
        for file in (job_service_pb2, worker_service_pb2, admin_service_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
    ),
    health_pb2.DESCRIPTOR.services_by_name["Health"],
    reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
)
METHODS: Final = {method.full_name: method for service in SERVICES for method in service.methods}
OURS: Final = "jobwire."
ANY_RPC: Final = frozenset({"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"})
"""Beside what the comment of the RPC names: bytes that are no message, and requests that are too big."""
PATIENT: Final = frozenset(
    f"jobwire.v1.{name}"
    for name in (
        "JobService.GetJob", "JobService.WatchJob", "JobService.WatchJobs",
        "WorkerService.PullJobs", "WorkerService.Work",
    )
)  # fmt: skip
"""They wait for what may not come: our own deadline may end them."""
TRAILER_BYTES: Final = 4096
CODES: Final = frozenset(code.name for code in grpc.StatusCode)


def documented(method: MethodDescriptor) -> frozenset[str]:
    """Status codes that the comments of the contract name for a method."""
    if not method.full_name.startswith(OURS):
        return ANY_RPC | {"NOT_FOUND", "UNIMPLEMENTED"}
    source = (REPOSITORY / "protos" / method.containing_service.file.name).read_text(encoding="utf-8")
    comment = re.search(rf"((?:^  //.*\n)+)^  rpc {method.name}\(", source, re.MULTILINE)
    assert comment is not None, method.full_name
    referred = re.search(r"those\s+(?://\s+)?of\s+(?://\s+)?(\w+)", comment[1])
    others = documented(method.containing_service.methods_by_name[referred[1]]) if referred else frozenset()
    patient = {"DEADLINE_EXCEEDED"} if method.full_name in PATIENT else set()
    return ANY_RPC | others | patient | (CODES & set(re.findall(r"[A-Z_]{5,}", comment[1])))


def reasons() -> frozenset[str]:
    """Every word in capitals that the contract mentions: the reasons are among them."""
    texts = (path.read_text(encoding="utf-8") for path in (REPOSITORY / "protos").rglob("*.proto"))
    return frozenset(word for text in texts for word in re.findall(r"[A-Z]+(?:_[A-Z]+)+|INTERNAL|DRAINING", text))


@dataclass
class Target:
    """A live server with a job in every state that needs no worker, and its file."""

    server: ServerProcess
    address: str
    database: Path
    job_ids: Sequence[str] = ()
    created: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)

    def rows(self) -> Mapping[str, int]:
        """Revision of each job that stands in the file now."""
        return dict(self._read("SELECT id, revision FROM job"))

    def births(self) -> set[str]:
        """Every job that was ever created."""
        return {job_id for (job_id,) in self._read("SELECT job_id FROM event WHERE kind = 2")}

    def _read(self, statement: str) -> Any:
        connection = apsw.Connection(str(self.database))
        try:
            connection.execute("PRAGMA query_only = 1")
            return connection.execute(statement).fetchall()
        finally:
            connection.close()


@pytest_asyncio.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    database = tmp_path / "jobs.db"
    arguments = ["serve", "--listen", "127.0.0.1:0", "--db", str(database), "--grace", "1s", "--log-level", "warning"]
    server = ServerProcess(arguments, log=tmp_path / "server.log")
    try:
        target = Target(server, await server.expect_ready(), database)
        target.job_ids = await fill(target)
        yield target
    finally:
        await server.destroy()


async def fill(target: Target) -> list[str]:
    """Create a few jobs, and cancel some."""
    ids = [f"job-{number}" for number in range(20)]
    async with grpc.aio.insecure_channel(target.address) as channel:
        stub: Any = job_service_pb2_grpc.JobServiceStub(channel)
        for job_id in ids:
            spec = job_pb2.JobSpec(type="nobody-runs-this", labels={"a": "default"})
            await stub.SubmitJob(job_service_pb2.SubmitJobRequest(spec=spec, job_id=job_id))
        for job_id in ids[::2]:
            await stub.CancelJob(job_service_pb2.CancelJobRequest(job_id=job_id))
    return ids


async def pour(target: Target, method: MethodDescriptor, inputs: Inputs, count: int) -> list[str]:
    """Send `count` inputs, many at once; returns what was wrong with the answers."""
    complaints: list[str] = []
    allowed, known = documented(method), reasons()
    left = iter(range(count))
    async with grpc.aio.insecure_channel(target.address, options=[("grpc.max_send_message_length", -1)]) as channel:
        call = caller(channel, method)

        async def send() -> None:
            for _ in left:
                data = inputs.next()
                code, responses, trailers = await call(data)
                target.answers[code] += 1
                note_effects(target, method, data, responses)
                problem = objection(method, code, trailers, allowed, known, len(data))
                if problem:
                    complaints.append(f"{problem}, for {data[:200]!r} ({len(data)} bytes)")

        async with asyncio.TaskGroup() as senders:
            for _ in range(IN_FLIGHT):
                senders.create_task(send())
    return complaints


Answer = tuple[str, list[bytes], Mapping[str, Any]]


def caller(channel: grpc.aio.Channel, method: MethodDescriptor) -> Callable[[bytes], Any]:
    """Make a function that sends raw bytes to a method and returns code, responses and trailers."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    if method.client_streaming:
        bidi = channel.stream_stream(path)
        return lambda data: first_of(bidi(iter([data]), timeout=CALL_SECONDS))
    if method.server_streaming:
        stream = channel.unary_stream(path)
        return lambda data: first_of(stream(data, timeout=CALL_SECONDS))
    unary = channel.unary_unary(path)
    return lambda data: only_of(unary(data, timeout=CALL_SECONDS))


async def only_of(call: Any) -> Answer:
    """The end of a unary call."""
    try:
        return "OK", [await call], {}
    except grpc.aio.AioRpcError as error:
        return error.code().name, [], dict(error.trailing_metadata() or ())


async def first_of(call: Any) -> Answer:
    """The first response of a stream, or its end."""
    try:
        response = await call.read()
        if response is not grpc.aio.EOF:
            return "OK", [response], {}
        return (await call.code()).name, [], dict(await call.trailing_metadata() or ())
    except grpc.aio.AioRpcError as error:
        return error.code().name, [], dict(error.trailing_metadata() or ())
    finally:
        call.cancel()


def objection(
    method: MethodDescriptor,
    code: str,
    trailers: Mapping[str, Any],
    allowed: frozenset[str],
    known: frozenset[str],
    size: int,
) -> str | None:
    """What is wrong with an answer, None when it is as documented."""
    if code not in allowed:
        return f"{code} is not documented"
    if sum(len(key) + len(value) for key, value in trailers.items()) > TRAILER_BYTES:
        return "the trailers are too big"
    ours = method.full_name.startswith(OURS) and code not in ("OK", "DEADLINE_EXCEEDED")
    if not ours or (code == "RESOURCE_EXHAUSTED" and size > 4 << 20):
        return None  # the transport refuses what is too big, before we see it
    info = error_info(trailers)
    if info is None or info.domain != "jobwire.dev" or info.reason not in known:
        return f"{code} carries {info}"
    return None


def error_info(trailers: Mapping[str, Any]) -> ErrorInfo | None:
    """The reason of an error."""
    status = Status.FromString(trailers.get("grpc-status-details-bin", b""))
    for detail in status.details:
        info = ErrorInfo()
        if detail.Unpack(info):
            return info
    return None


def note_effects(target: Target, method: MethodDescriptor, data: bytes, responses: Sequence[bytes]) -> None:
    """Keep what an OK says that it did: only that may have happened."""
    if method.name in ("PullJobs", "Work"):
        target.touched.update(target.job_ids)  # a sound one among the inputs leases them, as it should
    if not responses or not method.full_name.startswith("jobwire.v1.JobService"):
        return
    response: Any = GetMessageClass(method.output_type).FromString(responses[0])
    if method.name == "SubmitJob" and response.created:
        target.created.add(response.job.job_id)
    elif method.name == "BatchSubmitJobs":
        target.created.update(result.job_id for result in response.results if result.created)
    elif method.name in ("CancelJob", "RetryJob", "DeleteJob"):
        target.touched.add(GetMessageClass(method.input_type).FromString(data).job_id)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.asyncio
@pytest.mark.parametrize("name", METHODS)
async def test_an_rpc_refuses_what_makes_no_sense_and_leaves_no_trace(
    target: Target, seed: int, scale: int, tell: Callable[[str], None], name: str
) -> None:
    method, chance = METHODS[name], random.Random(f"{seed} {name}")
    cursor_and_token = await real_tokens(target)
    before = target.rows()
    inputs = Inputs(method.input_type, chance, [*target.job_ids, *cursor_and_token])
    complaints = await pour(target, method, inputs, INPUTS * scale)
    after = target.rows()
    tell(f"{dict(target.answers)}, {len(target.created)} created, {len(target.touched)} touched")
    assert complaints[:5] == []
    assert target.births() - set(before) == target.created
    assert {job_id for job_id, row in before.items() if after.get(job_id) != row} <= target.touched
    assert await target.server.wait(0) is None, "the server has ended"
    assert await real_tokens(target), "the server no longer serves"
    assert not [line for line in target.server.lines if "Traceback" in line or "rpc.failed" in line]


async def real_tokens(target: Target) -> list[str]:
    """A page token and the store's epoch: texts worth bending."""
    async with grpc.aio.insecure_channel(target.address) as channel:
        stub: Any = job_service_pb2_grpc.JobServiceStub(channel)
        page = await stub.ListJobs(job_service_pb2.ListJobsRequest(page_size=1), timeout=CALL_SECONDS)
        return [page.next_page_token, page.cursor.epoch]
