"""A server process from start to end: it serves, it survives, it drains."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import grpc
import pytest
import trustme

from jobwire.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from tests.e2e.conftest import Client, World
from tests.helpers.processes import ServerProcess

pytestmark = pytest.mark.asyncio

State = job_pb2.JobState


def result_of(job: job_pb2.Job) -> object:
    return json.loads(job.status.result.text or job.status.result.data)


def events_of(server: ServerProcess) -> list[dict[str, object]]:
    """What a server logged, as JSON."""
    return [json.loads(line) for line in server.lines if line.startswith("{")]


async def refused(client: Client) -> grpc.aio.AioRpcError:
    """Submit until the server does not take it any more; returns its refusal."""
    while True:
        try:
            await client.submit("hello")
        except grpc.aio.AioRpcError as error:
            return error


async def test_a_job_runs_from_submit_to_result(world: World) -> None:
    await world.serving()
    async with world.client() as client:
        job_id = await client.submit("hello", '"Ada"')

        job = await client.reaches(job_id, State.JOB_STATE_COMPLETED)

    assert result_of(job) == "Hello, Ada!"


async def test_a_killed_server_loses_nothing_and_runs_the_job_again(world: World) -> None:
    first = await world.serving()
    async with world.client() as client:
        done = await client.submit("hello", '"Ada"')
        before = await client.reaches(done, State.JOB_STATE_COMPLETED)
        running = await client.submit("sleep", "1.5")
        await client.reaches(running, State.JOB_STATE_PROCESSING)
        waiting = [await client.submit("echo", f"{n}", queue="later") for n in range(20)]
        first.send(signal.SIGKILL)
        assert await first.wait(10) == -signal.SIGKILL

    second = await world.serving("--log-level", "info")
    async with world.client() as client:
        again = await client.reaches(running, State.JOB_STATE_COMPLETED)
        rest = [await client.reaches(job_id, State.JOB_STATE_COMPLETED) for job_id in waiting]
        after = await client.get(done)

    assert again.status.attempt == 2
    assert [result_of(job) for job in rest] == list(range(20))
    assert after == before
    (recovery,) = [event for event in events_of(second) if event["event"] == "recovery.ended"]
    assert recovery["returned"] >= 1  # type: ignore[operator]


async def test_the_log_leads_from_a_request_id_to_the_job_and_its_attempt(world: World) -> None:
    server = await world.serving("--log-level", "debug")
    async with world.client() as client:
        request = job_service_pb2.SubmitJobRequest(request_id="order-42", spec=job_pb2.JobSpec(type="hello"))
        job_id = (await client.stub.SubmitJob(request)).job.job_id  # type: ignore[misc]
        await client.reaches(job_id, State.JOB_STATE_COMPLETED)
    server.send(signal.SIGTERM)
    await server.wait(30)

    (submitted,) = [event for event in events_of(server) if event["event"] == "job.submitted"]
    (ended,) = [event for event in events_of(server) if event["event"] == "job.attempt_ended"]
    assert (submitted["request_id"], submitted["job_id"]) == ("order-42", job_id)
    assert (ended["job_id"], ended["attempt"], ended["fence"]) == (job_id, 1, 1)


async def test_the_steps_of_the_start_are_logged_in_their_order(world: World) -> None:
    server = await world.serving("--log-level", "info")

    steps = [event["step"] for event in events_of(server) if event["event"] == "startup.step_ended"]
    names = [event["event"] for event in events_of(server)]

    assert steps == [
        "open and migrate store",
        "recovery",
        "dispatcher",
        "worker pool, paused",
        "gRPC listener",
    ]
    assert names.index("recovery.ended") < names.index("dispatch.worker_attached") < names.index("server.ready")


async def test_exactly_one_line_says_ready_with_the_real_address(world: World) -> None:
    server = await world.start("--port", "0")
    address = await server.expect_ready()
    assert address.startswith("127.0.0.1:")
    assert not address.endswith(":0")

    async with world.client(address) as client:
        await client.submit("hello")
    server.send(signal.SIGTERM)
    await server.wait(10)

    assert len([line for line in server.lines if line.startswith("ready")]) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_running_jobs_finish_and_ends_with_0(world: World, number: signal.Signals) -> None:
    server = await world.serving()
    async with world.client() as client:
        job_id = await client.submit("sleep", "1")
        await client.reaches(job_id, State.JOB_STATE_PROCESSING)

        server.send(number)
        assert await server.wait(20) == 0

    await world.serving()
    async with world.client() as client:
        job = await client.get(job_id)
    assert (job.status.state, job.status.attempt) == (State.JOB_STATE_COMPLETED, 1)


async def test_jobs_that_do_not_finish_within_the_grace_are_given_back_with_their_attempt(world: World) -> None:
    server = await world.serving("--grace", "300ms")
    async with world.client() as client:
        job_id = await client.submit("sleep", "3600")
        await client.reaches(job_id, State.JOB_STATE_PROCESSING)

        server.send(signal.SIGTERM)
        assert await server.wait(20) == 0

    await world.serving()
    async with world.client() as client:
        job = await client.reaches(job_id, State.JOB_STATE_PROCESSING)
    assert job.status.attempt == 1


async def test_a_server_that_drains_takes_nothing_new_and_says_why(world: World) -> None:
    server = await world.serving()
    async with world.client() as client:
        job_id = await client.submit("sleep", "2")
        await client.reaches(job_id, State.JOB_STATE_PROCESSING)
        server.send(signal.SIGTERM)

        refusal = await refused(client)

    assert refusal.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_second_signal_ends_at_once_and_loses_nothing(world: World) -> None:
    server = await world.serving()
    async with world.client() as client:
        job_id = await client.submit("sleep", "3600")
        await client.reaches(job_id, State.JOB_STATE_PROCESSING)
        server.send(signal.SIGTERM)
        await refused(client)

        server.send(signal.SIGTERM)
        assert await server.wait(10) == -signal.SIGTERM

    await world.serving()
    async with world.client() as client:
        job = await client.reaches(job_id, State.JOB_STATE_PROCESSING)
    assert job.status.attempt == 2


async def test_a_signal_while_the_server_starts_ends_it_with_0(world: World) -> None:
    server = await world.start("--log-level", "info")
    await server.first_line()

    server.send(signal.SIGTERM)

    assert await server.wait(10) == 0


class TestRefusedStarts:
    async def test_a_second_server_on_the_same_file(self, world: World) -> None:
        first = await world.serving()

        second = await world.start("--listen", f"unix:{world.folder}/other")

        assert await second.wait(20) == 1
        assert "START_FAILED" in second.tail()
        assert "open and migrate store" in second.tail()
        async with world.client() as client:
            job_id = await client.submit("hello")
            await client.reaches(job_id, State.JOB_STATE_COMPLETED)
        assert first.tail().count("ready") == 1

    async def test_an_address_that_is_taken(self, world: World) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            server = await world.start("--listen", f"127.0.0.1:{taken.getsockname()[1]}")
            assert await server.wait(20) == 1
        assert "gRPC listener" in server.tail()
        assert "Choose another address" in server.tail()

    async def test_an_app_that_is_not_there(self, world: World) -> None:
        server = await world.start("--app", "nowhere_at_all:app")
        assert await server.wait(20) == 1
        assert "There is no module 'nowhere_at_all'" in server.tail()

    async def test_an_app_that_cannot_be_imported(self, world: World) -> None:
        (world.folder / "broken_handlers.py").write_text("raise OSError('no such printer')\n")
        server = await world.start("--app", "broken_handlers:app", PYTHONPATH=str(world.folder))
        assert await server.wait(20) == 1
        assert "OSError: no such printer" in server.tail()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--listen", "0.0.0.0:0"), "--insecure-no-auth"),
            (("--slots", "0"), "the least is 1"),
            (("--grace", "soon"), "not a duration"),
        ],
    )
    async def test_settings_that_cannot_be(self, world: World, arguments: tuple[str, ...], words: str) -> None:
        server = await world.start(*arguments)
        assert await server.wait(20) == 2
        assert words in server.tail()

    async def test_a_failed_start_leaves_a_store_that_the_next_start_can_use(self, world: World) -> None:
        failed = await world.start(JOBWIRE_FAILPOINTS="startup.after_recovery=error")
        assert await failed.wait(20) == 1

        await world.serving()


async def test_handlers_of_an_app_run_beside_the_built_in_types(world: World) -> None:
    (world.folder / "shop_handlers.py").write_text(HANDLERS)
    await world.serving("--app", "shop_handlers:app", PYTHONPATH=str(world.folder))
    async with world.client() as client:
        mine = await client.submit("shop.total", '{"first": 19, "second": 23}')
        theirs = await client.submit("hello")

        job = await client.reaches(mine, State.JOB_STATE_COMPLETED)
        await client.reaches(theirs, State.JOB_STATE_COMPLETED)

    assert result_of(job) == 42


HANDLERS = """
from jobwire.app import App

app = App("shop")


@app.job("shop.total")
def total(first: int, second: int) -> int:
    return first + second


@app.job("shop.hang")
def hang() -> None:
    import time

    while True:
        time.sleep(3600)


@app.job("shop.grind", runner="process")
def grind() -> None:
    while True:
        pass


@app.job("shop.stubborn")
async def stubborn() -> str:
    import asyncio

    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""


async def test_a_cancel_reaches_the_handler(world: World) -> None:
    await world.serving()
    async with world.client() as client:
        job_id = await client.submit("sleep", "3600")
        await client.reaches(job_id, State.JOB_STATE_PROCESSING)

        await client.cancel(job_id)

        await client.reaches(job_id, State.JOB_STATE_CANCELLED)


async def test_a_handler_that_ignores_its_cancel_loses_its_lease(world: World) -> None:
    (world.folder / "shop_handlers.py").write_text(HANDLERS)
    await world.serving(
        "--app", "shop_handlers:app", "--cancel-grace", "300ms", "--slots", "1", PYTHONPATH=str(world.folder)
    )
    async with world.client() as client:
        job_id = await client.submit("shop.stubborn")
        await client.reaches(job_id, State.JOB_STATE_PROCESSING)

        await client.cancel(job_id)

        await client.reaches(job_id, State.JOB_STATE_CANCELLED)
        after = await client.submit("hello")
        await client.reaches(after, State.JOB_STATE_COMPLETED)


@pytest.mark.parametrize("type_", ["shop.hang", "shop.grind", "shop.stubborn"])
async def test_no_handler_holds_up_the_end_of_the_server(world: World, type_: str) -> None:
    (world.folder / "shop_handlers.py").write_text(HANDLERS)
    app = ("--app", "shop_handlers:app")
    server = await world.serving(*app, "--grace", "200ms", PYTHONPATH=str(world.folder))
    async with world.client() as client:
        job_id = await client.submit(type_)
        await client.reaches(job_id, State.JOB_STATE_PROCESSING)

        server.send(signal.SIGTERM)

        assert await server.wait(20) == 0

    await world.serving()
    async with world.client() as client:
        job = await client.get(job_id)
    assert (job.status.state, job.status.attempt) == (State.JOB_STATE_PENDING, 0)


async def test_tls_lets_in_only_clients_that_its_authority_knows(world: World) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    files = {"cert": world.folder / "cert.pem", "key": world.folder / "key.pem", "ca": world.folder / "ca.pem"}
    identity = authority.issue_cert("localhost")
    files["cert"].write_bytes(b"".join(blob.bytes() for blob in identity.cert_chain_pems))
    files["key"].write_bytes(identity.private_key_pem.bytes())
    files["ca"].write_bytes(authority.cert_pem.bytes())
    server = await world.start(
        *("--listen", "localhost:0", "--tls-cert", str(files["cert"]), "--tls-key", str(files["key"])),
        *("--tls-client-ca", str(files["ca"])),
    )
    address = await server.expect_ready()

    async def submit_as(owner: trustme.CA) -> str:
        mine = owner.issue_cert("client")
        credentials = grpc.ssl_channel_credentials(
            files["ca"].read_bytes(), mine.private_key_pem.bytes(), mine.cert_chain_pems[0].bytes()
        )
        async with grpc.aio.secure_channel(address, credentials) as channel:
            return await Client(job_service_pb2_grpc.JobServiceStub(channel)).submit("hello")  # type: ignore[no-untyped-call]

    assert await submit_as(authority)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await submit_as(stranger)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_memory_mode_forgets_and_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    server = await world.serving("--memory", TMPDIR=str(temporary))
    async with world.client() as client:
        job_id = await client.submit("hello")
        await client.reaches(job_id, State.JOB_STATE_COMPLETED)

    server.send(signal.SIGTERM)
    assert await server.wait(10) == 0

    assert list(temporary.iterdir()) == []
    assert not world.database.exists()
