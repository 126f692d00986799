"""Typed jobs from the call to the value, through a real service in this process and in both manners."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from jobwire import AsyncClient, Client, JobState, errors
from jobwire_server.embedded import Embedded
from tests.client.typed_jobs import Address, Receipt, app, digest, double, odd, send_email, whoami

pytestmark = pytest.mark.asyncio

ADA = Address("Ada", "ada@example.org")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module")
async def service() -> AsyncIterator[Embedded]:
    async with Embedded(app, slots=8) as service:
        yield service


@pytest_asyncio.fixture(autouse=True)
async def connected(service: Embedded) -> AsyncIterator[AsyncClient]:
    async with app.connect(service.address) as client:
        yield client


async def test_a_submit_gives_a_handle_whose_result_is_what_the_handler_returned() -> None:
    handle = await send_email.asubmit(ADA, NOON, html=True)
    again = await asyncio.to_thread(send_email.submit, to=ADA, at=NOON)

    assert await handle.result(timeout="20s") == Receipt(message_id="Ada <ada@example.org> True", sent=NOON)
    assert await asyncio.to_thread(again.result, timeout="20s") == Receipt(
        message_id="Ada <ada@example.org> False", sent=NOON
    )
    job = await handle.get()
    assert (job.spec.type, job.spec.queue) == ("email.send", "mail")


async def test_run_is_a_submit_and_its_result() -> None:
    assert await double.arun(21) == 42
    assert await asyncio.to_thread(double.run, 21, by=3) == 63
    assert await digest.arun(b"\x00\xff") == b"\xff\x001", "the context was not the caller's to give"


async def test_a_call_is_still_a_call() -> None:
    assert double(4) == 8
    assert await send_email(ADA, NOON) == Receipt(message_id="Ada <ada@example.org> False", sent=NOON)
    assert whoami()["id"] == "", "outside of a job current_job() is nobody"


async def test_options_hold_for_the_submits_of_what_they_return() -> None:
    labelled = whoami.options(labels={"of": "ada"}, queue="other", wait="20s")

    found = await labelled.arun()
    plain = await whoami.arun()
    later = await labelled.options(labels={"of": "eve"}, delay="1h", priority=9, max_attempts=3).asubmit()

    assert (found["queue"], found["labels"]) == ("other", {"of": "ada"})
    assert (plain["queue"], plain["labels"]) == ("default", {})
    spec = (await later.get()).spec
    assert (later.state, spec.queue, spec.labels, spec.priority) == (JobState.SCHEDULED, "other", {"of": "eve"}, 9)
    assert spec.retry_policy is not None
    assert spec.retry_policy.max_attempts == 3


async def test_a_key_makes_a_job_once() -> None:
    once = double.options(key="once")

    first, second = await once.asubmit(1), await once.asubmit(1)

    assert (first.id, first.created) == (second.id, True)
    assert not second.created
    with pytest.raises(errors.RequestIdReused):
        await once.asubmit(2)


async def test_waiting_ends_and_the_job_goes_on() -> None:
    waiting = double.options(delay="1h", wait=0.05)

    with pytest.raises(errors.WaitTimeout):
        await waiting.arun(1)
    with pytest.raises(errors.WaitTimeout):
        await asyncio.to_thread(waiting.run, 1)


async def test_wrong_arguments_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(TypeError, match="missing"):
        await send_email.asubmit(ADA)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected"):
        double.submit(1, times=3)  # type: ignore[call-arg]
    with pytest.raises(errors.NotEncodable):
        double.submit(object())  # type: ignore[arg-type]
    with pytest.raises(errors.ArgumentInvalid, match="prio"):
        double.options(prio=3).submit(1)  # type: ignore[call-arg]


async def test_map_gives_results_in_the_order_of_the_items() -> None:
    assert [value async for value in double.amap(range(50), by=10)] == [n * 10 for n in range(50)]
    assert await asyncio.to_thread(lambda: list(double.map(iter(range(50))))) == [n * 2 for n in range(50)]
    assert [value async for value in double.amap([])] == []


async def test_map_raises_at_the_place_of_the_job_that_failed() -> None:
    values = odd.options(max_attempts=1).amap([1, 3, 4, 5])

    assert [await anext(values), await anext(values)] == [1, 3]
    with pytest.raises(errors.JobFailed, match="4 is even"):
        await anext(values)


async def test_map_draws_from_an_endless_source_only_so_far_ahead() -> None:
    drawn = count()
    values = double.amap(drawn)

    assert [await anext(values) for _ in range(3)] == [0, 2, 4]
    await values.aclose()  # type: ignore[attr-defined]
    assert next(drawn) <= 5000


async def test_map_submits_many_jobs_so_a_key_makes_no_sense() -> None:
    with pytest.raises(errors.ArgumentInvalid, match="key names one job"):
        [value async for value in double.options(key="k").amap([1])]


async def test_a_typed_job_can_be_pickled_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(double)) is double


async def test_threads_share_an_app() -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(8) as pool:
        calls = [loop.run_in_executor(pool, double.run, number) for number in range(40)]
        assert [await call for call in calls] == [number * 2 for number in range(40)]


async def test_the_innermost_client_counts_and_the_one_before_comes_back(
    service: Embedded, connected: AsyncClient
) -> None:
    with app.connect(service.address, deadline="3s") as inner:
        assert app.client is inner
        assert app.client.settings.deadline == timedelta(seconds=3)
    assert app.async_client is connected
    with pytest.raises(errors.ClientClosed):
        inner.server_info()


async def test_a_bound_client_serves_both_manners(service: Embedded) -> None:
    from jobwire import App  # noqa: PLC0415 - an app of its own, connected to nothing

    shop = App("other")
    twice = shop.job("double")(double.function)
    with Client(service.address) as client:
        shop.bind(client)
        assert shop.client is client
        assert await asyncio.to_thread(twice.run, 4) == 8
        async with shop.async_client:
            assert await twice.arun(4) == 8


def program(code: str, environ: dict[str, str] | None = None) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=40, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_without_more_ado_the_environment_names_the_server(service: Embedded) -> None:
    code = "from tests.client.typed_jobs import double; print(double.run(21))"

    assert await asyncio.to_thread(program, code, {"JOBWIRE_ADDRESS": service.address}) == "42"


async def test_importing_and_registering_connects_to_nothing_and_imports_no_grpc() -> None:
    code = (
        "import sys\nfrom jobwire import App\napp = App('shop')\n@app.job\ndef f(x: int) -> int: ...\n"
        "f.options(delay='1h')\nprint('grpc' in sys.modules)"
    )

    assert await asyncio.to_thread(program, code) == "False"


async def test_a_forked_child_submits_through_a_client_of_its_own(service: Embedded) -> None:
    code = """
import os
from tests.client.typed_jobs import double
first = double.run(1)
child = os.fork()
if child == 0:
    os._exit(double.run(21))
_, status = os.waitpid(child, 0)
print(first, os.waitstatus_to_exitcode(status), double.run(3))
"""
    assert await asyncio.to_thread(program, code, {"JOBWIRE_ADDRESS": service.address}) == "2 42 6"
