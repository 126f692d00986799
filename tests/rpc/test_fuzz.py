"""Ten thousand requests per method that nobody should send: random bytes, and messages with random content.

Only documented codes come back, a refusal leaves no trace, and the server serves on. The handlers are called as gRPC
calls them, with a context that notes what they do; a part of it goes over the wire, too.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode, aio

from jobwire.v1 import admin_service_pb2, job_service_pb2, worker_service_pb2
from jobwire_server.rpc.server import RpcSettings, _Secrets
from jobwire_server.rpc.status import CODES, DETAILS_KEY
from tests.rpc.remote_worker import hello
from tests.rpc.rig import FastClock, RpcRig

pytestmark = [pytest.mark.asyncio, pytest.mark.slow, pytest.mark.timeout(240)]

COUNT = 10_000 * int(os.environ.get("SCALE") or 1)
WIRE_COUNT = 200
UNARY = [
    "SubmitJob", "BatchSubmitJobs", "GetJob", "BatchGetJobs", "ListJobs", "CancelJob", "RetryJob", "DeleteJob",
    "PullJobs", "CompleteJob", "FailJob", "Heartbeat", "ReportOutcomes",
]  # fmt: skip
WORKER_METHODS = {"PullJobs", "CompleteJob", "FailJob", "Heartbeat", "ReportOutcomes", "Work"}
STREAMS = ["WatchJob", "WatchJobs"]
ALLOWED = {
    StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.ALREADY_EXISTS,
    StatusCode.FAILED_PRECONDITION, StatusCode.OUT_OF_RANGE,
}  # fmt: skip
SETTINGS = RpcSettings(max_stream_age_seconds=100, slow_consumer_seconds=1e9)
"""With the clock below, a long poll or a silent stream is over in a moment."""


def hasty_rig() -> RpcRig:
    return RpcRig(clock=FastClock(5000), settings=SETTINGS)


TEXTS = [
    "", "a", "job-1", "default", "work", "mail", "A B", "x" * 64, "x" * 65, "x" * 300, "é", "\x00", "\n", "𝄞", "..",
    "'; DROP TABLE job; --", "%s%n", "{}", "batch", "null",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 5, 9, 10, 99, 1000, 2**31 - 1, -(2**31), 2**62, -(2**63), 2**63 - 1]
FLOATS = [0.0, 1.0, -1.0, 0.2, 2.0, 1e308, float("nan"), float("inf"), -float("inf"), 1e-320]


class Context:
    """What gRPC hands to a handler, as far as ours use it."""

    def __init__(self) -> None:
        self.code = StatusCode.OK
        self.message = ""
        self.trailers: dict[str, Any] = {}
        self.written = asyncio.Event()

    def time_remaining(self) -> None:
        return None

    def set_code(self, code: StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.message = details

    def set_trailing_metadata(self, trailers: Sequence[tuple[str, Any]]) -> None:
        self.trailers = dict(trailers)

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, Any]]) -> None:
        await asyncio.sleep(0)

    async def write(self, message: bytes) -> None:
        self.written.set()
        await asyncio.sleep(0)


def random_bytes(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((1, 2, 5, 20, 100, 1000)))


def random_message(kind: type[Message], chance: random.Random, depth: int = 0) -> Message:
    """Set some fields of a message to something odd."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if chance.random() < 0.5:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for _ in range(chance.choice((1, 3, 40))):
                getattr(message, field.name)[chance.choice(TEXTS)] = chance.choice(TEXTS)
        elif field.is_repeated:
            for _ in range(chance.choice((1, 2, 5))):
                _append(message, field, chance, depth)
        elif field.message_type is not None:
            sub = random_message(field.message_type._concrete_class, chance, depth + 1)
            getattr(message, field.name).CopyFrom(sub)
        else:
            setattr(message, field.name, random_value(field, chance))
    return message


def _append(message: Message, field: FieldDescriptor, chance: random.Random, depth: int) -> None:
    values = getattr(message, field.name)
    if field.message_type is not None:
        values.add().CopyFrom(random_message(field.message_type._concrete_class, chance, depth + 1))
    else:
        values.append(random_value(field, chance))


def random_value(field: FieldDescriptor, chance: random.Random) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = chance.choice(TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice(FLOATS)
    if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_ENUM):
        return chance.choice([number for number in NUMBERS if abs(number) < 2**31])
    if kind == FieldDescriptor.CPPTYPE_UINT64:
        return chance.choice([number for number in NUMBERS if number >= 0])
    return chance.choice(NUMBERS)


def broken(raw: bytes, chance: random.Random) -> bytes:
    """Damage an encoded message a little."""
    damaged = bytearray(raw or b"\x00")
    for _ in range(chance.choice((1, 1, 3))):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return bytes(damaged[: chance.randrange(len(damaged) + 1)]) if chance.random() < 0.3 else bytes(damaged)


def request_for(method: str, chance: random.Random) -> bytes:
    kind = getattr(worker_service_pb2 if method in WORKER_METHODS else job_service_pb2, f"{method}Request")
    way = chance.randrange(4)
    if way == 0:
        return random_bytes(chance)
    raw = random_message(kind, chance).SerializeToString()
    return broken(raw, chance) if way == 1 else raw


def check(context: Context) -> None:
    """A refusal is one of the catalogue, and whole."""
    if context.code is StatusCode.OK:
        return
    status = status_pb2.Status.FromString(context.trailers[DETAILS_KEY])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert CODES[info.reason] is context.code
    assert context.code in ALLOWED or info.reason in {"STREAM_AGE", "WORKER_SILENT"}, (context.code, context.message)
    assert (status.message, status.code) == (context.message, context.code.value[0])
    assert status.ByteSize() < 2500


@pytest.mark.parametrize("method", UNARY)
async def test_a_unary_method_takes_anything(method: str) -> None:
    chance = random.Random(method)
    codes: Counter[StatusCode] = Counter()
    async with hasty_rig() as rig:
        await rig.submit(job_id="job-1")
        handle = handler_of(rig, method).unary_unary
        for _ in range(COUNT):
            context = Context()
            before = revision_of(rig)
            await handle(request_for(method, chance), context)
            check(context)
            codes[context.code] += 1
            assert context.code is StatusCode.OK or revision_of(rig) == before
        assert rig.log.errors == []
        assert (await rig.submit()).job_id
    assert codes[StatusCode.INVALID_ARGUMENT] > COUNT / 10


@pytest.mark.parametrize("method", STREAMS)
async def test_a_streaming_method_takes_anything(method: str) -> None:
    chance = random.Random(method)
    async with hasty_rig() as rig:
        await rig.submit(job_id="job-1")
        handle = handler_of(rig, method).unary_stream
        for _ in range(COUNT // 200):
            contexts = [Context() for _ in range(200)]
            async with asyncio.TaskGroup() as group:
                for context in contexts:
                    group.create_task(_briefly(handle, request_for(method, chance), context))
            for context in contexts:
                check(context)
        assert rig.log.errors == []
        assert not rig.hub._desk.watchers
        assert (await rig.submit()).job_id


async def _briefly(handle: Callable[..., Any], request: bytes, context: Context) -> None:
    """Run a stream until it has written or ended, then go away."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(handle(request, context))
        written = group.create_task(context.written.wait())
        await asyncio.wait({running, written}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        written.cancel()


async def test_the_work_stream_takes_anything() -> None:
    chance = random.Random("Work")
    async with hasty_rig() as rig:
        await rig.submit(job_id="job-1")
        handle = handler_of(rig, "Work").stream_stream
        codes: Counter[StatusCode] = Counter()
        for _ in range(COUNT // 200):
            contexts = [Context() for _ in range(40)]
            async with asyncio.TaskGroup() as group:
                for context in contexts:
                    group.create_task(handle(_frames(chance), context))
            for context in contexts:
                check(context)
                codes[context.code] += 1
        assert rig.log.errors == []
        assert (await rig.submit()).job_id
    assert codes[StatusCode.INVALID_ARGUMENT] > COUNT / 100


async def _frames(chance: random.Random) -> AsyncIterator[bytes]:
    """A few frames, often with a sound hello in front."""
    if chance.random() < 0.7:
        yield worker_service_pb2.WorkRequest(hello=hello(worker_id=f"w{chance.randrange(9)}")).SerializeToString()
    for _ in range(chance.choice((1, 3, 10))):
        yield request_for("Work", chance)


@pytest.mark.parametrize("method", [*UNARY, *STREAMS])
async def test_over_the_wire_it_is_no_different(method: str) -> None:
    chance = random.Random(f"wire/{method}")
    path = f"/{service_of(method)}/{method}"
    async with RpcRig() as rig:
        codes = {await _wire_code(rig, method, path, random_bytes(chance)) for _ in range(WIRE_COUNT)}
        assert codes <= ALLOWED
        assert StatusCode.INVALID_ARGUMENT in codes
        assert (await rig.admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest())).server_info.version


async def _wire_code(rig: RpcRig, method: str, path: str, request: bytes) -> StatusCode:
    try:
        if method in STREAMS:
            call = rig.channel.unary_stream(path)(request)
            await call.read()
            call.cancel()
        else:
            await rig.channel.unary_unary(path)(request)
    except aio.AioRpcError as error:
        return error.code()
    return StatusCode.OK


def handler_of(rig: RpcRig, method: str) -> Any:
    return rig.server._services(_Secrets(b"x" * 32, b"y" * 32))[service_of(method)][method]


def service_of(method: str) -> str:
    return "jobwire.v1.WorkerService" if method in WORKER_METHODS else "jobwire.v1.JobService"


def revision_of(rig: RpcRig) -> int:
    state = rig.stores._store._state  # type: ignore[union-attr]
    assert state is not None
    return state.revision
