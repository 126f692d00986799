"""The FastAPI integration, on the real framework and a real HTTP server: routes, events, restarts of the server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request

from jobwire import App, AsyncClient, Job, JobContext
from jobwire.integrations.fastapi import JobwireDep, job_router, lifespan_client
from jobwire.testing import EngineProcess, Jobwire, running
from tests.helpers.processes import ServerProcess
from tests.integrations.web import Event, event_source, serving

pytestmark = pytest.mark.asyncio

jobs = App("web")


@jobs.job("render")
def render(ctx: JobContext, pages: int) -> dict[str, int]:
    ctx.progress(pages, total=2 * pages, message="half of it")
    return {"pages": pages}


@jobs.job("fail")
def fail() -> None:
    raise ValueError("out of ink")


@pytest.fixture
def jobwire_app() -> App:
    return jobs


async def owner_only(request: Request, job: Job) -> bool:
    return job.spec.labels.get("owner") == request.headers.get("x-user", "ada")


def make_app(address: str) -> FastAPI:
    app = FastAPI(lifespan=lifespan_client(address, apps=[jobs]))
    app.include_router(job_router(prefix="/jobs", allow=owner_only))

    @app.post("/renders", status_code=202)
    async def start(client: JobwireDep) -> str:
        return (await client.submit("render", {"pages": 3}, labels={"owner": "ada"})).id

    @app.post("/typed", status_code=202)
    async def start_typed() -> str:
        return (await render.options(labels={"owner": "ada"}).asubmit(3)).id

    return app


@pytest_asyncio.fixture
async def web(jobwire: Jobwire, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(make_app(jobwire.address), folder / "web") as client:
        yield client


async def submit(jobwire: Jobwire, job_type: str = "render", payload: object = None, **options: object) -> str:
    async with jobwire.async_client() as client:
        made = await client.submit(job_type, payload, labels={"owner": "ada"}, **options)  # type: ignore[arg-type]
        return str(made.id)


async def test_a_job_is_submitted_read_and_done(web: httpx.AsyncClient, jobwire: Jobwire) -> None:
    job_id = (await web.post("/renders")).json()
    waiting = (await web.get(f"/jobs/{job_id}")).json()
    assert (waiting["state"], waiting["ended"], waiting["result"]) == ("PENDING", False, None)

    await jobwire.adrain()

    done = (await web.get(f"/jobs/{job_id}")).json()
    assert (done["state"], done["ended"], done["result"]) == ("COMPLETED", True, {"pages": 3})


async def test_typed_jobs_go_through_the_applications_client(jobwire_engine: EngineProcess, folder: Path) -> None:
    with running(engine=jobwire_engine) as server:  # no app in use: only the lifespan can have bound it
        async with serving(make_app(server.address), folder / "web") as client:
            job_id = (await client.post("/typed")).json()
        assert server.assert_submitted("render", pages=3).job_id == job_id


async def test_a_failure_shows_its_message_and_nothing_of_the_stack(web: httpx.AsyncClient, jobwire: Jobwire) -> None:
    job_id = await submit(jobwire, "fail", max_attempts=1)
    await jobwire.adrain()
    answer = await web.get(f"/jobs/{job_id}")
    assert (answer.json()["state"], answer.json()["error"]) == ("FAILED", "out of ink")
    assert "Traceback" not in answer.text


async def test_a_job_of_somebody_else_is_not_found_like_one_that_is_not_there(
    web: httpx.AsyncClient, jobwire: Jobwire
) -> None:
    job_id = await submit(jobwire)
    for path in (f"/jobs/{job_id}", f"/jobs/{job_id}/events"):
        theirs = await web.get(path, headers={"x-user": "eve"})
        missing = await web.get(path.replace(job_id, "no-such-job"))
        assert (theirs.status_code, missing.status_code) == (404, 404)
        assert theirs.json()["detail"].replace(job_id, "X") == "There is no job 'X'."
    assert (await web.post(f"/jobs/{job_id}/cancel", headers={"x-user": "eve"})).status_code == 404
    assert jobwire.state(job_id) == "PENDING"


async def test_a_job_is_cancelled_once(web: httpx.AsyncClient, jobwire: Jobwire) -> None:
    job_id = await submit(jobwire)
    cancelled = await web.post(f"/jobs/{job_id}/cancel", json={"reason": "enough"})
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "CANCELLED")

    done = await submit(jobwire, payload={"pages": 1})
    await jobwire.adrain()
    assert (await web.post(f"/jobs/{done}/cancel")).status_code == 409


async def test_events_follow_a_job_to_its_end(web: httpx.AsyncClient, jobwire: Jobwire) -> None:
    job_id = await submit(jobwire, payload={"pages": 3})
    async with event_source(web, f"/jobs/{job_id}/events") as events:
        first = await anext(events)
        await jobwire.adrain()
        rest = [event async for event in events]

    assert (first.kind, first.data["state"]) == ("job", "PENDING")
    assert [event.kind for event in rest[:-1]] == ["job"] * (len(rest) - 1)
    assert (rest[-1].kind, rest[-1].data["state"], rest[-1].data["result"]) == ("end", "COMPLETED", {"pages": 3})
    revisions = [int(event.id) for event in (first, *rest)]
    assert revisions == sorted(revisions)


async def test_a_browser_that_comes_back_gets_what_it_has_not_seen(web: httpx.AsyncClient, jobwire: Jobwire) -> None:
    job_id = await submit(jobwire, payload={"pages": 3})
    async with event_source(web, f"/jobs/{job_id}/events") as events:
        seen = await anext(events)

    async with event_source(web, f"/jobs/{job_id}/events", seen.id) as events:
        await jobwire.adrain()
        missed = [event async for event in events]

    assert missed[-1].kind == "end"
    assert all(int(event.id) > int(seen.id) for event in missed)
    again = await web.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": missed[-1].id})
    assert again.status_code == 204  # which tells EventSource to ask no more


async def test_a_last_event_id_of_somebody_else_is_as_none(web: httpx.AsyncClient, jobwire: Jobwire) -> None:
    job_id = await submit(jobwire, payload={"pages": 3})
    for strange in ("abc", "-1", "²"):
        async with web.stream("GET", f"/jobs/{job_id}/events", headers={"Last-Event-ID": strange.encode()}) as answer:  # type: ignore[dict-item]
            assert answer.status_code == 200


async def test_a_server_that_is_away_is_a_503_with_a_time_to_come_back(folder: Path) -> None:
    app = FastAPI(lifespan=lifespan_client(f"unix:{folder}/nobody", deadline="200ms"))
    app.include_router(job_router(allow=lambda _request, _job: True))
    async with serving(app, folder / "web") as web:
        answer = await web.get("/jobs/some-job")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_the_lifespan_of_the_application_runs_inside_and_its_state_is_kept(
    jobwire: Jobwire, folder: Path
) -> None:
    lived: list[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        assert isinstance(app.state.jobwire, AsyncClient)
        lived.append("began")
        yield {"greeting": "hello"}
        lived.append("ended")

    app = FastAPI(lifespan=lifespan_client(jobwire.address, lifespan=own))

    @app.get("/")
    async def greet(request: Request) -> str:
        return str(request.state.greeting)

    async with serving(app, folder / "web") as web:
        assert (await web.get("/")).json() == "hello"
    assert lived == ["began", "ended"]


async def test_without_the_lifespan_the_error_says_what_to_do() -> None:
    app = FastAPI()
    app.include_router(job_router(allow=lambda _request, _job: True))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://web") as web:
        with pytest.raises(RuntimeError, match=r"FastAPI\(lifespan=lifespan_client\(\)\)"):
            await web.get("/jobs/x")


async def test_a_kill_of_the_jobwire_server_does_not_show_in_a_stream_of_events(folder: Path) -> None:
    arguments = ["dev", "--db", str(folder / "jobs.db"), "--listen", f"unix:{folder}/s", "--slots", "2"]
    server = ServerProcess(arguments)
    try:
        address = await server.expect_ready()
        async with serving(make_app(address), folder / "web") as web, AsyncClient(address) as client:
            job = await client.submit("sleep", 1, labels={"owner": "ada"})
            async with event_source(web, f"/jobs/{job.id}/events") as events:
                seen: list[Event] = []
                while not seen or seen[-1].data["state"] != "PROCESSING":
                    seen.append(await anext(events))
                server.send(signal.SIGKILL)
                await server.destroy()
                away = asyncio.create_task(web.get(f"/jobs/{job.id}"))
                server = ServerProcess(arguments)
                await server.expect_ready()
                seen += [event async for event in events]
            assert (await away).status_code in {200, 503}
    finally:
        await server.destroy()

    assert (seen[-1].kind, seen[-1].data["state"], seen[-1].data["result"]) == ("end", "COMPLETED", {"slept": 1.0})
    assert max(event.data["attempt"] for event in seen) == 2
    revisions = [int(event.id) for event in seen]
    assert revisions == sorted(revisions)
