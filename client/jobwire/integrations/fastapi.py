"""FastAPI: one client per process, a dependency for it, and routes that show a job to a browser.

    web = FastAPI(lifespan=lifespan_client(apps=[jobs.app]))
    web.include_router(job_router(prefix="/jobs", allow=owner_only))

    @web.post("/reports", status_code=202)
    async def make_report(body: ReportIn) -> JobRef:
        job = await jobs.render.options(labels={"owner": body.owner}).asubmit(body.month)
        return JobRef(id=job.id, events=f"/jobs/{job.id}/events")

Needs `pip install jobwire[fastapi]`.
"""

import inspect
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import HTTPConnection

from jobwire.aio import AsyncClient
from jobwire.app import App
from jobwire.codecs import decode
from jobwire.errors import Conflict, DeadlineExceeded, InvalidRequest, JobwireError, NotDecodable, NotFound, Unavailable
from jobwire.models import Job, JobState, JobStatus, JobUpdate

__all__ = ["Allow", "JobView", "JobwireDep", "job_router", "jobwire_client", "lifespan_client"]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]
Allow = Callable[[Request, Job], bool | Awaitable[bool]]
"""Decides whether whoever makes this request may see, and cancel, this job. The job has its labels, not its payload."""

PING_SECONDS: Final = 15
"""An event stream that has nothing to say says so this often, so that nobody on the way takes it for dead."""
_STATE_NAME: Final = "jobwire"


def lifespan_client(
    address: str | None = None, *, apps: Sequence[App] = (), lifespan: Lifespan | None = None, **connection: Any
) -> Lifespan:
    """Make a lifespan that keeps one `AsyncClient`, closed when the application ends.

    address: the argument, else JOBWIRE_ADDRESS, else 127.0.0.1:7780. apps: whose typed jobs are submitted through it
    (`await render.asubmit(month)`), by `App.bind`. lifespan: the application's own, which runs inside of it and may use
    `app.state.jobwire`. connection: as `AsyncClient` takes it. A server that is not there does not
    keep the application from starting: the client connects when it is used. Raises ArgumentInvalid at the start.
    """

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(AsyncClient(address, **connection))
            setattr(app.state, _STATE_NAME, client)
            for each in apps:
                each.bind(client)
            own = await stack.enter_async_context(lifespan(app)) if lifespan is not None else None
            yield own or {}

    return living


def jobwire_client(connection: HTTPConnection) -> AsyncClient:
    """Return the application's client: the dependency behind `JobwireDep`; override it in tests.

    Raises RuntimeError when the application has none.
    """
    client = getattr(connection.app.state, _STATE_NAME, None)
    if client is None:
        raise RuntimeError("This application has no jobwire client. Make it with FastAPI(lifespan=lifespan_client()).")
    found: AsyncClient = client
    return found


JobwireDep = Annotated[AsyncClient, Depends(jobwire_client)]
"""Annotate a parameter with it to get the application's client."""


class JobView(BaseModel):
    """A job as the routes show it: no payload, no labels, no detail of an error."""

    id: str
    state: JobState
    ended: bool
    """True when the job has ended: nothing will follow, unless somebody retries it."""
    revision: int
    attempt: int
    max_attempts: int
    progress: float | None = None
    """0 to 100."""
    message: str = ""
    """Text of the progress."""
    error: str | None = None
    """Message of the last error."""
    next_attempt_time: datetime | None = None
    result: Any = None
    """What the job returned, when it is COMPLETED and its result is JSON or text."""


class CancelIn(BaseModel):
    """Body of the cancel route."""

    reason: str = ""


def view_of(job_id: str, status: JobStatus) -> JobView:
    """Show a status."""
    return JobView(
        id=job_id,
        state=status.state,
        ended=status.state.is_terminal,
        revision=status.revision,
        attempt=status.attempt,
        max_attempts=status.max_attempts,
        progress=status.progress_percent,
        message=status.progress_message,
        error=status.last_error.message if status.last_error is not None else None,
        next_attempt_time=status.next_attempt_time,
        result=_result_of(status),
    )


def _result_of(status: JobStatus) -> Any:
    try:
        value = decode(status.result)
    except NotDecodable:
        return None
    return None if isinstance(value, bytes) else value


def job_router(*, allow: Allow, prefix: str = "/jobs", **options: Any) -> APIRouter:
    """Make the routes of a job, for browsers and other clients of the application.

    | Route | Answer |
    |---|---|
    | `GET {prefix}/{job_id}` | `JobView` |
    | `GET {prefix}/{job_id}/events` | Server-Sent Events, a `JobView` each: `job` for a change, `end` for the last |
    | `POST {prefix}/{job_id}/cancel` | 202, `JobView` |

    allow: asked for each request. A job that the caller may not see is not found (404), like one that is not there.
    options: as `APIRouter` takes them, such as `dependencies`.

    The stream goes on through cuts and restarts of the jobwire server. A browser that was cut off itself comes back
    with `Last-Event-ID` and gets what has changed since; when that was the end it is told so with 204, and asks no
    more. Other answers: 409 when the job can no longer be cancelled, 503 with Retry-After while the server is away.
    """
    router = APIRouter(prefix=prefix, **{"tags": ["jobs"], **options})

    async def visible(job_id: str, request: Request, client: JobwireDep) -> Job:
        """The job that the path names, if the caller may see it."""
        with _refusing():
            job = await client.get(job_id, full=False)
        answer = allow(request, job)
        if not (await answer if inspect.isawaitable(answer) else answer):
            raise HTTPException(404, f"There is no job {job_id!r}.")
        return job

    _add_reading(router, visible)
    _add_following(router, visible)
    _add_cancelling(router, visible)
    return router


def _add_reading(router: APIRouter, visible: Callable[..., Awaitable[Job]]) -> None:
    @router.get("/{job_id}")
    async def get_job(client: JobwireDep, job: Job = Depends(visible)) -> JobView:
        """Show a job."""
        if job.state is JobState.COMPLETED:
            with _refusing():
                job = await client.get(job.job_id)
        return view_of(job.job_id, job.status)


def _add_following(router: APIRouter, visible: Callable[..., Awaitable[Job]]) -> None:
    @router.get("/{job_id}/events", response_class=EventSourceResponse, response_model=None)
    async def job_events(
        client: JobwireDep, job: Job = Depends(visible), last_event_id: Annotated[str | None, Header()] = None
    ) -> Response:
        """Follow a job until it has ended."""
        seen = _revision_of(last_event_id)
        if seen is not None and job.state.is_terminal and job.status.revision <= seen:
            return Response(status_code=204)
        return EventSourceResponse(_events(client, job.job_id, seen), ping=PING_SECONDS)


def _add_cancelling(router: APIRouter, visible: Callable[..., Awaitable[Job]]) -> None:
    @router.post("/{job_id}/cancel", status_code=202)
    async def cancel_job(client: JobwireDep, job: Job = Depends(visible), body: CancelIn | None = None) -> JobView:
        """Cancel a job: at once when it waits, else its handler is asked to stop."""
        with _refusing():
            cancelled = await client.cancel(job.job_id, reason=body.reason if body is not None else "")
        return view_of(cancelled.job_id, cancelled.status)


async def _events(client: AsyncClient, job_id: str, seen: int | None) -> AsyncIterator[ServerSentEvent]:
    """What the browser gets. When the job is deleted, or the client is closed, the stream just ends."""
    watch = client.watch_job(job_id, full=True, after_revision=seen)
    try:
        async for update in watch:
            yield _event(update)
    except JobwireError:
        return
    finally:
        watch.close()


def _event(update: JobUpdate) -> ServerSentEvent:
    ended = update.state.is_terminal
    data = view_of(update.job_id, update.status).model_dump(mode="json")
    return ServerSentEvent(
        json.dumps(data, ensure_ascii=False), event="end" if ended else "job", id=str(update.revision)
    )


def _revision_of(last_event_id: str | None) -> int | None:
    """The revision that a browser saw last; what is none of ours is as if nothing had been seen."""
    if last_event_id is None or not (last_event_id.isascii() and last_event_id.isdigit()):
        return None
    return min(int(last_event_id[:19]), 2**63 - 1)


@contextmanager
def _refusing() -> Iterator[None]:
    """Answer with what HTTP has for an error of the client. What is nobody's fault but ours stays a 500."""
    try:
        yield
    except NotFound as error:
        raise HTTPException(404, error.message) from error
    except Conflict as error:
        raise HTTPException(409, error.message) from error
    except InvalidRequest as error:
        raise HTTPException(422, error.message) from error
    except (Unavailable, DeadlineExceeded) as error:
        seconds = math.ceil(error.retry_after.total_seconds()) if error.retry_after is not None else 1
        raise HTTPException(503, error.message, {"Retry-After": str(max(1, seconds))}) from error
