"""The pool: the worker runtime on the direct transport, with the built-in types."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobwire.worker.runtime import WorkerRuntime
from jobwire_server.domain.job import TERMINAL_STATES, Content, Job, RetryPolicy, State
from jobwire_server.pool.builtin import builtin_app
from jobwire_server.pool.direct import DirectTransport, run_of, token_of
from tests.engine.conftest import Engine, counted, job_of, new_job, reaches, submit

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def pool(engine: Engine) -> AsyncIterator[WorkerRuntime]:
    runtime = WorkerRuntime(
        transport=DirectTransport(engine.dispatcher), handlers=builtin_app().handlers, slots=4, worker_id="pool"
    )
    await runtime.start()
    await runtime.resume()
    yield runtime
    await runtime.stop()


async def ended(engine: Engine, job_id: str) -> Job:
    return await reaches(engine.store, job_id, *TERMINAL_STATES)


def json_payload(value: object) -> Content:
    return Content(json.dumps(value).encode(), "application/json")


async def test_hello_greets_the_name_in_the_payload(engine: Engine, pool: WorkerRuntime) -> None:
    await submit(engine.store, new_job("a", "hello", payload=json_payload("Ada")))

    job = await ended(engine, "a")

    assert job.status.state is State.COMPLETED
    assert job.status.result is not None
    assert json.loads(job.status.result.data) == "Hello, Ada!"


async def test_echo_returns_the_payload_as_it_came(engine: Engine, pool: WorkerRuntime) -> None:
    odd = Content(b"\x00\xff not json", "application/x-odd", "gzip")
    await submit(engine.store, new_job("a", "echo", payload=odd))

    job = await ended(engine, "a")

    assert job.status.result == odd


async def test_fail_keeps_the_error_with_the_job(engine: Engine, pool: WorkerRuntime) -> None:
    once = RetryPolicy(max_attempts=1)
    await submit(engine.store, new_job("a", "fail", payload=json_payload("no paper"), retry_policy=once))

    job = await ended(engine, "a")

    assert job.status.state is State.FAILED
    error = job.status.last_error
    assert error is not None
    assert error.type.endswith("FailedOnPurpose")
    assert error.message == "no paper"
    assert "FailedOnPurpose" in error.detail


async def test_a_result_over_the_limit_fails_the_job_instead_of_retrying_for_ever(
    engine: Engine, pool: WorkerRuntime
) -> None:
    await submit(engine.store, new_job("a", "hello", payload=json_payload("x" * (1 << 20))))

    job = await ended(engine, "a")

    assert job.status.state is State.FAILED


async def test_a_thousand_jobs_run_in_four_slots(engine: Engine, pool: WorkerRuntime) -> None:
    await submit(engine.store, *(new_job(f"j{n}", "echo") for n in range(1000)))

    await counted(engine.store, State.COMPLETED, 1000)
    assert (await job_of(engine.store, "j999")).status.attempt == 1


@pytest.mark.parametrize("run", [(1, 1), (2**62, 1), (7, 2**40)])
async def test_a_token_names_one_run(run: tuple[int, int]) -> None:
    assert run_of(token_of(run)) == run
