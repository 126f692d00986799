"""The configuration of `deploy/envoy` in a real Envoy: gRPC, and gRPC-Web as browsers speak it."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from jobwire.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from tests.helpers.processes import JOBWIRE, REPOSITORY, ServerProcess, kill_tree

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

ENVOY = Path(JOBWIRE[0]).with_name("envoy")
CONFIG = REPOSITORY / "deploy" / "envoy" / "envoy.yaml"
ORIGIN = "http://localhost:3000"
HEADERS = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "origin": ORIGIN}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Front:
    """Envoy in front of one server."""

    def __init__(self, server: ServerProcess, envoy: subprocess.Popen[bytes], port: int) -> None:
        self.server = server
        self.envoy = envoy
        self.address = f"127.0.0.1:{port}"


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    port, behind = free_port(), free_port()
    config = CONFIG.read_text().replace("port_value: 8080", f"port_value: {port}")
    (tmp_path / "envoy.yaml").write_text(config.replace("port_value: 7780", f"port_value: {behind}"))
    async with AsyncExitStack() as undo:
        server = ServerProcess(["dev", "--memory", "--listen", f"127.0.0.1:{behind}"])
        undo.push_async_callback(server.destroy)
        await server.expect_ready()
        envoy = _start(tmp_path)
        undo.callback(kill_tree, envoy)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await channel.channel_ready()
        yield Front(server, envoy, port)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    arguments = ["--config-path", str(folder / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1"]
    with (folder / "envoy.log").open("wb") as log:
        return subprocess.Popen([ENVOY, *arguments], stdout=log, stderr=log)


# --- gRPC-Web, as a page in a browser speaks it -----------------------------------------------------------------------


def framed(message: Message) -> bytes:
    data = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def frames(data: bytearray) -> Iterator[tuple[bool, bytes]]:
    """Take the whole frames from the front: whether it is the trailers, and what is in it."""
    while len(data) >= 5:
        kind, size = struct.unpack(">BI", bytes(data[:5]))
        if len(data) < 5 + size:
            return
        yield bool(kind & 0x80), bytes(data[5 : 5 + size])
        del data[: 5 + size]


def status_of(trailers: bytes) -> int:
    lines = dict(line.split(":", 1) for line in trailers.decode().strip().splitlines())
    return int(lines["grpc-status"])


async def call(http: httpx.AsyncClient, method: str, request: Message, answer: type[Any]) -> Any:
    """Make a unary call; returns the answer, or the number of the status when it is not OK."""
    response = await http.post(f"/jobwire.v1.JobService/{method}", content=framed(request), headers=HEADERS)
    assert response.headers["access-control-allow-origin"] == ORIGIN
    found = list(frames(bytearray(response.content)))
    [status] = [status_of(content) for is_trailers, content in found if is_trailers]
    messages = [content for is_trailers, content in found if not is_trailers]
    return status or answer.FromString(messages[0])


def hello(name: str) -> job_service_pb2.SubmitJobRequest:
    payload = job_pb2.Payload(text=json.dumps(name), content_type="application/json")
    return job_service_pb2.SubmitJobRequest(spec=job_pb2.JobSpec(type="hello", payload=payload))


async def test_a_page_submits_a_job_and_watches_it_to_its_end(front: Front) -> None:
    async with httpx.AsyncClient(base_url=f"http://{front.address}", timeout=30) as http:
        submitted = await call(http, "SubmitJob", hello("Ada"), job_service_pb2.SubmitJobResponse)
        request = job_service_pb2.WatchJobRequest(job_id=submitted.job.job_id)
        states, data, status = [], bytearray(), None
        path = "/jobwire.v1.JobService/WatchJob"
        async with http.stream("POST", path, content=framed(request), headers=HEADERS) as response:
            async for chunk in response.aiter_bytes():
                data += chunk
                for is_trailers, content in frames(data):
                    if is_trailers:
                        status = status_of(content)
                    else:
                        states.append(job_service_pb2.WatchJobResponse.FromString(content).status.state)
        assert status == 0
        assert states[-1] == job_pb2.JOB_STATE_COMPLETED
        read = job_service_pb2.GetJobRequest(job_id=submitted.job.job_id)
        job = (await call(http, "GetJob", read, job_service_pb2.GetJobResponse)).job
        assert json.loads(job.status.result.text or job.status.result.data) == "Hello, Ada!"


async def test_a_page_learns_why_it_was_refused(front: Front) -> None:
    async with httpx.AsyncClient(base_url=f"http://{front.address}", timeout=30) as http:
        request = job_service_pb2.GetJobRequest(job_id="nowhere")
        assert await call(http, "GetJob", request, job_service_pb2.GetJobResponse) == grpc.StatusCode.NOT_FOUND.value[0]


async def test_pages_of_other_origins_are_not_let_in(front: Front) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-grpc-web"}
    async with httpx.AsyncClient(base_url=f"http://{front.address}", timeout=30) as http:
        path = "/jobwire.v1.JobService/SubmitJob"
        ours = await http.options(path, headers={"origin": ORIGIN, **asks})
        others = await http.options(path, headers={"origin": "http://evil.example", **asks})
    assert ours.headers["access-control-allow-origin"] == ORIGIN
    assert "x-grpc-web" in ours.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in others.headers


# --- gRPC through the same port ---------------------------------------------------------------------------------------


@asynccontextmanager
async def stub_at(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield job_service_pb2_grpc.JobServiceStub(channel)  # type: ignore[no-untyped-call]


async def test_programs_speak_grpc_through_the_same_port_with_deadlines_of_their_own(front: Front) -> None:
    async with stub_at(front.address) as stub:
        submitted = await stub.SubmitJob(hello("Bob"), timeout=20)
        watch = stub.WatchJob(job_service_pb2.WatchJobRequest(job_id=submitted.job.job_id), timeout=20)
        states = [update.status.state async for update in watch]
        assert states[-1] == job_pb2.JOB_STATE_COMPLETED
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.GetJob(job_service_pb2.GetJobRequest(job_id="nowhere"), timeout=20)
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
        assert "grpc-status-details-bin" in dict(refusal.value.trailing_metadata())
