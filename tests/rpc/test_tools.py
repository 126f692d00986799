"""grpcurl and `buf curl` against a live server: what people in other languages and on a shell see.

grpcurl speaks reflection as v1alpha, buf as v1.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from jobwire_server.domain.job import State
from jobwire_server.rpc.convert.records import RESPONSE_LIMIT
from jobwire_server.rpc.server import RpcSettings
from tests.rpc.rig import RpcRig
from tests.rpc.test_errors import Broken
from tests.rpc.test_reads import self_fitting_jobs

pytestmark = pytest.mark.asyncio

BIN = Path(sys.executable).parent
SERVICE = "jobwire.v1.JobService"
LISTEN = RpcSettings(listen=("127.0.0.1:0",))


class Ran(NamedTuple):
    """What a command did."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object it printed."""
        assert self.exit_code == 0, self.err
        return json.loads(self.out)


class Tools:
    """The commands, pointed at a server."""

    def __init__(self, rig: RpcRig) -> None:
        self.rig = rig
        self.address = rig.addresses[1]

    async def grpcurl(self, *arguments: str) -> Ran:
        """Run grpcurl; the last arguments are a verb or a method."""
        return await _run(str(BIN / "grpcurl"), "-plaintext", *arguments)

    async def call(self, method: str, request: dict[str, Any] | None = None, *flags: str) -> Ran:
        """Call a method of JobService with grpcurl."""
        data = json.dumps(request or {})
        return await self.grpcurl(*flags, "-d", data, self.address, f"{SERVICE}/{method}")

    async def buf(self, method: str, request: dict[str, Any] | None = None, *flags: str) -> Ran:
        """Call a method with `buf curl`."""
        url = f"http://{self.address}/{method}"
        data = json.dumps(request or {})
        return await _run(
            str(BIN / "buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *flags, "--data", data, url
        )


async def _run(*command: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


@pytest_asyncio.fixture
async def tools() -> AsyncIterator[Tools]:
    async with RpcRig(settings=LISTEN) as rig:
        yield Tools(rig)


async def test_grpcurl_lists_and_describes_everything(tools: Tools) -> None:
    listed = await tools.grpcurl(tools.address, "list")
    methods = await tools.grpcurl(tools.address, "list", SERVICE)
    described = await tools.grpcurl(tools.address, "describe")
    message = await tools.grpcurl(tools.address, "describe", "jobwire.v1.JobSpec")

    assert listed.out.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "jobwire.v1.AdminService",
        SERVICE,
        "jobwire.v1.WorkerService",
    ]
    assert len(methods.out.split()) == 10
    assert described.exit_code == 0, described.err
    assert "rpc SubmitJob" in described.out
    assert "retry_policy" in message.out


async def test_a_job_is_submitted_read_listed_and_cancelled_by_hand(tools: Tools) -> None:
    spec = {"type": "send_email", "queue": "mail", "payload": {"text": '{"to":"a@b.c"}'}}
    submitted = (await tools.call("SubmitJob", {"spec": spec, "request_id": "by-hand"})).json
    job_id = submitted["job"]["jobId"]

    read = (await tools.call("GetJob", {"job_id": job_id})).json
    listed = (await tools.call("ListJobs", {"filter": {"queues": ["mail"]}})).json
    cancelled = (await tools.call("CancelJob", {"job_id": job_id, "reason": "by hand"})).json
    again = (await tools.call("RetryJob", {"job_id": job_id})).json

    assert submitted["created"]
    assert read["job"]["spec"]["payload"]["text"] == '{"to":"a@b.c"}'
    assert [job["jobId"] for job in listed["jobs"]] == [job_id]
    assert cancelled["job"]["status"]["state"] == "JOB_STATE_CANCELLED"
    assert again["job"]["status"]["state"] == "JOB_STATE_PENDING"


async def test_a_job_is_watched_to_its_end_by_hand(tools: Tools) -> None:
    job = await tools.rig.submit()
    watching = asyncio.create_task(tools.call("WatchJob", {"job_id": job.job_id}))
    await tools.rig.hub._desk.anybody.wait()

    await tools.rig.store.cancel("default", job.job_id)

    ran = await watching
    assert ran.exit_code == 0, ran.err
    assert '"state": "JOB_STATE_CANCELLED"' in ran.out


async def test_all_jobs_are_watched_by_hand_until_they_have_ended(tools: Tools) -> None:
    ids = [await tools.rig.stores.job_in(State.COMPLETED), await tools.rig.stores.job_in(State.FAILED)]

    ran = await tools.call(
        "WatchJobs", {"job_ids": ids, "send_initial_state": True, "until_all_terminal": True, "view": "JOB_VIEW_BASIC"}
    )

    assert ran.exit_code == 0, ran.err
    assert all(job_id in ran.out for job_id in ids)
    assert '"initialStateComplete": true' in ran.out


async def test_a_batch_is_submitted_by_hand(tools: Tools) -> None:
    answer = (
        await tools.call("BatchSubmitJobs", {"requests": [{"spec": {"type": "a"}}, {"spec": {"type": "b"}}]})
    ).json

    assert [result["created"] for result in answer["results"]] == [True, True]
    ids = [result["jobId"] for result in answer["results"]]
    found = (await tools.call("BatchGetJobs", {"job_ids": [*ids, "nobody"]})).json
    assert [job["jobId"] for job in found["jobs"]] == ids
    assert found["missingJobIds"] == ["nobody"]


@pytest.mark.parametrize("flags", [("--reflect-protocol", "grpc-v1"), ("--reflect-protocol", "grpc-v1alpha")])
async def test_buf_submits_reads_and_watches(tools: Tools, flags: tuple[str, ...]) -> None:
    submitted = (await tools.buf(f"{SERVICE}/SubmitJob", {"spec": {"type": "work"}}, *flags)).json
    job_id = submitted["job"]["jobId"]
    cancelled = (await tools.buf(f"{SERVICE}/CancelJob", {"jobId": job_id}, *flags)).json
    watched = (await tools.buf(f"{SERVICE}/WatchJob", {"jobId": job_id}, *flags)).json
    info = (await tools.buf("jobwire.v1.AdminService/GetServerInfo", {}, *flags)).json

    assert cancelled["job"]["status"]["state"] == watched["status"]["state"] == "JOB_STATE_CANCELLED"
    assert info["serverInfo"]["version"] == "1.2.3"


async def test_buf_lists_methods_and_sees_health(tools: Tools) -> None:
    ran = await _run(
        str(BIN / "buf"), "curl", "--http2-prior-knowledge", "--protocol", "grpc", "--list-methods",
        f"http://{tools.address}",
    )  # fmt: skip
    health = (await tools.buf("grpc.health.v1.Health/Check", {"service": SERVICE})).json

    assert f"{SERVICE}/SubmitJob" in ran.out.split()
    assert health == {"status": "SERVING"}


async def test_buf_shows_an_error_with_its_reason(tools: Tools) -> None:
    ran = await tools.buf(f"{SERVICE}/GetJob", {"jobId": "nobody"})

    assert ran.exit_code != 0
    error = json.loads(ran.err)
    assert error["code"] == "not_found"
    [info] = [detail["value"] for detail in error["details"] if detail["type"] == "google.rpc.ErrorInfo"]
    assert b"JOB_NOT_FOUND" in base64.b64decode(info + "==")


ERRORS: list[tuple[str, str, dict[str, Any], str, list[str]]] = [
    (
        "InvalidArgument",
        "SubmitJob",
        {"spec": {"queue": "NO"}},
        "FIELD_INVALID",
        ["google.rpc.BadRequest", "spec.queue"],
    ),
    ("InvalidArgument", "ListJobs", {"page_token": "x"}, "PAGE_TOKEN_INVALID", []),
    ("NotFound", "GetJob", {"job_id": "nobody"}, "JOB_NOT_FOUND", ["google.rpc.ResourceInfo", "nobody"]),
    ("AlreadyExists", "SubmitJob", {"spec": {"type": "a"}, "job_id": "taken"}, "JOB_ID_TAKEN", []),
    ("FailedPrecondition", "CancelJob", {"job_id": "COMPLETED"}, "JOB_TERMINAL", ["COMPLETED"]),
    ("FailedPrecondition", "RetryJob", {"job_id": "COMPLETED"}, "JOB_SUCCEEDED", []),
    ("FailedPrecondition", "DeleteJob", {"job_id": "taken"}, "JOB_NOT_TERMINAL", []),
    ("OutOfRange", "WatchJobs", {"after": {"epoch": "x", "revision": "1"}}, "STORE_EPOCH_CHANGED", []),
    ("OutOfRange", "WatchJob", {"job_id": "taken", "after_revision": "99"}, "REVISION_IN_FUTURE", []),
]


@pytest.mark.parametrize(("code", "method", "request_", "reason", "details"), ERRORS)
async def test_every_error_is_shown_with_its_details(
    tools: Tools, code: str, method: str, request_: dict[str, Any], reason: str, details: list[str]
) -> None:
    await tools.rig.submit(job_id="taken")
    if request_.get("job_id") == "COMPLETED":
        request_ = {"job_id": await tools.rig.stores.job_in(State.COMPLETED)}

    ran = await tools.call(method, request_)

    assert ran.exit_code != 0
    assert f"Code: {code}" in ran.err
    for expected in ("google.rpc.ErrorInfo", "jobwire.dev", reason, *details):
        assert expected in ran.err


async def test_a_full_service_is_shown_with_the_time_to_come_back() -> None:
    async with RpcRig(settings=LISTEN, max_depth=1) as rig:
        await rig.submit()
        ran = await Tools(rig).call("SubmitJob", {"spec": {"type": "a"}})

        assert "Code: ResourceExhausted" in ran.err
        for expected in ("QUEUE_FULL", "google.rpc.RetryInfo", "google.rpc.QuotaFailure"):
            assert expected in ran.err


async def test_a_server_that_drains_is_shown_as_unavailable(tools: Tools) -> None:
    await tools.rig.server.drain()

    ran = await tools.call("GetJob", {"job_id": "a"})

    assert "Code: Unavailable" in ran.err
    assert "DRAINING" in ran.err


async def test_a_bug_shows_nothing_but_its_id() -> None:
    async with RpcRig(settings=LISTEN, around=Broken) as rig:  # type: ignore[arg-type]
        ran = await Tools(rig).call("SubmitJob", {"spec": {"type": "a"}})

        assert "Code: Internal" in ran.err
        assert "error_id" in ran.err
        assert "postgres" not in ran.err


@pytest.mark.parametrize("surplus", [-1, 0, 1])
async def test_no_response_is_bigger_than_other_languages_take(tools: Tools, surplus: int) -> None:
    """grpcurl is told to refuse a byte more than our limit; jobs are sized around it."""
    await self_fitting_jobs(tools.rig, RESPONSE_LIMIT + surplus)

    seen: list[str] = []
    token = ""
    while True:
        ran = await tools.call(
            "ListJobs", {"view": "JOB_VIEW_FULL", "page_token": token}, "-max-msg-sz", str(RESPONSE_LIMIT)
        )
        seen += [job["jobId"] for job in ran.json["jobs"]]
        token = ran.json.get("nextPageToken", "")
        if not token:
            break

    assert len(seen) == 5
    assert seen[0] == "prob2"
