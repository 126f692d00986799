"""The standard services, seen from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2 as rpb

from jobwire_server.rpc.reflection import SERVICES
from tests.rpc.rig import Code, RpcRig, refused

pytestmark = pytest.mark.asyncio

Status = health_pb2.HealthCheckResponse
OURS = ["jobwire.v1.AdminService", "jobwire.v1.JobService", "jobwire.v1.WorkerService"]
STANDARD = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
]


@pytest.mark.parametrize("service", ["", *OURS])
async def test_health_is_told_per_service_and_for_the_whole(service: str) -> None:
    async with RpcRig(serving=False) as rig:
        health = health_pb2_grpc.HealthStub(rig.channel)
        request = health_pb2.HealthCheckRequest(service=service)

        assert (await health.Check(request)).status == Status.NOT_SERVING
        rig.server.set_serving(True)
        assert (await health.Check(request)).status == Status.SERVING
        await rig.server.drain()
        assert (await health.Check(request)).status == Status.NOT_SERVING


async def test_a_watch_of_health_tells_every_change() -> None:
    async with RpcRig(serving=False) as rig:
        watch = health_pb2_grpc.HealthStub(rig.channel).Watch(health_pb2.HealthCheckRequest())

        assert (await watch.read()).status == Status.NOT_SERVING
        rig.server.set_serving(True)
        assert (await watch.read()).status == Status.SERVING
        await rig.server.drain()
        assert (await watch.read()).status == Status.NOT_SERVING
        assert (await refused(watch)).reason == "DRAINING"


async def test_an_unknown_service_is_not_found_and_may_be_watched(rig: RpcRig) -> None:
    health = health_pb2_grpc.HealthStub(rig.channel)
    request = health_pb2.HealthCheckRequest(service="nobody")

    assert (await refused(health.Check(request))).code is Code.NOT_FOUND
    watch = health.Watch(request)
    assert (await watch.read()).status == Status.SERVICE_UNKNOWN
    watch.cancel()


async def test_health_of_everything_can_be_listed(rig: RpcRig) -> None:
    listed = await health_pb2_grpc.HealthStub(rig.channel).List(health_pb2.HealthListRequest())

    assert {name: answer.status for name, answer in listed.statuses.items()} == dict.fromkeys(
        ["", *OURS], Status.SERVING
    )


async def ask(rig: RpcRig, service: str, request: rpb.ServerReflectionRequest) -> rpb.ServerReflectionResponse:
    async def requests() -> AsyncIterator[bytes]:
        yield request.SerializeToString()

    call = rig.channel.stream_stream(f"/{service}/ServerReflectionInfo")(requests())
    [response] = [rpb.ServerReflectionResponse.FromString(raw) async for raw in call]
    return response


@pytest.mark.parametrize("service", SERVICES)
async def test_both_reflections_list_the_same_services(rig: RpcRig, service: str) -> None:
    response = await ask(rig, service, rpb.ServerReflectionRequest(list_services=""))

    assert [entry.name for entry in response.list_services_response.service] == sorted(OURS + STANDARD)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("symbol", OURS + STANDARD)
async def test_every_service_that_is_listed_is_described(rig: RpcRig, service: str, symbol: str) -> None:
    response = await ask(rig, service, rpb.ServerReflectionRequest(file_containing_symbol=symbol))

    files = [
        descriptor_pb2.FileDescriptorProto.FromString(raw)
        for raw in response.file_descriptor_response.file_descriptor_proto
    ]
    assert symbol in {f"{file.package}.{entry.name}" for file in files for entry in file.service}


async def test_reflection_answers_before_the_server_serves() -> None:
    async with RpcRig(serving=False) as rig:
        response = await ask(rig, SERVICES[0], rpb.ServerReflectionRequest(list_services=""))

        assert response.list_services_response.service


async def test_reflection_refuses_what_it_cannot_read(rig: RpcRig) -> None:
    call = rig.channel.stream_stream(f"/{SERVICES[0]}/ServerReflectionInfo")()
    await call.write(b"\xff\xff")

    assert (await refused(call)).code is Code.INVALID_ARGUMENT
