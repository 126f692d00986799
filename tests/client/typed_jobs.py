"""Typed jobs for the tests of submitting."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from jobwire import App, Fail, JobContext, Snooze, current_job

app = App("shop")


class Receipt(BaseModel):
    message_id: str
    sent: datetime


@dataclass
class Address:
    name: str
    mail: str


@app.job("email.send", queue="mail")
async def send_email(to: Address, at: datetime, *, html: bool = False) -> Receipt:
    return Receipt(message_id=f"{to.name} <{to.mail}> {html}", sent=at)


@app.job("double")
def double(number: int, by: int = 2) -> int:
    return number * by


@app.job("digest")
async def digest(ctx: JobContext, data: bytes) -> bytes | Snooze:
    return data[::-1] + str(ctx.attempt).encode()


@app.job("whoami")
def whoami() -> dict[str, Any]:
    job = current_job()
    return {"id": job.job_id, "queue": job.queue, "labels": dict(job.labels)}


@app.job("odd")
def odd(number: int) -> int:
    if number % 2 == 0:
        raise Fail(f"{number} is even")
    return number
