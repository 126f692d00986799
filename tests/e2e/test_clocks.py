"""Servers on one database whose own clocks are wrong: the database's time is the time, for everything they say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from jobwire.v1 import admin_service_pb2, admin_service_pb2_grpc, job_pb2, job_service_pb2_grpc, worker_service_pb2
from jobwire.v1.worker_service_pb2 import QueueSubscription
from jobwire.v1.worker_service_pb2_grpc import WorkerServiceStub
from jobwire_server.app import Service
from jobwire_server.config import Command, load
from jobwire_server.kernel.clock import SystemClock
from jobwire_server.kernel.failpoint import no_failpoint
from jobwire_server.kernel.telemetry import SilentLog
from tests.e2e.conftest import Client
from tests.helpers.postgres import PostgresServer

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]

MINUTE_US = 60_000_000


class WrongClock(SystemClock):
    """A machine whose wall clock is hours off; its seconds are as long as anybody's."""

    def __init__(self, hours: float) -> None:
        self._off_us = round(hours * 60 * MINUTE_US)

    def wall_us(self) -> int:
        """The wrong time."""
        return super().wall_us() + self._off_us


@asynccontextmanager
async def serving(address: str, url: str, hours: float) -> AsyncIterator[grpc.aio.Channel]:
    """A server whose clock is so far off, in this process; yields a channel to it."""
    broken: list[BaseException] = []
    service = Service(
        load(Command.SERVE, {"db": url, "listen": address}, {}, None),
        log=SilentLog(),
        failpoint=no_failpoint,
        on_broken=lambda _, error: broken.append(error),
        clock=WrongClock(hours),
    )
    async with AsyncExitStack() as undo:
        await service.start(undo)
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel
    assert broken == []


@pytest.mark.parametrize("hours", [-1.0, 1.0])
async def test_a_server_whose_clock_is_an_hour_wrong_tells_the_database_s_time(
    postgres: PostgresServer, tmp_path: Path, hours: float
) -> None:
    database = postgres.empty_database()
    address, beside = f"unix:{tmp_path}/wrong", f"unix:{tmp_path}/right"
    url = postgres.url(database)
    async with serving(address, url, hours) as wrong, serving(beside, url, 0) as right:
        admin = admin_service_pb2_grpc.AdminServiceStub(wrong)  # type: ignore[no-untyped-call]
        info = (await admin.GetServerInfo(admin_service_pb2.GetServerInfoRequest())).server_info
        now_us = SystemClock().wall_us()
        assert abs(info.current_time.ToMicroseconds() - now_us) < MINUTE_US
        assert abs(info.start_time.ToMicroseconds() - now_us) < MINUTE_US

        worker = WorkerServiceStub(wrong)  # type: ignore[no-untyped-call]
        job_id = await Client(job_service_pb2_grpc.JobServiceStub(right)).submit("work")
        pulled = await worker.PullJobs(
            worker_service_pb2.PullJobsRequest(worker_id="w", queues=[QueueSubscription(queue="default")], max_jobs=1)
        )
        [assignment] = pulled.assignments
        assert assignment.job_id == job_id
        assert 0 < assignment.lease_expire_time.ToMicroseconds() - now_us < MINUTE_US

        answer = await worker.FailJob(
            worker_service_pb2.FailJobRequest(
                lease_token=assignment.lease_token, error=job_pb2.JobError(type="E", retryable=True)
            )
        )
        assert 0 < answer.next_attempt_time.ToMicroseconds() - now_us < MINUTE_US
    postgres.drop(database)
