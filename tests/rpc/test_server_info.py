"""What GetServerInfo tells of time."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import aio

from jobwire.v1 import admin_service_pb2 as pb
from jobwire.v1 import admin_service_pb2_grpc
from jobwire_server.kernel.clock import SystemClock
from tests.rpc.rig import RpcRig

pytestmark = pytest.mark.asyncio


class WrongClock(SystemClock):
    """A machine whose wall clock can be set to anything."""

    def __init__(self) -> None:
        self.wall = 1_000_000_000

    def wall_us(self) -> int:
        return self.wall


async def test_the_servers_own_wall_clock_is_told_as_it_is_at_each_answer() -> None:
    clock = WrongClock()
    async with RpcRig(clock=clock) as rig, aio.insecure_channel(rig.address) as channel:
        admin: Any = admin_service_pb2_grpc.AdminServiceStub(channel)
        first = (await admin.GetServerInfo(pb.GetServerInfoRequest())).server_info
        clock.wall += 90_250_000
        second = (await admin.GetServerInfo(pb.GetServerInfoRequest())).server_info

    assert first.current_time.ToMicroseconds() == 1_000_000_000
    assert second.current_time.ToMicroseconds() == 1_090_250_000
