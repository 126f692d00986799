"""Loops, forks, threads and certificates: the traps of gRPC in Python that the client hides."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
import trustme

import jobwire
from jobwire import errors
from jobwire.v1 import admin_service_pb2_grpc, job_service_pb2_grpc
from tests.helpers.scripted_servicer import Memory, ScriptedServer, ScriptedServicer

pytestmark = pytest.mark.asyncio


async def run(code: str, *arguments: str) -> str:
    """Run a program beside the server that this process serves."""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_client_works_on_in_a_forked_child(server: ScriptedServer) -> None:
    printed = await run(
        """
        import os, sys, jobwire
        from jobwire._channel import open_channel
        opened = []
        def connect(settings):
            opened.append(os.getpid())
            return open_channel(settings)
        client = jobwire.Client.from_settings(jobwire.Client(sys.argv[1]).settings, connect=connect)
        first = client.submit("t").id
        child = os.fork()
        if child == 0:
            client.submit("t", key="of the child")
            os._exit(0 if opened == [os.getppid(), os.getpid()] else 1)
        _, status = os.waitpid(child, 0)
        third = client.submit("t").id
        print(first, third, os.waitstatus_to_exitcode(status))
        """,
        server.address,
    )

    assert printed.split() == ["job-1", "job-3", "0"]
    assert "of the child" in server.memory.keys


async def test_an_async_client_may_be_used_in_one_loop_after_another(server: ScriptedServer) -> None:
    printed = await run(
        """
        import asyncio, sys, jobwire
        client = jobwire.AsyncClient(sys.argv[1])
        async def story():
            return (await client.submit("t")).id
        print(asyncio.run(story()), asyncio.run(story()))
        """,
        server.address,
    )

    assert printed.split() == ["job-1", "job-2"]


async def test_an_async_client_in_a_second_running_loop_says_what_is_wrong(server: ScriptedServer) -> None:
    async with jobwire.AsyncClient(server.address) as client:
        await client.server_info()

        def elsewhere() -> None:
            asyncio.run(client.server_info())

        with pytest.raises(errors.WrongEventLoop, match="another event loop"):
            await asyncio.to_thread(elsewhere)


async def test_threads_share_a_client(server: ScriptedServer) -> None:
    with jobwire.Client(server.address) as client, ThreadPoolExecutor(8) as pool:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(pool, lambda: client.submit("t").id) for _ in range(100)]
        ids = [await call for call in calls]

    assert len(set(ids)) == 100


async def test_a_client_that_was_left_open_does_not_keep_its_process_alive(server: ScriptedServer) -> None:
    printed = await run(
        """
        import sys, jobwire
        client = jobwire.Client(sys.argv[1])
        watch = client.submit("t").watch()
        print(next(watch).state)
        """,
        server.address,
    )

    assert printed.strip() == "PENDING"


class TlsServer:
    def __init__(self, port: int, ca: Path, other_ca: Path, cert: Path, key: Path) -> None:
        self.address = f"localhost:{port}"
        self.ca, self.other_ca, self.cert, self.key = str(ca), str(other_ca), str(cert), str(key)


@pytest_asyncio.fixture
async def tls_server(tmp_path: Path) -> AsyncIterator[TlsServer]:
    """A server that demands certificates of its clients."""
    authority, other = trustme.CA(), trustme.CA()
    server_cert, client_cert = authority.issue_cert("localhost"), authority.issue_cert("client")
    ca, other_ca, cert, key = (tmp_path / name for name in ("ca.pem", "other.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(str(ca))
    other.cert_pem.write_to_path(str(other_ca))
    cert.write_bytes(b"".join(blob.bytes() for blob in client_cert.cert_chain_pems))
    client_cert.private_key_pem.write_to_path(str(key))
    chain = b"".join(blob.bytes() for blob in server_cert.cert_chain_pems)
    credentials = grpc.ssl_server_credentials(
        [(server_cert.private_key_pem.bytes(), chain)], authority.cert_pem.bytes(), require_client_auth=True
    )
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    servicer = ScriptedServicer(Memory())
    job_service_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(servicer, server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield TlsServer(port, ca, other_ca, cert, key)
    finally:
        await server.stop(None)


async def test_tls_with_a_client_certificate(tls_server: TlsServer) -> None:
    options = {"ca": tls_server.ca, "cert": tls_server.cert, "key": tls_server.key}

    async with jobwire.AsyncClient(tls_server.address, **options) as aio:
        assert (await aio.server_info()).version == "1.2.3"
    with jobwire.Client(tls_server.address, **options) as sync:
        assert (await asyncio.to_thread(sync.server_info)).version == "1.2.3"


async def test_a_server_with_a_strange_certificate_is_not_spoken_to(tls_server: TlsServer) -> None:
    async with jobwire.AsyncClient(tls_server.address, ca=tls_server.other_ca, tries=1) as client:
        with pytest.raises(errors.ServerUnreachable, match="certificate not trusted"):
            await client.server_info()


async def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    async with jobwire.AsyncClient("localhost:1", ca=str(tmp_path / "none.pem")) as client:
        with pytest.raises(errors.ArgumentInvalid, match=r"none\.pem"):
            await client.server_info()
