"""Every log line of a call carries a name of the call: the caller's own, or one that is made."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from jobwire.v1 import job_service_pb2 as pb
from jobwire.v1 import worker_service_pb2 as wpb
from jobwire_server.kernel.telemetry import LogFormat, LogLevel, make_log
from jobwire_server.store.base import Store, Submission, SubmitReceipt
from tests.rpc.rig import Code, RpcRig, refused, request_of

pytestmark = pytest.mark.asyncio

MADE = re.compile(r"[0-9a-f]{12}")


class Broken:
    """A store whose verbs fail in a way that nobody foresaw."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def submit(self, submission: Submission) -> SubmitReceipt:
        raise RuntimeError("a bug")

    async def position(self) -> Any:
        raise RuntimeError("a bug")


class LoggingRig(RpcRig):
    """A rig whose server writes its lines as the real one does."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.text = io.StringIO()
        self.log = make_log(LogFormat.JSON, LogLevel.DEBUG, self.text)  # type: ignore[assignment]

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = map(json.loads, self.text.getvalue().splitlines())
        return [line for line in found if line["event"] == event]


def broken_rig() -> LoggingRig:
    return LoggingRig(around=Broken)


@pytest.mark.parametrize("name", ["call-1", "00-4bf92f3577b34da6a3ce929d0e0e4736/7:a=b+c@d~e.f", "x" * 128])
async def test_a_caller_names_its_call_and_finds_the_name_in_the_log_and_in_the_answer(name: str) -> None:
    async with broken_rig() as rig:
        refusal = await refused(rig.api.SubmitJob(request_of(), metadata=[("x-request-id", name)]))

        assert refusal.code is Code.INTERNAL
        assert refusal.details["RequestInfo"].request_id == name
        [line] = rig.lines("rpc.failed")
        assert (line["rpc_id"], line["error_id"]) == (name, refusal.facts["error_id"])


@pytest.mark.parametrize("name", ["", " ", "two words", "x" * 129, "{json}", "semi;colon"])
async def test_a_name_that_is_none_is_replaced(name: str) -> None:
    """It would let callers write into the log what they like."""
    async with broken_rig() as rig:
        refusal = await refused(rig.api.SubmitJob(request_of(), metadata=[("x-request-id", name)]))

        [line] = rig.lines("rpc.failed")
        assert MADE.fullmatch(line["rpc_id"])
        assert refusal.details["RequestInfo"].request_id == line["rpc_id"]


async def test_calls_without_a_name_are_told_apart() -> None:
    async with broken_rig() as rig:
        for _ in range(3):
            await refused(rig.api.SubmitJob(request_of()))

        names = [line["rpc_id"] for line in rig.lines("rpc.failed")]
        assert len(set(names)) == 3
        assert all(map(MADE.fullmatch, names))


async def test_streams_are_named_too() -> None:
    async with broken_rig() as rig:
        refusal = await refused(rig.api.WatchJobs(pb.WatchJobsRequest(), metadata=[("x-request-id", "watch-1")]))

        assert refusal.details["RequestInfo"].request_id == "watch-1"
        assert [line["rpc_id"] for line in rig.lines("rpc.failed")] == ["watch-1"]


async def test_a_refusal_that_is_no_bug_carries_no_name_of_ours() -> None:
    async with LoggingRig() as rig:
        refusal = await refused(rig.api.SubmitJob(request_of(type="")))
        assert set(refusal.details) == {"ErrorInfo", "BadRequest"}


async def test_lines_that_belong_to_no_call_have_no_name() -> None:
    async with LoggingRig() as rig:
        worker = wpb.WorkerHello(
            worker_id="w", instance_id="i", queues=[wpb.QueueSubscription(queue="*")], types=["work"]
        )
        call = rig.work.Work(metadata=[("x-request-id", "work-1")])
        await call.write(wpb.WorkRequest(hello=worker))
        await call.read()
        call.cancel()

        assert all(line["rpc_id"] == "work-1" for line in rig.lines("dispatch.worker_attached"))
        rig.log.info("of.nobody")
        [line] = rig.lines("of.nobody")
        assert "rpc_id" not in line
