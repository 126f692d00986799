"""jobwire inside another program."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobwire import App, AsyncClient, JobContext, JobFailed, JobFilter, decode
from jobwire_server.embedded import Embedded, StartFailed

pytestmark = pytest.mark.asyncio


def calculator() -> App:
    app = App("calculator")

    @app.job("add")
    async def add(a: int, b: int) -> int:
        return a + b

    return app


async def test_register_start_submit_get_in_one_process() -> None:
    async with Embedded(calculator()) as service, AsyncClient(service.address) as client:
        job = await client.submit("add", [1, 2])
        assert await job.result() == 3


async def test_what_was_submitted_is_there_when_the_program_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with Embedded(App("nothing yet"), db=path) as service, AsyncClient(service.address) as client:
        job_id = (await client.submit("add", [20, 22])).id

    async with Embedded(calculator(), db=path) as service, AsyncClient(service.address) as client:
        assert await client.job(job_id).result() == 42


async def test_a_store_that_is_taken_is_a_clear_error_and_leaves_nothing_running(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with Embedded(calculator(), db=path):
        with pytest.raises(StartFailed, match="open and migrate store"):
            async with Embedded(calculator(), db=path):
                pass
    async with Embedded(calculator(), db=path) as service:
        assert service.broken is None


async def test_its_address_is_only_known_while_it_runs() -> None:
    service = Embedded(calculator())
    with pytest.raises(RuntimeError, match="not running"):
        _ = service.address


def chain() -> App:
    app = App("chain")

    @app.job("first")
    def first(ctx: JobContext, queue: str) -> int:
        ctx.follow_up("second", {"of": "first"}, queue=queue, labels={"made": "by a success"})
        return 1

    return app


async def test_follow_ups_are_created_with_the_success_that_asked_for_them() -> None:
    async with Embedded(chain()) as service, AsyncClient(service.address) as client:
        job = await client.submit("first", ["later"])
        assert await job.result(timeout="20s") == 1
        (made,) = [each async for each in client.jobs(JobFilter(types=("second",)), full=True)]
    assert (made.spec.queue, dict(made.spec.labels)) == ("later", {"made": "by a success"})
    assert decode(made.spec.payload) == {"of": "first"}


async def test_a_success_whose_follow_ups_cannot_be_is_no_success() -> None:
    async with Embedded(chain()) as service, AsyncClient(service.address) as client:
        job = await client.submit("first", ["Not A Queue"])
        with pytest.raises(JobFailed, match=r"follow_ups\[0\]") as failed:
            await job.result(timeout="20s")
        assert failed.value.error is not None
        assert failed.value.error.type == "OUTCOME_REFUSED"
        assert [each async for each in client.jobs(JobFilter(types=("second",)))] == []
