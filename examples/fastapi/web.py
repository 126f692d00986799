"""The web application: submits a job, and lets the browser that asked for it follow it."""

import secrets
from pathlib import Path
from typing import Annotated

import jobs
from fastapi import Cookie, FastAPI, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from jobwire import Job
from jobwire.integrations.fastapi import job_router, lifespan_client

PAGE = Path(__file__).with_name("page.html")


def owner_only(request: Request, job: Job) -> bool:
    """Show a job to the browser that submitted it, and to no other."""
    return job.spec.labels.get("visitor") == request.cookies.get("visitor", "nobody")


web = FastAPI(lifespan=lifespan_client(apps=[jobs.app]))  # one client per process; JOBWIRE_ADDRESS, or this machine
web.include_router(job_router(prefix="/jobs", allow=owner_only))


class ReportIn(BaseModel):
    """What the browser asks for."""

    month: str


class ReportOut(BaseModel):
    """Where the browser looks for it."""

    id: str
    events: str


@web.get("/")
def index(visitor: Annotated[str | None, Cookie()] = None) -> HTMLResponse:
    """Show the page, and give the browser a name that nobody guesses."""
    page = HTMLResponse(PAGE.read_text(encoding="utf-8"))
    page.set_cookie("visitor", visitor or secrets.token_urlsafe(16), httponly=True, samesite="lax")
    return page


@web.post("/reports", status_code=202)
async def make_report(body: ReportIn, visitor: Annotated[str, Cookie()]) -> ReportOut:
    """Submit the job. When this returns, it is on disk: whatever restarts now, the report will be made."""
    job = await jobs.render.options(labels={"visitor": visitor}).asubmit(body.month)
    return ReportOut(id=job.id, events=f"/jobs/{job.id}/events")
