"""Where the server listens, and who may connect."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import grpc
import pytest
import trustme
from grpc import aio

from jobwire.v1 import job_service_pb2_grpc
from jobwire_server.rpc.server import ListenFailed, RpcSettings, Tls
from tests.rpc.rig import Code, RpcRig, refused, request_of

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def written(authority: trustme.CA, folder: Path, *, mutual: bool) -> Tls:
    server = authority.issue_cert("localhost")
    server.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in server.cert_chain_pems))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    ca = folder / "ca.pem" if mutual else None
    return Tls(certificate=folder / "cert.pem", key=folder / "key.pem", client_ca=ca)


def secure_channel(rig: RpcRig, authority: trustme.CA, client: trustme.LeafCert | None = None) -> aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(),
        None if client is None else client.private_key_pem.bytes(),
        None if client is None else client.cert_chain_pems[0].bytes(),
    )
    port = rig.addresses[1].rpartition(":")[2]
    return aio.secure_channel(f"localhost:{port}", credentials)


async def test_tls_serves_those_who_trust_its_authority(authority: trustme.CA, tmp_path: Path) -> None:
    settings = RpcSettings(listen=("localhost:0",), tls=written(authority, tmp_path, mutual=False))
    async with RpcRig(settings=settings) as rig:
        async with secure_channel(rig, authority) as channel:
            answer = await job_service_pb2_grpc.JobServiceStub(channel).SubmitJob(request_of())
            assert answer.created
        async with secure_channel(rig, trustme.CA()) as channel:
            call = job_service_pb2_grpc.JobServiceStub(channel).SubmitJob(request_of(), timeout=5)
            assert (await refused(call)).code is Code.UNAVAILABLE
        async with aio.insecure_channel(rig.addresses[1]) as channel:
            call = job_service_pb2_grpc.JobServiceStub(channel).SubmitJob(request_of(), timeout=5)
            assert (await refused(call)).code is Code.UNAVAILABLE


async def test_mutual_tls_lets_in_only_those_who_show_a_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    settings = RpcSettings(listen=("localhost:0",), tls=written(authority, tmp_path, mutual=True))
    async with RpcRig(settings=settings) as rig:
        for client, is_let_in in (
            (authority.issue_cert("client"), True),
            (trustme.CA().issue_cert("stranger"), False),
            (None, False),
        ):
            async with secure_channel(rig, authority, client) as channel:
                call = job_service_pb2_grpc.JobServiceStub(channel).SubmitJob(request_of(), timeout=5)
                if is_let_in:
                    assert (await call).created
                else:
                    assert (await refused(call)).code is Code.UNAVAILABLE


async def test_tls_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    tls = Tls(certificate=tmp_path / "no.pem", key=tmp_path / "nor.pem")

    with pytest.raises(ListenFailed, match=r"no\.pem"):
        async with RpcRig(settings=RpcSettings(listen=("localhost:0",), tls=tls)):
            pass


async def test_a_unix_socket_is_for_its_owner_only() -> None:
    async with RpcRig() as rig:
        mode = os.stat(rig.address.removeprefix("unix:")).st_mode  # noqa: PTH116 - a look, not a wait

        assert stat.S_IMODE(mode) == 0o600


async def test_the_socket_of_a_dead_server_is_taken_over(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async with RpcRig(settings=RpcSettings(listen=(f"unix:{path}",))) as rig:
        async with aio.insecure_channel(f"unix:{path}") as channel:
            answer = await job_service_pb2_grpc.JobServiceStub(channel).SubmitJob(request_of())
        assert answer.created
        assert rig.addresses[1] == f"unix:{path}"


@pytest.mark.parametrize("address", ["203.0.113.1:0", "nonsense", "unix:/nowhere/at/all/s"])
async def test_an_address_that_cannot_be_had_is_named(address: str) -> None:
    before = asyncio.all_tasks()
    with pytest.raises(ListenFailed, match="cannot be listened on"):
        async with RpcRig(settings=RpcSettings(listen=(address,))):
            pass
    assert asyncio.all_tasks() <= before
